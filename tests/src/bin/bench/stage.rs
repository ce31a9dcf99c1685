//! The node that packets are measured on: routes to endpoints and clients, and the balancer itself.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::programs::{ProgramFd, ProgramInfo};
use lb_userspace::dataplane::{
    Dataplane, EndpointInterfaces, Interface, Options, XdpMode, interface_index,
};
use lb_userspace::desired::{
    Backend, Delivery, Desired, Endpoint, Idle, Mode, Ports, Protocol, Selection, Service,
};
use lb_userspace::lab::{Family, Host, Lab, Topology};
use lb_userspace::weights::from_relative;

use super::traffic::{Service as Kind, endpoint, vip};

/// Backends.
pub const BACKENDS: u16 = 2;
/// Endpoints of each.
pub const ENDPOINTS: u16 = 100;

const INTERFACE: &str = "eth0";
const SEED: u64 = 42;

/// A lab whose node knows the way to all endpoints and clients of the measurement: each behind a
/// router with a permanent neighbour entry.
pub fn build() -> Result<Lab> {
    let lab = Topology::one_net().endpoints(["one"]).build()?;
    let (client, endpoint) = (lab.client(), lab.endpoint("one")?);
    let node = lab.node();
    for (router, mac, networks) in [
        (
            client,
            "02:00:00:00:00:01",
            ["10.128.0.0/9", "11.0.0.0/8", "fd64:c::/32", "fd64:d::/32"],
        ),
        (
            endpoint,
            "02:00:00:00:00:02",
            [
                "10.200.0.0/16",
                "10.201.0.0/16",
                "fd64:e::/32",
                "fd64:f::/32",
            ],
        ),
    ] {
        for family in Family::BOTH {
            let router = router.address(family).to_string();
            node.ip(&[
                "neighbour",
                "replace",
                &router,
                "lladdr",
                mac,
                "dev",
                INTERFACE,
                "nud",
                "permanent",
            ])?;
            for network in networks {
                if network.contains(':') == (family == Family::V6) {
                    node.ip(&["route", "add", network, "via", &router])?;
                }
            }
        }
    }
    Ok(lab)
}

/// Index of the node's interface; to be asked on the node.
pub fn interface() -> Result<u32> {
    interface_index(INTERFACE).with_context(|| format!("the node has no interface {INTERFACE}"))
}

/// The balancer as `lbd` would run it.
pub struct Balancer(Dataplane);

impl Balancer {
    /// Loads it with one service of each family, and attaches it. To be called on the node.
    pub fn load(pins: &Path, flows: u32, node: &Host) -> Result<Self> {
        let options = Options {
            pin_dir: pins.to_owned(),
            interfaces: vec![Interface {
                name: INTERFACE.to_owned(),
                mode: XdpMode::Native,
            }],
            endpoint_interfaces: EndpointInterfaces::default(),
            flows,
            ports: (10_240, 29_999),
            log_packets: false,
        };
        let (mut dataplane, _) = Dataplane::open(&options, SEED)?;
        let kinds = [Kind::Nat, Kind::Tunnel];
        let services = Family::BOTH
            .into_iter()
            .flat_map(|family| kinds.map(|kind| service(family, kind, node.address(family))))
            .collect::<Result<_>>()?;
        dataplane.apply(&Desired {
            seed: SEED,
            services,
        })?;
        Ok(Self(dataplane))
    }

    /// For the driver.
    pub fn program(&mut self) -> Result<ProgramFd> {
        Ok(self.0.program_fd()?.try_clone()?)
    }

    /// What the kernel says of it.
    pub fn info(&mut self) -> Result<ProgramInfo> {
        self.0.program_info()
    }

    /// Live flows that are established, and reasons that ever were: what a wrong measurement is
    /// explained by.
    pub fn story(&self) -> Result<String> {
        let open: u64 = self.0.endpoints()?.iter().map(|it| it.live.open).sum();
        let reasons = self.0.reasons();
        let reasons: Vec<_> = reasons
            .iter()
            .filter(|it| it.packets > 0)
            .map(|it| format!("{} {}", it.reason, it.packets))
            .collect();
        Ok(format!("{open} open flows; {}", reasons.join(", ")))
    }
}

/// A service of a family, with its endpoints in two backends of equal weight.
pub fn service(family: Family, kind: Kind, node: IpAddr) -> Result<Service> {
    let mode = match kind {
        Kind::Nat => Mode::Nat,
        Kind::Tunnel => Mode::Ipip,
    };
    let weights = from_relative(&[1; BACKENDS as usize])?;
    let backends = (0..BACKENDS)
        .zip(weights)
        .map(|(number, weight)| Backend {
            name: format!("backend-{number}"),
            weight,
            endpoints: (0..ENDPOINTS)
                .map(|it| Endpoint {
                    address: match kind {
                        Kind::Nat => endpoint(family, number * ENDPOINTS + it),
                        Kind::Tunnel => SocketAddr::new(
                            endpoint(family, number * ENDPOINTS + it).ip(),
                            kind.port(),
                        ),
                    },
                    source: node,
                })
                .collect(),
        })
        .collect();
    Ok(Service {
        name: format!("{family:?}-{kind:?}").to_lowercase(),
        address: SocketAddr::new(vip(family).ip(), kind.port()),
        protocol: Protocol::Tcp,
        slots: 65_536,
        ports: Ports::One,
        selection: Selection::default(),
        idle: Idle::default(),
        delivery: Delivery {
            mode,
            ..Delivery::default()
        },
        echo: false,
        backends,
    })
}
