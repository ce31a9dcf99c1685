//! Who is who in the cases.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_tests::node::{v4, v6};
use lb_userspace::desired::{
    Backend, Delivery, Endpoint, Idle, Ports, Protocol, Selection, Service,
};
use lb_userspace::lab::{VIP_V4, VIP_V6};
use lb_userspace::weights::from_relative;

/// Ports of the service and of its endpoints.
pub const WEB: u16 = 9000;
pub const ENDPOINT: u16 = 8080;
/// The client's.
pub const CLIENT_PORT: u16 = 40_000;

/// The addresses of one family.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// A client of this case alone.
    pub client: IpAddr,
    /// Another.
    pub other_client: IpAddr,
    pub vip: IpAddr,
    is_v4: bool,
}

impl World {
    pub fn v4(client: IpAddr, other_client: IpAddr) -> Self {
        Self {
            client,
            other_client,
            vip: VIP_V4.into(),
            is_v4: true,
        }
    }

    pub fn v6(client: IpAddr, other_client: IpAddr) -> Self {
        Self {
            client,
            other_client,
            vip: VIP_V6.into(),
            is_v4: false,
        }
    }

    /// True of IPv4.
    pub fn is_v4(&self) -> bool {
        self.is_v4
    }

    /// A host on one of the node's segments.
    pub fn host(&self, segment: u8, host: u8) -> IpAddr {
        if self.is_v4 {
            v4(segment, host)
        } else {
            v6(segment, host)
        }
    }

    /// The node's own address towards endpoints of a segment.
    pub fn source(&self, segment: u8) -> IpAddr {
        self.host(segment, 1)
    }

    pub fn endpoint(&self, segment: u8, host: u8) -> Endpoint {
        Endpoint {
            address: SocketAddr::new(self.host(segment, host), ENDPOINT),
            source: self.source(segment),
        }
    }

    /// The service at the virtual address, with its backends and their relative weights.
    pub fn web(&self, protocol: Protocol, backends: &[(&str, u64, &[Endpoint])]) -> Service {
        let numbers: Vec<u64> = backends.iter().map(|backend| backend.1).collect();
        let weights = from_relative(&numbers).expect("weights of a case");
        let backends = backends
            .iter()
            .zip(weights)
            .map(|((name, _, endpoints), weight)| Backend {
                name: (*name).to_owned(),
                weight,
                endpoints: (*endpoints).into(),
            });
        Service {
            name: "web".to_owned(),
            address: SocketAddr::new(self.vip, WEB),
            protocol,
            slots: 256,
            ports: Ports::One,
            selection: Selection::default(),
            idle: Idle::default(),
            delivery: Delivery::default(),
            echo: false,
            backends: backends.collect(),
        }
    }

    /// The service with one endpoint.
    pub fn web_at(&self, protocol: Protocol, endpoint: Endpoint) -> Service {
        self.web(protocol, &[("old", 1, &[endpoint])])
    }
}

/// Idle limits of a few seconds: three for UDP, one for all else.
pub fn short_idle() -> Idle {
    let second = Duration::from_secs(1);
    Idle {
        opening: second,
        open: second,
        closing: second,
        udp: 3 * second,
    }
}
