//! A new flow's entries: taking two and filling them.

use super::choose::{Probe, most_yielding};
use super::entry::{Arrival, Client, Entry, State};
use super::find::find_earlier;
use super::{Steps, first, second};
use crate::hash::{self, Keys};
use crate::limits::WAYS;
use crate::phase::{Progress, Side};

/// What a flow's entries will say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entrant {
    /// Endpoint id.
    pub endpoint: u16,
    /// A node port that [`super::choose`] gave; of a flow that is one-sided the virtual port.
    pub node_port: u16,
    /// The endpoint answers past the node: no entry is for its packets.
    pub is_one_sided: bool,
    /// First packet seen.
    pub progress: Progress,
    /// Ticks of silence until it is over.
    pub idle_ticks: u32,
}

/// Writes the entries of a flow in the place of entries that yield. Before it comes [`forget_earlier`]. `hash` is
/// [`crate::hash::flow`].
///
/// False if there is no room, or if another processor was quicker; what had yielded is gone then too.
#[inline(always)]
pub fn enter<A: Client>(
    flows: &impl Steps<A>,
    keys: &impl Keys,
    (key, hash): (A::Key, u64),
    entrant: Entrant,
    now: u32,
) -> bool {
    let arrival = Arrival {
        now,
        idle_ticks: entrant.idle_ticks,
    };
    let Some(client_entry) = client_entry(flows, hash, arrival) else {
        return false;
    };
    let expires = now.wrapping_add(entrant.idle_ticks);
    let Entrant {
        endpoint,
        node_port,
        progress,
        ..
    } = entrant;
    let state = |side| State::new(endpoint, node_port, side, progress, expires);
    if entrant.is_one_sided {
        client_entry.publish(key, state(Side::Client).one_sided());
        return true;
    }
    let Some(endpoint_entry) = endpoint_entry(flows, keys, key, &entrant, arrival) else {
        client_entry.release();
        return false;
    };
    endpoint_entry.publish(key, state(Side::Endpoint));
    client_entry.publish(key, state(Side::Client));
    true
}

/// Takes an earlier flow of the same tuple out of the table, also one that is over: with two in it, whoever takes
/// an entry of the dead one could take the live one's other entry for its partner. `service` is the tuple's.
#[inline(always)]
pub fn forget_earlier<A: Client>(flows: &impl Steps<A>, key: A::Key, hash: u64, service: u16) {
    if let Some((entry, state)) = find_earlier(flows, hash, key, service)
        && entry.replace(state, State::EMPTY)
    {
        flows.forget_partner(key, state);
    }
}

#[inline(always)]
fn endpoint_entry<'a, A: Client>(
    flows: &'a impl Steps<A>,
    keys: &impl Keys,
    key: A::Key,
    entrant: &Entrant,
    arrival: Arrival,
) -> Option<&'a Entry<A::Key>> {
    let (_, _, port) = A::from_key(key);
    let basis = flows.endpoint_basis(entrant.endpoint, port)?;
    let hash = hash::reply(keys, basis, entrant.node_port);
    let probe = flows.probe(hash, entrant.node_port, arrival);
    if probe == Probe::TAKEN {
        return None;
    }
    let claimed = State::claimed(entrant.node_port);
    let entry = claim(flows, first(hash), probe, hash, arrival, claimed)?;
    // Another processor may have taken the port meanwhile. Whichever of the two was later sees the other here.
    let bucket = flows.bucket(first(hash))?;
    let mut holders = 0;
    for index in 0..WAYS {
        let state = bucket.entries[index].state();
        holders += state.holds_port(entrant.node_port, arrival.now) as u32;
    }
    if holders != 1 {
        entry.release();
        return None;
    }
    Some(entry)
}

/// In the first bucket, where it is found with one look, unless it would fill it: then in the one of the two
/// whose best entry yields more willingly.
#[inline(always)]
fn client_entry<A: Client>(
    flows: &impl Steps<A>,
    hash: u64,
    arrival: Arrival,
) -> Option<&Entry<A::Key>> {
    let mut number = first(hash);
    let mut probe = most_yielding(flows.bucket(number)?, arrival);
    if !probe.is_roomy() {
        let other = most_yielding(flows.bucket(second(hash))?, arrival);
        if other.is_better_than(probe) {
            (number, probe) = (second(hash), other);
        }
    }
    claim(flows, number, probe, hash, arrival, State::CLAIMED)
}

/// Takes the entry that was found to yield, if it still does, and its flow's other entry out of the
/// table.
#[inline(always)]
fn claim<A: Client>(
    flows: &impl Steps<A>,
    number: u32,
    probe: Probe,
    hash: u64,
    arrival: Arrival,
    claimed: State,
) -> Option<&Entry<A::Key>> {
    if !probe.has_room() {
        return None;
    }
    let entry = flows.bucket(number)?.entry(probe.index(), hash);
    let state = entry.state();
    if state.yielding(arrival) == 0 || !entry.replace(state, claimed) {
        return None;
    }
    if state != State::EMPTY {
        flows.forget_partner(entry.key(), state);
    }
    Some(entry)
}
