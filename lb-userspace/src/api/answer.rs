//! Answers.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dataplane::{
    Counters, EndpointInterface, FlowReport, Interface, LiveFlows, ReasonCount,
};
use crate::desired::{Idle, Protocol, Scheduling};
use crate::state::ChangeKind;

/// The daemon and what it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of `lbd`.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Number of the applied configuration.
    pub generation: u64,
    /// The configuration file.
    pub config_file: String,
    /// True if a configuration applied at run time is in force in the file's stead.
    pub config_applied: bool,
    /// True if live flows of an earlier daemon were taken over at the start.
    pub adopted: bool,
    /// The interfaces and how XDP runs there.
    pub interfaces: Vec<Interface>,
    /// The interfaces that lead to endpoints on the node, and what holds the program there.
    pub endpoint_interfaces: Vec<EndpointInterface>,
    /// Flows there is room for.
    pub flow_capacity: u32,
    /// First and last node port.
    pub node_ports: (u16, u16),
    /// Live flows of all services.
    pub live: LiveFlows,
    /// The services.
    pub services: Vec<ServiceView>,
    /// Why packets were dropped; reasons that never happened are left out.
    pub drops: Vec<ReasonCount>,
    /// What was worth knowing at the start and at the last change of configuration.
    pub notes: Vec<String>,
}

/// All services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Services {
    /// In the order of the configuration.
    pub services: Vec<ServiceView>,
}

/// Who owns a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The configuration.
    Config,
    /// It was set at run time.
    Runtime,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Where clients talk to it: `10.99.0.1:9000`, `10.99.0.1:9000-9010`, `10.99.0.1:*`.
    pub address: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How packets reach its endpoints: `nat`, `dsr`, `ipip` or `gue`.
    pub mode: String,
    /// What decides about a new flow.
    pub scheduling: Scheduling,
    /// What flows of one client have in common: `flow` (nothing), or `client/24` for so many leading bits
    /// of the client's address.
    pub affinity: String,
    /// Rules: clients with shares of their own.
    pub rules: usize,
    /// Prefixes of all its rules.
    pub prefixes: usize,
    /// Size of its table, or turns of its dealing order.
    pub slots: u32,
    /// Digest of its table, 16 hex digits: equal on nodes that forward equally.
    pub digest: String,
    /// Who owns the weights.
    pub source: Origin,
    /// Idle limits.
    pub idle: IdleSeconds,
    /// Its backends and their shares.
    pub backends: Vec<Share>,
    /// Its live flows, also those of endpoints that left the configuration.
    pub live: LiveFlows,
}

/// Seconds after which a silent flow is over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdleSeconds {
    /// TCP, handshake not finished.
    pub opening: f64,
    /// TCP, established.
    pub open: f64,
    /// TCP, after the first FIN.
    pub closing: f64,
    /// UDP.
    pub udp: f64,
}

impl From<Idle> for IdleSeconds {
    fn from(idle: Idle) -> Self {
        let [opening, open, closing, udp] =
            [idle.opening, idle.open, idle.closing, idle.udp].map(|it: Duration| it.as_secs_f64());
        Self {
            opening,
            open,
            closing,
            udp,
        }
    }
}

/// A backend's share of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Name of the backend.
    pub name: String,
    /// Asked share of new flows, in percent.
    pub percent: f64,
}

/// All backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backends {
    /// By service, in the order of the configuration; those that left it last.
    pub backends: Vec<BackendView>,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendView {
    /// Its service.
    pub service: String,
    /// Its name.
    pub name: String,
    /// False once it has left the configuration and is kept for its live flows only.
    pub configured: bool,
    /// Who owns its weight.
    pub source: Origin,
    /// Asked share of new flows, in percent.
    pub percent: f64,
    /// Slots it has.
    pub slots: u32,
    /// Share of slots it has, in percent.
    pub slot_percent: f64,
    /// Its live flows.
    pub live: LiveFlows,
    /// Its counters: the sum over all endpoints it has had since the program was loaded. Those that
    /// are gone stay counted as long as the service keeps its address and protocol.
    pub counters: Counters,
    /// Its endpoints.
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointView {
    /// Where it listens; without a port at the one that packets come for.
    pub address: String,
    /// The node's address that flows to it come from; left out once it has left the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// False once it has left the configuration and is kept for its live flows only.
    pub configured: bool,
    /// Slots that name it.
    pub slots: u32,
    /// Its live flows.
    pub live: LiveFlows,
    /// Its counters.
    pub counters: Counters,
}

/// Some live flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// The flows, in no order.
    pub flows: Vec<FlowReport>,
    /// True if there are more than were asked for.
    pub more: bool,
}

/// Every reason with its count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasons {
    /// The reasons.
    pub reasons: Vec<ReasonCount>,
}

/// What new weights did, or would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightsAnswer {
    /// True if nothing was done.
    pub dry_run: bool,
    /// Number of the configuration in force after it.
    pub generation: u64,
    /// Milliseconds from taking the request to new flows following it; left out for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect_ms: Option<f64>,
    /// The service.
    pub service: ServiceShift,
}

/// What a new configuration did, or would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigAnswer {
    /// True if nothing was done.
    pub dry_run: bool,
    /// Number of the configuration in force after it.
    pub generation: u64,
    /// Milliseconds from taking the request to new flows following it; left out for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect_ms: Option<f64>,
    /// All services; removed ones last.
    pub services: Vec<ServiceShift>,
    /// What an operator should know, each a full sentence.
    pub notes: Vec<String>,
}

/// How the table of a service moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceShift {
    /// Its name.
    pub service: String,
    /// What became of it.
    pub change: ChangeKind,
    /// What decides about its new flows.
    pub scheduling: Scheduling,
    /// Size of its table, or turns of its dealing order; 0 for a removed service.
    pub slots: u32,
    /// Slots whose backend changed; 0 where flows take turns.
    pub moved: u32,
    /// Digest of its table, 16 hex digits; empty for a removed service.
    pub digest: String,
    /// Its backends; those that left last.
    pub backends: Vec<BackendShift>,
}

/// How the share of a backend moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendShift {
    /// Its name.
    pub name: String,
    /// Asked share before, in percent; null if there was no such backend.
    pub before_percent: Option<f64>,
    /// Asked share after, in percent; null if there is no such backend any more.
    pub after_percent: Option<f64>,
    /// Slots before.
    pub slots_before: u32,
    /// Slots after.
    pub slots_after: u32,
    /// Share of slots after, in percent.
    pub realised_percent: f64,
    /// Live flows on it now. They stay where they are.
    pub live_flows: u64,
}

/// The program was taken off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachAnswer {
    /// Interfaces it ran on.
    pub interfaces: Vec<String>,
    /// Live flows that were cut.
    pub live_flows: u64,
}
