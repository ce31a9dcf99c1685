//! What the operator wants, as plain values: the daemon's whole idea of the world.
//!
//! Configuration is turned into these types, requests change them (`state`), and the kernel is
//! made to follow them (`plan`, `dataplane`). Nothing here knows how either side works.

mod ports;
mod rule;
mod selection;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::weights::Weight;
pub use ports::{Ports, Written, written_endpoint};
pub use rule::{Prefix, Rule};
pub use selection::{Affinity, Scheduling, Selection};

/// Everything that is wanted of the kernel program, in one value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Key of all hashes. Equal on all nodes that share flows; secret, so that nobody can aim flows.
    pub seed: u64,
    /// All services; names are unique, and so is each (address, ports, protocol).
    pub services: Vec<Service>,
}

/// What a client talks to: one virtual address, port and protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique name, as typed after `-s`.
    pub name: String,
    /// Virtual address and port.
    pub address: SocketAddr,
    /// The ports, from that of the address on.
    pub ports: Ports,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Size of the table: a power of two in 256..=65536.
    pub slots: u32,
    /// How a new flow's endpoint is selected.
    pub selection: Selection,
    /// When a silent flow ends.
    pub idle: Idle,
    /// How packets reach the endpoints.
    pub delivery: Delivery,
    /// Whether echo requests to the virtual address are answered. They are if any of its services says
    /// so.
    pub echo: bool,
    /// The groups that share the service's new flows. Weights sum to [`Weight::TOTAL`].
    pub backends: Vec<Backend>,
}

/// A named group of endpoints that a weight is given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Unique within the service.
    pub name: String,
    /// Share of the service's new flows.
    pub weight: Weight,
    /// Where the flows go; of the same address family as the service, except in tunnels.
    /// Shared by all states that have them.
    pub endpoints: Arc<[Endpoint]>,
}

/// One address and port of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where the endpoint listens; where packets are not translated, the service's port. Port 0: the one
    /// that packets come for.
    pub address: SocketAddr,
    /// The node's own address that flows to this endpoint, or their tunnels, come from.
    pub source: IpAddr,
}

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// How packets reach the endpoints of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// What is done to them.
    pub mode: Mode,
    /// Tunnels come from addresses of this network, by the flow's hash; else from [`Endpoint::source`].
    pub tunnel_source: Option<Network>,
    /// The largest TCP segment that a SYN may announce, in bytes.
    pub mss: Option<u16>,
}

/// What is done to packets on their way to an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Translated: from the node, and back by way of the node.
    #[default]
    Nat,
    /// Nothing: to the endpoint's link-layer address.
    Dsr,
    /// Put into an IP packet.
    Ipip,
    /// Put into a UDP datagram.
    Gue {
        /// To this port.
        port: u16,
    },
}

impl Mode {
    /// The UDP port of `gue` when none is named, registered for it.
    pub const GUE_PORT: u16 = 6080;

    /// Name in configurations and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
            Self::Gue { .. } => "gue",
        }
    }

    /// Packets are put into others.
    #[must_use]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue { .. })
    }
}

/// An address and how many of its leading bits name a network; the others are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first address.
    pub address: IpAddr,
    /// Leading bits.
    pub bits: u8,
}

/// How long a flow may be silent before it is over. Held to within three seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idle {
    /// TCP, handshake not finished. Default 30 s.
    pub opening: Duration,
    /// TCP, established. Default 1 h.
    pub open: Duration,
    /// TCP, one side has finished. Default 60 s: the other may still be sending.
    pub closing: Duration,
    /// UDP. Default 30 s.
    pub udp: Duration,
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            opening: Duration::from_secs(30),
            open: Duration::from_secs(3600),
            closing: Duration::from_secs(60),
            udp: Duration::from_secs(30),
        }
    }
}
