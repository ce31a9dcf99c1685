//! How a new flow's endpoint is selected.

use std::fmt;
use std::sync::Arc;

use lb_common::record::flag;
use serde::{Deserialize, Serialize};

use super::Rule;

/// How a service selects the endpoint of a new flow. By default: a hash of the flow, over all backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Hashed, or in turn.
    pub scheduling: Scheduling,
    /// What flows of one client have in common.
    pub affinity: Affinity,
    /// Clients with shares of their own; the longest prefix holds. Shared: there may be a million.
    pub rules: Arc<[Rule]>,
}

/// What decides about a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduling {
    /// A hash of the flow: the same on every node.
    #[default]
    Hash,
    /// Whose turn it is: shares hold for few flows too. Each node deals by itself.
    Exact,
}

/// Which flows go to the same endpoint as long as the table stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Each flow by itself.
    #[default]
    Flow,
    /// Those of clients whose addresses share so many leading bits: 1 to 32, or to 128 over IPv6.
    Client(u8),
}

impl Selection {
    /// Bits of [`lb_common::record::Service::flags`].
    pub fn flags(&self) -> u8 {
        let scheduling = match self.scheduling {
            Scheduling::Hash => 0,
            Scheduling::Exact => flag::EXACT,
        };
        let rules = if self.rules.is_empty() {
            0
        } else {
            flag::RULES
        };
        scheduling | rules
    }
}

impl Affinity {
    /// As [`lb_common::record::Service::client_bits`].
    pub const fn client_bits(self) -> u8 {
        match self {
            Self::Flow => 0,
            Self::Client(bits) => bits,
        }
    }
}

impl Scheduling {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Exact => "exact",
        }
    }
}

impl fmt::Display for Affinity {
    /// `flow` or `client/24`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flow => out.write_str("flow"),
            Self::Client(bits) => write!(out, "client/{bits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::address::V4;
    use lb_common::hash;

    use crate::table::{Backend, Endpoint, SlotCount, TableBuilder};
    use crate::weights::from_relative;

    /// The slots of `new` at so many percent.
    fn slots(builder: &mut TableBuilder, percent: u64) -> Vec<bool> {
        let weights = from_relative(&[100 - percent, percent]).unwrap();
        let backend = |(n, name): (u16, &str)| Backend {
            name: name.to_owned(),
            weight: weights[usize::from(n) - 1],
            endpoints: vec![Endpoint {
                address: name.to_owned(),
                id: n,
            }],
        };
        let backends: Vec<Backend> = (1..).zip(["old", "new"]).map(backend).collect();
        let table = builder.build(&backends).unwrap();
        table.slots().iter().map(|&id| id == 2).collect()
    }

    #[test]
    fn a_client_that_has_seen_new_never_goes_back_while_new_grows() {
        let keys = hash::keys(42);
        let basis = hash::service_basis(&keys, V4::from_bytes([10, 99, 0, 1]), 6);
        let mut builder = TableBuilder::new(42, b"10.99.0.1:9000/tcp", SlotCount::MAX);
        let mut has_seen_new = vec![false; 10_000];
        for percent in 0..=100 {
            let is_new = slots(&mut builder, percent);
            let mut seen = 0;
            for (client, has_seen_new) in (0_u32..).zip(&mut has_seen_new) {
                // A client opens flows from any of its addresses and ports.
                let mut answers = [1_u32, 77, 255].map(|host| {
                    let address = V4::from_bytes((0x0a00_0000 | client << 8 | host).to_be_bytes());
                    let flow = hash::flow(&keys, basis, address, ((40_000 + host) as u16, 9000));
                    let hash = hash::client(&keys, basis, address, 24, flow);
                    is_new[hash::slot(hash, 65_535) as usize]
                });
                answers.sort_unstable();
                assert_eq!(answers[0], answers[2], "flows of client {client} go apart");
                assert!(
                    !*has_seen_new || answers[0],
                    "client {client} goes back at {percent} %"
                );
                *has_seen_new = answers[0];
                seen += u64::from(answers[0]);
            }
            // Four standard deviations.
            assert!(
                seen.abs_diff(percent * 100) <= 200,
                "{seen} clients at {percent} %"
            );
        }
    }
}
