//! A node in a namespace of its own, with the loaded program and neighbours that never change.
//!
//! ```text
//!  clients ── gateway 10.64.0.2 ─┐
//!                                ├ client   node   one ── 10.64.1.2, 10.64.1.3
//!  beside  ────────── 10.64.0.50 ┘                 two ── 10.64.2.2, 10.64.2.3
//! ```
//! Frames are given to the program by BPF_PROG_TEST_RUN; nothing is ever sent. IPv6 addresses have the
//! same last byte.

mod raw_flows;
mod raw_table;
mod runner;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::resume_unwind;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use lb_common::verdict::Reason;
use lb_userspace::dataplane::{
    Dataplane, EndpointInterfaces, EndpointReport, FlowReport, Interface, Options, Run, XdpMode,
    interface_index,
};
use lb_userspace::desired::{Desired, Service};
use lb_userspace::lab::{Lab, Topology};

use crate::model::Route;
use crate::packet::Mac;
pub use raw_table::{Page, RawTable, pages_of};
pub use runner::Runner;

/// Key of the hashes.
pub const SEED: u64 = 42;

/// Interface index and MAC address of the node on one of its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Interface index.
    pub index: u32,
    /// MAC address of the node's end.
    pub mac: Mac,
}

/// How the program is loaded, where tests differ.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Room in the flow table.
    pub flows: u32,
    /// First and last node port.
    pub ports: (u16, u16),
    /// Largest IP packet of every segment but that of endpoints `10.64.1.x`, which has 1500 bytes.
    pub mtu: u16,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            flows: 1 << 16,
            ports: (10_240, 29_999),
            mtu: PLAIN_MTU,
        }
    }
}

/// The node.
pub struct Node {
    dataplane: Option<Dataplane>,
    /// What an operator should know of how the program runs here.
    pub notes: Vec<String>,
    /// The side of the clients.
    pub client: Port,
    /// The side of endpoints `10.64.1.x`.
    pub one: Port,
    /// The side of endpoints `10.64.2.x`.
    pub two: Port,
    clients: u16,
    mtu: u16,
    lab: Lab,
}

/// An address of segment `segment`: 10.64.segment.host.
#[must_use]
pub fn v4(segment: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, 64, segment, host).into()
}

/// An address of segment `segment`: fd64:0:0:segment::host.
#[must_use]
pub fn v6(segment: u8, host: u8) -> IpAddr {
    Ipv6Addr::new(0xfd64, 0, 0, segment.into(), 0, 0, 0, host.into()).into()
}

/// Segment and host of every neighbour that is known.
const NEIGHBOURS: [(u8, u8); 6] = [(0, 2), (0, 50), (1, 2), (1, 3), (2, 2), (2, 3)];
/// Networks of clients behind the gateway.
const CLIENTS_V4: &str = "198.18.0.0/15";
const CLIENTS_V6: &str = "2001:db8::/32";
const SEGMENTS: [&str; 3] = ["client", "one", "two"];
/// Largest IP packet of ordinary segments.
const PLAIN_MTU: u16 = 1500;
/// Of a node for large frames.
pub const LARGE_MTU: u16 = 9000;

/// MAC address of a neighbour.
#[must_use]
pub const fn mac_of(segment: u8, host: u8) -> Mac {
    [0x02, 0, 0, 0xee, segment, host]
}

const fn node_mac(segment: u8) -> Mac {
    [0x02, 0, 0, 0xaa, segment, 1]
}

impl Node {
    /// Builds the node and loads the program.
    ///
    /// # Errors
    /// If there is no root, or the kernel refuses something.
    pub fn new(load: Load) -> Result<Self> {
        let lab = Topology::two_nets().mtu(load.mtu).build()?;
        let plain = PLAIN_MTU.to_string();
        let small = ["link", "set", "dev", SEGMENTS[1], "mtu", &plain];
        lab.node().ip(&small)?;
        let index = |segment: u8| -> Result<Port> {
            let name = SEGMENTS[usize::from(segment)];
            let mac = node_mac(segment);
            lab.node()
                .ip(&["link", "set", "dev", name, "address", &text(mac)])?;
            let index = lab
                .node()
                .run(|| interface_index(name))?
                .context("no such interface")?;
            Ok(Port { index, mac })
        };
        let (client, one, two) = (index(0)?, index(1)?, index(2)?);
        settle(&lab)?;
        let options = Options {
            pin_dir: lab.pins(),
            interfaces: SEGMENTS
                .map(|name| Interface {
                    name: name.to_owned(),
                    mode: XdpMode::Native,
                })
                .to_vec(),
            endpoint_interfaces: EndpointInterfaces::default(),
            flows: load.flows,
            ports: load.ports,
            log_packets: false,
        };
        let (dataplane, opened) = lab.node().run(|| Dataplane::open(&options, SEED))??;
        Ok(Self {
            dataplane: Some(dataplane),
            notes: opened.notes,
            client,
            one,
            two,
            clients: 0,
            mtu: load.mtu,
            lab,
        })
    }

    /// Runs `work` with the node, in its network namespace. A panic goes on in the caller.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn within<R: Send>(&mut self, work: impl FnOnce(&mut Self) -> R + Send) -> Result<R> {
        let namespace = self.lab.node().namespace().to_owned();
        thread::scope(|scope| {
            scope
                .spawn(move || {
                    enter(&namespace)?;
                    Ok(work(self))
                })
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Makes the program follow these services. Only within.
    ///
    /// # Errors
    /// If it cannot.
    pub fn follow(&mut self, services: &[Service]) -> Result<()> {
        let desired = Desired {
            seed: SEED,
            services: services.to_vec(),
        };
        self.dataplane_mut()?.apply(&desired).map(|_| ())
    }

    /// Gives the program a frame from an interface. Only within.
    ///
    /// # Errors
    /// If the kernel refuses the frame.
    pub fn run(&mut self, frame: &[u8], from: Port) -> Result<Run> {
        self.dataplane_mut()?.run(frame, from.index)
    }

    /// The tick it is for the program. Only within.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn tick(&mut self) -> Result<u32> {
        self.dataplane_mut()?.tick()
    }

    /// Gives the program for replies of endpoints on the node a frame from an interface, that is so many
    /// packets with so many bytes each after their headers. Only within.
    ///
    /// # Errors
    /// If the kernel refuses the frame.
    pub fn run_local(&mut self, frame: &[u8], from: Port, parts: (u32, u32)) -> Result<Run> {
        self.dataplane_mut()?.run_local(frame, from.index, parts)
    }

    /// How many instructions the verifier walked; nothing if the kernel does not tell (before 5.16).
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn verified_instructions(&mut self) -> Result<Option<u32>> {
        let info = self.dataplane_mut()?.program_info()?;
        Ok(info.verified_instruction_count())
    }

    /// How often each reason was met, in the order of [`Reason::ALL`].
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn reasons(&self) -> Result<Vec<u64>> {
        let counts = self.dataplane()?.reasons();
        ensure!(
            counts.len() == Reason::ALL.len(),
            "{} reasons",
            counts.len()
        );
        Ok(counts.iter().map(|count| count.packets).collect())
    }

    /// What is known of a configured endpoint.
    ///
    /// # Errors
    /// If it is unknown.
    pub fn endpoint(&self, address: SocketAddr, service: &str) -> Result<EndpointReport> {
        let reports = self.dataplane()?.endpoints()?;
        reports
            .into_iter()
            .find(|report| {
                report.configured && report.address == address && report.service == service
            })
            .with_context(|| format!("no endpoint {address} of {service}"))
    }

    /// The live flow of a client.
    ///
    /// # Errors
    /// If flows cannot be read.
    pub fn flow(&self, client: SocketAddr) -> Result<Option<FlowReport>> {
        Ok(self
            .dataplane()?
            .flows(1, &|flow| flow.client == client)?
            .pop())
    }

    /// The loaded program, to be run by another thread meanwhile; it too must be within.
    ///
    /// # Errors
    /// If the kernel does not give another handle of it.
    pub fn runner(&mut self) -> Result<Runner> {
        Runner::of(self.dataplane_mut()?.program_info()?)
    }

    /// The only service's table as it lies in the maps.
    ///
    /// # Errors
    /// If there is no service, or the maps cannot be opened.
    pub fn raw_table(&self) -> Result<RawTable> {
        RawTable::open(&self.lab.pins())
    }

    /// How often this reason was met.
    ///
    /// # Errors
    /// If there is no dataplane.
    pub fn count_of(&self, reason: Reason) -> Result<u64> {
        Ok(self.dataplane()?.count_of(reason))
    }

    /// Empties the flow table.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn forget_flows(&self) -> Result<()> {
        raw_flows::forget(&self.lab.pins())
    }

    /// A client nobody was before, behind the gateway.
    pub fn fresh_client(&mut self) -> (IpAddr, IpAddr) {
        self.clients += 1;
        client(self.clients)
    }

    /// Largest IP packet of the segments where large ones go.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Where the node's kernel sends what.
    pub fn routes(&self) -> impl Fn(IpAddr) -> Route + Send + 'static {
        let ports = [self.client, self.one, self.two];
        let mtus = [self.mtu, PLAIN_MTU, self.mtu];
        move |destination| route(ports, mtus, destination)
    }

    fn dataplane(&self) -> Result<&Dataplane> {
        self.dataplane.as_ref().context("no program is loaded")
    }

    fn dataplane_mut(&mut self) -> Result<&mut Dataplane> {
        self.dataplane.as_mut().context("no program is loaded")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // While the lab's bpffs is still mounted.
        if let Some(Err(error)) = self.dataplane.take().map(Dataplane::detach) {
            eprintln!("take the program out: {error:#}");
        }
    }
}

/// The addresses of the `number`-th client behind the gateway.
#[must_use]
pub fn client(number: u16) -> (IpAddr, IpAddr) {
    let [high, low] = number.to_be_bytes();
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, number, 1);
    (Ipv4Addr::new(198, 18, high, low).into(), v6.into())
}

fn route(ports: [Port; 3], mtus: [u16; 3], destination: IpAddr) -> Route {
    let (segment, host) = match destination {
        IpAddr::V4(v4) => match v4.octets() {
            [198, 18 | 19, _, _] => (0, 2),
            // The node itself and the segment's broadcast addresses are no way out.
            [10, 64, 0..=2, 0 | 1 | 255] => return Route::None,
            [10, 64, segment @ 0..=2, host] => (segment, host),
            _ => return Route::None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0x2001, 0xdb8, ..] => (0, 2),
            // The segment's router anycast address is the node too.
            [0xfd64, 0, 0, 0..=2, 0, 0, 0, 0 | 1] => return Route::None,
            [0xfd64, 0, 0, segment @ 0..=2, 0, 0, 0, host @ 0..=255] => (segment as u8, host as u8),
            [0xfd64, 0, 0, 0..=2, ..] => return Route::Unresolved,
            _ => return Route::None,
        },
    };
    if !NEIGHBOURS.contains(&(segment, host)) {
        return Route::Unresolved;
    }
    let Port { index, mac } = ports[usize::from(segment)];
    Route::Out {
        interface: index,
        source: mac,
        destination: mac_of(segment, host),
        mtu: mtus[usize::from(segment)].into(),
    }
}

/// Neighbours and routes that never change.
fn settle(lab: &Lab) -> Result<()> {
    for host in [lab.client()].into_iter().chain(lab.endpoints()) {
        // Hosts that say nothing by themselves: every packet that is counted is one of ours.
        host.set_sysctl("ipv6/conf/all/disable_ipv6", "1")?;
    }
    for (segment, host) in NEIGHBOURS {
        for address in [v4(segment, host), v6(segment, host)] {
            let (address, mac) = (address.to_string(), text(mac_of(segment, host)));
            let dev = SEGMENTS[usize::from(segment)];
            let words = [
                "replace",
                &address,
                "lladdr",
                &mac,
                "dev",
                dev,
                "nud",
                "permanent",
            ];
            lab.node().ip(&[&["neigh"], &words[..]].concat())?;
        }
    }
    lab.node()
        .ip(&["route", "add", CLIENTS_V4, "via", &v4(0, 2).to_string()])?;
    lab.node().ip(&[
        "-6",
        "route",
        "add",
        CLIENTS_V6,
        "via",
        &v6(0, 2).to_string(),
    ])
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn enter(namespace: &str) -> Result<()> {
    use nix::sched::{CloneFlags, setns};
    let path = format!("/run/netns/{namespace}");
    let file = std::fs::File::open(&path).with_context(|| format!("open {path}"))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {path}"))
}
