//! A new flow's node port.

use core::cmp::max;

use super::entry::{Bucket, Client, Key, State};
use super::find::is_endpoint_entry;
use super::{Flows, Steps, first};
use crate::hash::{self, Keys};
use crate::limits::{PORT_PROBES, WAYS};
use crate::verdict::Reason;

/// The node ports flows are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePorts {
    /// The lowest.
    pub first: u16,
    /// How many, at least 1.
    pub count: u16,
}

impl NodePorts {
    /// The port tried at a step. Each is drawn anew: steps of one length would come back to where they
    /// were after few, whenever it has a large divisor in common with the count.
    #[inline(always)]
    pub(super) const fn port(self, hash: u64, step: u32) -> u16 {
        let count = self.count as u64;
        let place = if self.count as u32 <= PORT_PROBES {
            ((hash >> 48) + step as u64) % count
        } else {
            let drawn = hash::mix(hash.wrapping_add(SPLIT.wrapping_mul(step as u64)));
            ((drawn >> 32) * count) >> 32
        };
        self.first.wrapping_add(place as u16)
    }
}

/// The step of splitmix64 (Steele, Lea, Flood 2014).
const SPLIT: u64 = 0x9e37_79b9_7f4a_7c15;

/// Ports tried before a flow whose handshake is not finished gives way.
const PATIENCE: u32 = 4;

/// A node port for a new flow: free towards the endpoint, and with room for the flow's endpoint entry;
/// if none is free, one whose flow is closed and only waits for retransmissions, and else one whose
/// handshake is not finished: a flood of those keeps nobody out. `flow` is [`crate::hash::flow`],
/// `endpoint_basis` [`crate::record::Endpoint::basis_for`] its virtual port.
///
/// # Errors
/// [`Reason::NodePortsExhausted`] if every port tried is some open flow's to this endpoint,
/// [`Reason::FlowTableFull`] if live flows leave no room.
#[inline(always)]
pub fn choose<A: Client>(
    flows: &impl Steps<A>,
    keys: &impl Keys,
    flow: u64,
    endpoint_basis: u64,
    ports: NodePorts,
    now: u32,
) -> Result<u16, Reason> {
    let mut refusal = Reason::NodePortsExhausted;
    for step in 0..PORT_PROBES {
        if step >= ports.count as u32 {
            break;
        }
        let node_port = ports.port(flow, step);
        let hash = hash::reply(keys, endpoint_basis, node_port);
        match flows.probe(hash, node_port, now) {
            Probe::TAKEN => {}
            probe if probe.is_last_resort() => {}
            // A flow that is opening gives way only when there is no better room near.
            probe
                if probe.displaces_opening()
                    && step < PATIENCE
                    && ports.count as u32 > PORT_PROBES => {}
            probe if probe.has_room() => return Ok(node_port),
            _ => refusal = Reason::FlowTableFull,
        }
    }
    // Loops of their own: a port remembered from the first would be one more thing the verifier must
    // tell apart each time round.
    for wants_closed in [true, false] {
        for step in 0..PORT_PROBES {
            if step >= ports.count as u32 {
                break;
            }
            let node_port = ports.port(flow, step);
            let hash = hash::reply(keys, endpoint_basis, node_port);
            let probe = flows.probe(hash, node_port, now);
            let may_have = probe != Probe::TAKEN && probe.is_last_resort();
            if may_have && probe.is_of_closed() == wants_closed {
                return Ok(node_port);
            }
        }
    }
    Err(refusal)
}

/// What came of looking for room in a bucket: how willingly the best entry yields, and which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe(u32);

impl Probe {
    /// Another flow has the node port.
    pub const TAKEN: Self = Self(u32::MAX);
    /// Set when the entry is the one that has the node port. Above everything else of it.
    const LAST_RESORT: u32 = 1 << 30;

    /// From [`Probe::word`].
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// As a number.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The entry is that of a flow whose handshake is not finished.
    #[inline(always)]
    const fn displaces_opening(self) -> bool {
        self.has_room() && self.0 < State::CLOSED * WAYS as u32
    }

    /// The node port is that of a flow that gives way.
    #[inline(always)]
    const fn is_last_resort(self) -> bool {
        self.0 & Self::LAST_RESORT != 0
    }

    /// The flow that has the node port is closed; else it is opening.
    #[inline(always)]
    const fn is_of_closed(self) -> bool {
        self.0 & !Self::LAST_RESORT >= State::CLOSED * WAYS as u32
    }

    /// An entry yields.
    #[inline(always)]
    pub(super) const fn has_room(self) -> bool {
        self.0 >= WAYS as u32
    }

    /// Which.
    #[inline(always)]
    pub(super) const fn index(self) -> u32 {
        self.0 % WAYS as u32
    }

    /// The one that yields more willingly, the first among equals.
    #[inline(always)]
    pub(super) const fn is_better_than(self, other: Self) -> bool {
        self.0 / WAYS as u32 > other.0 / WAYS as u32
    }
}

/// Whether a node port can be had, and in which entry. `hash` is [`crate::hash::reply`].
///
/// Any entry of the bucket with this port counts as taken, also another endpoint's: so a port names
/// at most one entry of a bucket, and finding needs no second look. The port of a flow that gives way is
/// a last resort, to be had in its own entry.
#[inline(always)]
pub fn probe<A: Client>(flows: &impl Flows<A>, hash: u64, node_port: u16, now: u32) -> Probe {
    let Some(bucket) = flows.bucket(first(hash)) else {
        return Probe::TAKEN;
    };
    for index in 0..WAYS as u32 {
        let state = bucket.entries[index as usize].state();
        let holds_port = is_endpoint_entry(state) && state.node_port() == node_port;
        if holds_port && state.is_live(now) {
            return match state.yielding(now) {
                0 => Probe::TAKEN,
                yielding => Probe(Probe::LAST_RESORT + yielding * WAYS as u32 + index),
            };
        }
    }
    most_yielding(bucket, now)
}

/// The entry of a bucket that gives way most willingly.
#[inline(always)]
pub(super) fn most_yielding<K: Key>(bucket: &Bucket<K>, now: u32) -> Probe {
    let mut best = 0;
    for index in 0..WAYS as u32 {
        let yielding = bucket.entries[index as usize].state().yielding(now);
        best = max(best, yielding * WAYS as u32 + index);
    }
    Probe(best)
}
