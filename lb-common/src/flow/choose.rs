//! A new flow's node port.

use core::cmp::max;

use super::entry::{Arrival, Bucket, Client, Key, State};
use super::{Flows, Steps, first};
use crate::hash::{self, Keys};
use crate::limits::{MOST_PORT_PROBES, PORT_PROBES, WAYS};
use crate::verdict::Reason;
use crate::verifier::obscure;

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
    pub(super) fn port(self, hash: u64, step: u32) -> u16 {
        // The compiler does not know that it is never 0, and would have the remainder panic.
        let count = (self.count as u64).max(1);
        let place = if self.count as u32 <= MOST_PORT_PROBES {
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

/// A node port for a new flow: free towards the endpoint, and in a bucket that the flow's endpoint entry does
/// not fill: client entries need the room more, they have but two buckets to go to. If there is none, the last
/// room of a bucket; then the port of a flow that is closed and only waits for retransmissions, and else that of
/// the oldest flow whose handshake is not finished: a flood of those keeps nobody out, and leaves who comes as
/// much time as there is room for. `flow` is [`crate::hash::flow`], `endpoint_basis`
/// [`crate::record::Endpoint::basis_for`] its virtual port.
///
/// # Errors
/// [`Reason::NodePortsExhausted`] if every port tried is some flow's to this endpoint that does not give way,
/// [`Reason::FlowTableFull`] if live flows leave no room.
#[inline(always)]
pub fn choose<A: Client>(
    flows: &impl Steps<A>,
    flow: u64,
    endpoint_basis: u64,
    ports: NodePorts,
    arrival: Arrival,
) -> Result<u16, Reason> {
    let mut best = Offer::NONE;
    for step in 0..MOST_PORT_PROBES {
        let is_last = step >= PORT_PROBES && best.can_be_had();
        if is_last || step >= ports.count as u32 {
            break;
        }
        let offer = flows.offer(flow, endpoint_basis, step, arrival);
        if offer.is_roomy() {
            return Ok(offer.node_port());
        }
        best = Offer(max(best.0, offer.0));
    }
    match best.willingness() {
        Offer::UNAVAILABLE => Err(Reason::NodePortsExhausted),
        Offer::CROWDED => Err(Reason::FlowTableFull),
        _ => Ok(best.node_port()),
    }
}

/// A node port, and how willingly it is given: one number, for the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer(u64);

impl Offer {
    /// No port.
    const NONE: Self = Self(0);
    /// The port is some open flow's.
    const UNAVAILABLE: u32 = 0;
    /// It is nobody's, but there is no room for its entry. Less than any entry's that yields.
    const CROWDED: u32 = 1;

    /// From [`Offer::word`].
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// As a number: the higher, the more willingly.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    #[inline(always)]
    const fn node_port(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    const fn willingness(self) -> u32 {
        (self.0 >> 16) as u32
    }

    #[inline(always)]
    const fn can_be_had(self) -> bool {
        self.willingness() > Self::CROWDED
    }

    /// It is nobody's, and its entry leaves room in the bucket.
    #[inline(always)]
    const fn is_roomy(self) -> bool {
        self.willingness() >= Probe::ROOMY
    }
}

/// The node port tried at a step, and how willingly it is given. The arguments are those of [`choose`].
#[inline(always)]
pub fn offer<A: Client>(
    flows: &impl Flows<A>,
    keys: &impl Keys,
    (flow, endpoint_basis): (u64, u64),
    (ports, step): (NodePorts, u32),
    arrival: Arrival,
) -> Offer {
    let node_port = ports.port(flow, step);
    let hash = hash::reply(keys, endpoint_basis, node_port);
    let probe = probe(flows, hash, node_port, arrival);
    Offer((probe.willingness() as u64) << 16 | node_port as u64)
}

/// What came of looking for room in a bucket: how willingly the best entry yields, and which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe(u32);

impl Probe {
    /// Another flow has the node port.
    pub const TAKEN: Self = Self(u32::MAX);
    /// Set when the entry is the one that has the node port. Above everything else of it.
    const LAST_RESORT: u32 = 1 << 30;
    /// [`Offer::willingness`] of a port whose entry leaves room in the bucket, at least.
    const ROOMY: u32 = Self::vacant(2, false) * WAYS as u32;

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

    /// An entry more leaves room in the bucket.
    #[inline(always)]
    pub(super) const fn is_roomy(self) -> bool {
        self.0 < Self::LAST_RESORT && self.0 >= Self::ROOMY
    }

    /// How willingly a bucket gives one of its entries that no live flow has, by how many it has of them; of as
    /// many, rather an empty one.
    #[inline(always)]
    const fn vacant(entries: u32, one_is_empty: bool) -> u32 {
        State::VACANT + entries * 2 + one_is_empty as u32
    }

    /// How willingly the node port is given.
    #[inline(always)]
    const fn willingness(self) -> u32 {
        if self.0 == Self::TAKEN.0 {
            Offer::UNAVAILABLE
        } else if self.has_room() {
            self.0 & !Self::LAST_RESORT
        } else {
            Offer::CROWDED
        }
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
pub fn probe<A: Client>(
    flows: &impl Flows<A>,
    hash: u64,
    node_port: u16,
    arrival: Arrival,
) -> Probe {
    let Some(bucket) = flows.bucket(first(hash)) else {
        return Probe::TAKEN;
    };
    for index in 0..WAYS as u32 {
        let state = bucket.entries[index as usize].state();
        if state.holds_port(node_port, arrival.now) {
            return match state.yielding(arrival) {
                0 => Probe::TAKEN,
                yielding => Probe(Probe::LAST_RESORT + yielding * WAYS as u32 + index),
            };
        }
    }
    most_yielding(bucket, arrival)
}

/// The entry of a bucket that gives way most willingly.
#[inline(always)]
pub(super) fn most_yielding<K: Key>(bucket: &Bucket<K>, arrival: Arrival) -> Probe {
    let (mut best, mut vacant) = (0, 0);
    for index in 0..WAYS as u32 {
        let state = bucket.entries[index as usize].state();
        let yielding = state.yielding(arrival);
        let is_vacant = (yielding >= State::VACANT) as usize;
        // For the verifier one state an entry, and not one for all that those before may be.
        vacant = obscure(vacant + is_vacant, state.word());
        best = max(best, yielding * WAYS as u32 + index);
        best = obscure(best as usize, state.word()) as u32;
    }
    if vacant != 0 {
        let one_is_empty = best / WAYS as u32 > State::VACANT;
        best = Probe::vacant(vacant as u32, one_is_empty) * WAYS as u32 + best % WAYS as u32;
    }
    Probe(best)
}
