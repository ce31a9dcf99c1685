//! The flows of the measurement and their packets: TCP, with no options and hardly any data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::checksum;
use lb_userspace::lab::{Family, VIP_V4, VIP_V6};

use super::course::{Stop, WORDS};

/// Port of the service.
pub const SERVICE_PORT: u16 = 9000;
/// Port of the service whose packets are put into tunnels.
pub const TUNNEL_PORT: u16 = 9001;
/// Port of every endpoint.
pub const ENDPOINT_PORT: u16 = 8080;
/// Flows of one client address.
pub const FLOWS_OF_A_CLIENT: u32 = 16;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Where the clients of the walk begin; see the routes of `stage`.
const CLIENTS_V4: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);
/// Where the clients of flows never seen before begin.
const STRANGERS_V4: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 0);
const CLIENTS_V6: Ipv6Addr = Ipv6Addr::new(0xfd64, 0xc, 0, 0, 0, 0, 0, 0);
const STRANGERS_V6: Ipv6Addr = Ipv6Addr::new(0xfd64, 0xd, 0, 0, 0, 0, 0, 0);
const ENDPOINTS_V6: Ipv6Addr = Ipv6Addr::new(0xfd64, 0xe, 0, 0, 0, 0, 0, 0);

/// What a packet is in the life of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client opens a flow of the walk.
    Open,
    /// A client sends data or an acknowledgement.
    Request,
    /// An endpoint does.
    Reply,
    /// A client opens a flow never seen before.
    Stranger,
}

/// What becomes of a client's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// They are rewritten.
    Nat,
    /// They are put into tunnels.
    Tunnel,
}

impl Service {
    /// Its port.
    pub const fn port(self) -> u16 {
        match self {
            Self::Nat => SERVICE_PORT,
            Self::Tunnel => TUNNEL_PORT,
        }
    }
}

/// Headers of a packet as the driver takes them: without what flows differ in.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    /// See `Course::lead`.
    pub lead: [u8; 8],
    /// See `Course::words`.
    pub words: [u64; WORDS],
    /// 4 or 6.
    pub family: u8,
}

/// Bytes of a frame: the headers, and as much data as makes whole words.
pub const fn length(family: Family) -> usize {
    match family {
        Family::V4 => 64,
        Family::V6 => 80,
    }
}

/// The service's address.
pub const fn vip(family: Family) -> SocketAddr {
    let address = match family {
        Family::V4 => IpAddr::V4(VIP_V4),
        Family::V6 => IpAddr::V6(VIP_V6),
    };
    SocketAddr::new(address, SERVICE_PORT)
}

/// Where the endpoint of this number, less than 10 000, listens.
pub fn endpoint(family: Family, number: u16) -> SocketAddr {
    let [high, low] = [number / 100, number % 100 + 1].map(|byte| byte.to_be_bytes()[1]);
    let address = match family {
        Family::V4 => Ipv4Addr::new(10, 200, high, low).into(),
        Family::V6 => Ipv6Addr::from_bits(ENDPOINTS_V6.to_bits() | (u128::from(number) + 1)).into(),
    };
    SocketAddr::new(address, ENDPOINT_PORT)
}

/// What the packets of a client's flow have of their own.
pub fn request(family: Family, flow: u32) -> Stop {
    let client = flow / FLOWS_OF_A_CLIENT;
    let port = 40_000 + (flow % FLOWS_OF_A_CLIENT) as u16;
    let source = match family {
        Family::V4 => (CLIENTS_V4.to_bits() + client).to_be_bytes(),
        Family::V6 => (client + 1).to_be_bytes(),
    };
    Stop {
        source,
        ports: [port.to_be_bytes(), [0; 2]],
    }
}

/// What the packets of the endpoint have of their own, told from a packet that was sent to it.
pub fn reply(family: Family, sent: &[u8]) -> Stop {
    let (destination, ports) = match family {
        Family::V4 => (14 + 16, 14 + 20),
        Family::V6 => (14 + 36, 14 + 40),
    };
    let take = |at: usize| [sent[at], sent[at + 1]];
    let [a, b] = [take(destination), take(destination + 2)];
    Stop {
        source: [a[0], a[1], b[0], b[1]],
        ports: [take(ports + 2), take(ports)],
    }
}

/// The headers of all packets of a kind. `node` is the address the balancer speaks to endpoints from.
pub fn headers(family: Family, service: Service, kind: Kind, node: IpAddr) -> Headers {
    let mut bytes = match (family, node) {
        (Family::V4, IpAddr::V4(node)) => ipv4(kind, node),
        (_, node) => ipv6(kind, node),
    };
    let transport = length(family) - if family == Family::V4 { 30 } else { 26 };
    let destination = if kind == Kind::Reply {
        0
    } else {
        service.port()
    };
    bytes[transport + 2..transport + 4].copy_from_slice(&destination.to_be_bytes());
    bytes[transport + 12] = 5 << 4;
    bytes[transport + 13] = match kind {
        Kind::Open | Kind::Stranger => SYN,
        Kind::Request | Kind::Reply => ACK,
    };
    let lead = if family == Family::V4 { 2 } else { 6 };
    split(&bytes, lead, family)
}

/// The bytes a packet of this family has at most.
type Bytes = [u8; 96];

fn ipv4(kind: Kind, node: Ipv4Addr) -> Bytes {
    let mut bytes = [0; 96];
    bytes[12..14].copy_from_slice(&0x0800_u16.to_be_bytes());
    let total = (length(Family::V4) - 14) as u16;
    bytes[14] = 0x45;
    bytes[16..18].copy_from_slice(&total.to_be_bytes());
    bytes[22..24].copy_from_slice(&[64, 6]);
    let source = match kind {
        Kind::Stranger => STRANGERS_V4,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let destination = if kind == Kind::Reply { node } else { VIP_V4 };
    bytes[26..30].copy_from_slice(&source.octets());
    bytes[30..34].copy_from_slice(&destination.octets());
    // As if the source were all zero: the balancer only updates it.
    let check = checksum::full(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&check);
    bytes
}

fn ipv6(kind: Kind, node: IpAddr) -> Bytes {
    let mut bytes = [0; 96];
    bytes[12..14].copy_from_slice(&0x86dd_u16.to_be_bytes());
    let payload = (length(Family::V6) - 54) as u16;
    bytes[14] = 0x60;
    bytes[18..20].copy_from_slice(&payload.to_be_bytes());
    bytes[20..22].copy_from_slice(&[6, 64]);
    let source = match kind {
        Kind::Open | Kind::Request => CLIENTS_V6,
        Kind::Stranger => STRANGERS_V6,
        Kind::Reply => ENDPOINTS_V6,
    };
    let destination = match (kind, node) {
        (Kind::Reply, IpAddr::V6(node)) => node,
        _ => VIP_V6,
    };
    bytes[22..38].copy_from_slice(&source.octets());
    bytes[38..54].copy_from_slice(&destination.octets());
    bytes
}

fn split(bytes: &Bytes, at: usize, family: Family) -> Headers {
    let mut lead = [0; 8];
    lead[..at].copy_from_slice(&bytes[..at]);
    let (rest, _) = bytes[at..].as_chunks::<8>();
    Headers {
        lead,
        words: std::array::from_fn(|i| u64::from_ne_bytes(rest[i])),
        family: if family == Family::V4 { 4 } else { 6 },
    }
}
