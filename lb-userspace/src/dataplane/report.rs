//! What the dataplane is asked to be, and what it tells.

use std::net::SocketAddr;
use std::ops::Add;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::desired::Protocol;

/// Where and how the program runs. From the configuration; fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory on a BPF file system where program, links and maps are pinned.
    pub pin_dir: PathBuf,
    /// Interfaces the program is attached to.
    pub interfaces: Vec<Interface>,
    /// Interfaces that lead to endpoints on this node.
    pub endpoint_interfaces: EndpointInterfaces,
    /// Flows the flow table has room for; rounded up to a power of two.
    pub flows: u32,
    /// First and last node port flows are given (`nat`), inclusive.
    pub ports: (u16, u16),
    /// Log every refused packet through aya-log. Slow: for debugging.
    pub log_packets: bool,
}

/// One interface the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name, such as `eth0`.
    pub name: String,
    /// How XDP runs there.
    pub mode: XdpMode,
}

/// How XDP is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// Native if the driver can, else generic, said aloud.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's generic path: works on every device, slower.
    Generic,
}

/// Which interfaces, beside those that XDP is attached to, replies of endpoints are expected from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EndpointInterfaces {
    /// Those that the routing table leads to endpoints by.
    #[default]
    Found,
    /// Those with one of these names, and no others. A `*` at the end stands for any end.
    Named(Vec<String>),
}

impl EndpointInterfaces {
    /// Whether an interface of this name is one of them, if the routing table leads to an endpoint by it
    /// or not.
    pub fn wants(&self, name: &str, leads_to_endpoint: bool) -> bool {
        match self {
            Self::Found => leads_to_endpoint,
            Self::Named(patterns) => patterns.iter().any(|it| match it.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => it == name,
            }),
        }
    }
}

/// An interface that leads to endpoints on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInterface {
    /// Name, such as `veth12ab` or `cni0`.
    pub name: String,
    /// What holds the program there.
    pub hook: Hook,
}

/// What holds a program at the kernel's ingress hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// A link (since Linux 6.6).
    Tcx,
    /// A filter of the queueing discipline `clsact`.
    Clsact,
    /// Nothing: the kernel refused it, and replies from there are lost. The log says why.
    Refused,
}

/// What has happened by itself since it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Things an operator should know, each a full sentence.
    pub notes: Vec<String>,
    /// Interfaces that were found to lead to endpoints: they have to forward.
    pub arrived: Vec<String>,
}

/// How the dataplane came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// True if pinned maps (and so live flows) of an earlier daemon were taken over.
    pub adopted: bool,
    /// What each interface really runs: never `Auto`.
    pub interfaces: Vec<Interface>,
    /// The key of the hashes. An adopted dataplane keeps its own: flows depend on it.
    pub seed: u64,
    /// Things an operator should know, each a full sentence.
    pub notes: Vec<String>,
}

/// What `apply` did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// For each service, in their order.
    pub services: Vec<AppliedService>,
    /// When it was in force.
    pub in_effect: Instant,
}

/// What `apply` did, for one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedService {
    /// Service name.
    pub service: String,
    /// Number of slots of the table, or of turns of the dealing order.
    pub slots: u32,
    /// Slots of each backend, in the order of the service's backends.
    pub backend_slots: Vec<u32>,
    /// Slots whose backend changed; 0 where flows take turns.
    pub moved: u32,
    /// Digest of the table: equal on nodes that forward equally.
    pub digest: u64,
}

/// Counters of one endpoint since the program was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets and bytes (IP length) from clients to the endpoint.
    pub packets_in: u64,
    /// See `packets_in`.
    pub bytes_in: u64,
    /// Packets and bytes from the endpoint to clients.
    pub packets_out: u64,
    /// See `packets_out`.
    pub bytes_out: u64,
    /// Flows given to the endpoint.
    pub opened: u64,
    /// TCP flows that ended by FIN from both sides.
    pub closed: u64,
    /// TCP flows ended by an RST of the endpoint.
    pub reset_by_endpoint: u64,
    /// TCP flows ended by an RST of the client.
    pub reset_by_client: u64,
    /// Flows that could not be admitted: flow table full or node ports exhausted.
    pub refused: u64,
}

/// Live flows by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveFlows {
    /// Handshake not finished.
    pub opening: u64,
    /// Established.
    pub open: u64,
    /// One side has finished.
    pub closing: u64,
}

impl Add for LiveFlows {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            opening: self.opening + other.opening,
            open: self.open + other.open,
            closing: self.closing + other.closing,
        }
    }
}

impl LiveFlows {
    /// In whatever phase.
    #[must_use]
    pub const fn all(self) -> u64 {
        self.opening + self.open + self.closing
    }
}

/// What the kernel knows of one endpoint of one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointReport {
    /// Service name.
    pub service: String,
    /// Backend name.
    pub backend: String,
    /// Where the endpoint listens; with port 0 at the port that packets come for.
    pub address: SocketAddr,
    /// False once it has left the configuration and is kept for its live flows only.
    pub configured: bool,
    /// Slots that name it.
    pub slots: u32,
    /// Its counters.
    pub counters: Counters,
    /// Its live flows.
    pub live: LiveFlows,
}

/// One live flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowReport {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Client address and port.
    pub client: SocketAddr,
    /// Service name.
    pub service: String,
    /// The port of it that the client talks to.
    pub port: u16,
    /// Backend name.
    pub backend: String,
    /// Endpoint address and port.
    pub endpoint: SocketAddr,
    /// Node port the flow has towards the endpoint.
    pub node_port: Option<u16>,
    /// `opening`, `open`, `closing`.
    pub phase: String,
    /// Seconds since the last packet, to within three seconds.
    pub idle_seconds: u32,
}

/// How often the program came to a verdict for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// `forward`, `pass` or `drop`.
    pub verdict: String,
    /// Name of the reason, such as `no-flow`.
    pub reason: String,
    /// One sentence on what it means.
    pub meaning: String,
    /// Packets.
    pub packets: u64,
}

/// What the program made of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// XDP action: 1 drop, 2 pass, 3 transmit, 4 redirect.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}
