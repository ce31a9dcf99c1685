//! The configuration file: TOML in, checked values out.
//!
//! ```toml
//! interfaces = ["eth0"]            # or [{ name = "eth0", mode = "native" }]: auto, native, generic
//! endpoint-interfaces = ["veth*"]  # optional: where endpoints on this node are; else found by themselves
//! seed = "any string"              # optional: equal on nodes that share flows; else made once, at random
//! flows = 262144                   # optional: flows there is room for
//! node-ports = "10240-29999"       # optional: ports flows are given towards the endpoints
//!
//! [[service]]
//! name = "echo"
//! address = "10.99.0.1:9000"       # IPv6 as "[fd99::1]:9000"
//! protocol = "tcp"                 # or "udp"
//! slots = 65536                    # optional: a power of two, 256 to 65536
//! scheduling = "hash"              # optional; "exact": new flows take turns, each node by itself
//! affinity = "flow"                # optional; "client-ip", "client-net/24", "client-net/24,64" (v4, v6)
//! mode = "nat"                     # optional: or "dsr", "ipip", "gue"
//! tunnel-port = 6080               # optional, gue: UDP port of the endpoints' end
//! tunnel-source = "172.16.0.0/16"  # optional, ipip and gue: network that tunnels come from, by flow
//! mss = 1400                       # optional: largest TCP segment that a SYN may announce
//! idle = { opening = "30s", open = "1h", closing = "60s", udp = "30s" }   # optional, each one too
//!
//! [[service.backend]]
//! name = "old"
//! weight = 100                     # relative: 3 and 1 are 75 % and 25 %
//! endpoints = ["10.64.1.2:9000"]
//! # source = "10.64.1.1"           # optional: the node's own address that flows come from
//!
//! [[service.backend]]
//! name = "new"
//! weight = 0
//! endpoints = ["10.64.1.3:9000"]
//!
//! [[service.rule]]                 # optional: clients with shares of their own; longest prefix wins
//! from = ["10.0.0.0/8"]            # from-file = "region.txt": a prefix a line
//! backend = "new"                  # or weights = { new = 50, old = 50 }
//! ```
//!
//! What comes out of [`Config::parse`] needs no checking later: names are unique, endpoints have the
//! family of their service, weights sum to the whole.

mod address;
mod check;
mod delivery;
mod error;
mod rule;
mod seed;
mod selection;
mod service;
mod shape;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

pub use error::Error;

use crate::dataplane::{EndpointInterfaces, Interface};
use crate::desired::Service;

/// Finds the node's own address that flows to an endpoint come from.
pub type SourceLookup<'a> = &'a dyn Fn(SocketAddr) -> io::Result<IpAddr>;

/// A configuration without mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is fixed for the life of a daemon.
    pub settings: Settings,
    /// What may change at any time.
    pub services: Vec<Service>,
}

/// The part of the configuration that only a restart of the daemon can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Interfaces the program runs on; at least one, names unique.
    pub interfaces: Vec<Interface>,
    /// Interfaces that lead to endpoints on this node.
    pub endpoint_interfaces: EndpointInterfaces,
    /// Key of all hashes; `None` if the file leaves it to the daemon.
    pub seed: Option<u64>,
    /// Flows there is room for.
    pub flows: u32,
    /// First and last node port, inclusive.
    pub ports: NodePorts,
}

/// The ports flows are given towards the endpoints, first and last inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePorts {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

impl Default for NodePorts {
    /// Below the kernel's ephemeral ports (32768–60999) and Kubernetes' node ports (30000–32767).
    fn default() -> Self {
        Self {
            first: 10_240,
            last: 29_999,
        }
    }
}

impl fmt::Display for NodePorts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.first, self.last)
    }
}

impl Config {
    /// Reads and checks the file at `path`; the text is returned with it.
    ///
    /// # Errors
    /// If the file cannot be read or has a mistake.
    pub fn read(path: &Path, source: SourceLookup<'_>) -> Result<(Self, String), Error> {
        let file = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|cause| Error::unreadable(&file, &cause))?;
        Ok((Self::parse(&text, &file, source)?, text))
    }

    /// Checks `text`; `file` is what errors call it.
    ///
    /// # Errors
    /// The first mistake, with line, column, key and what to do.
    pub fn parse(text: &str, file: &str, source: SourceLookup<'_>) -> Result<Self, Error> {
        let directory = Path::new(file).parent().unwrap_or_else(|| Path::new(""));
        Self::parse_in(directory, text, file, source)
    }

    /// As [`Config::parse`]; names of files in `text` begin in `directory`.
    ///
    /// # Errors
    /// As there.
    pub fn parse_in(
        directory: &Path,
        text: &str,
        file: &str,
        source: SourceLookup<'_>,
    ) -> Result<Self, Error> {
        let shape: shape::File =
            toml::from_str(text).map_err(|cause| error::from_toml(&cause).locate(text, file))?;
        check::config(shape, source, directory).map_err(|mistake| mistake.locate(text, file))
    }
}

#[cfg(test)]
mod tests;
