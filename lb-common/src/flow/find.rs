//! A packet's way to its flow: one bucket, rarely two.

use super::entry::{Bucket, Client, Entry, Key, State};
use super::{Flows, first, second};
use crate::limits::WAYS;
use crate::phase::Side;
use crate::verifier::nonzero;

/// An entry of a live flow, as it was when it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<K> {
    /// Client tuple and virtual port.
    pub key: K,
    /// Endpoint, node port, progress.
    pub state: State,
}

/// The flow of a client's packet. `hash` is [`crate::hash::flow`]. The caller has yet to look whether the
/// flow's endpoint is of the packet's service: if not, [`find_to_service`] may find another.
#[inline(always)]
pub fn find_by_client<A: Client>(
    flows: &impl Flows<A>,
    hash: u64,
    key: A::Key,
    now: u32,
) -> Option<Found<A::Key>> {
    let bucket = flows.bucket(first(hash))?;
    let place = only_zero(|index| bucket.entries[index].key().difference(key));
    let entry = &bucket.entries[place];
    if entry.key().is(key)
        && let Some(state) = entry.state_with(key)
        && is_live_client_entry(state, now)
    {
        return Some(Found { key, state });
    }
    match client_entry(bucket, key, hash, now, |_| true) {
        None => client_entry(flows.bucket(second(hash))?, key, hash, now, |_| true),
        found => found,
    }
}

/// The flow of a client's packet, whatever other flows have the same key. `service` is the packet's.
#[inline(always)]
pub fn find_to_service<A: Client>(
    flows: &impl Flows<A>,
    hash: u64,
    key: A::Key,
    service: u16,
    now: u32,
) -> Option<Found<A::Key>> {
    let is_to = |endpoint| flows.is_to(endpoint, service);
    match client_entry(flows.bucket(first(hash))?, key, hash, now, is_to) {
        None => client_entry(flows.bucket(second(hash))?, key, hash, now, is_to),
        found => found,
    }
}

/// The flow of an endpoint's packet. `hash` is [`crate::hash::reply`]; the caller has yet to compare
/// the endpoint's address, because the hash alone names it.
#[inline(always)]
pub fn find_by_endpoint<A: Client>(
    flows: &impl Flows<A>,
    hash: u64,
    node_port: u16,
    now: u32,
) -> Option<Found<A::Key>> {
    let bucket = flows.bucket(first(hash))?;
    let state = |index: usize| bucket.entries[index].state();
    let place = only_zero(|index| state(index).difference_from_endpoints(node_port));
    if state(place).difference_from_endpoints(node_port) == 0 && state(place).is_live(now) {
        let (key, state) = bucket.entries[place].read()?;
        return Some(Found { key, state });
    }
    for index in 0..WAYS as u32 {
        let state = state(index as usize);
        if state.difference_from_endpoints(node_port) == 0 && state.is_live(now) {
            let entry = bucket.entry(index, hash);
            let (key, state) = entry.read()?;
            return Some(Found { key, state });
        }
    }
    None
}

/// Index of the entry that differs in nothing, if there is exactly one; else that of any.
///
/// No branch: which of its bucket's entries a flow has is chance. While the processor waits for the bucket it
/// does what follows, and if it waits with the wrong entry in mind it does all of that again.
#[inline(always)]
fn only_zero(difference: impl Fn(usize) -> u64) -> usize {
    const { assert!(WAYS == 4) };
    let [zeroth, first, second] = [0, 1, 2].map(|index| nonzero(difference(index)));
    // It is 1 or 3 if neither 0 nor 2 is it; 2 or 3 if neither 0 nor 1 is.
    let low = (zeroth & second) >> 63;
    let high = (zeroth & first) >> 63;
    (high << 1 | low) as usize % WAYS
}

/// The client entry of a flow that is known in full. `flow` is the state of either entry.
#[inline(always)]
pub(super) fn find_client_entry<A: Client>(
    flows: &impl Flows<A>,
    hash: u64,
    key: A::Key,
    flow: State,
) -> Option<(&Entry<A::Key>, State)> {
    for number in [first(hash), second(hash)] {
        let bucket = flows.bucket(number)?;
        for index in 0..WAYS as u32 {
            let entry = &bucket.entries[index as usize];
            let state = entry.state();
            let is_it = state.has_way_of(flow) && !is_endpoint_entry(state);
            if is_it && entry.key().is(key) {
                return Some((bucket.entry(index, hash), state));
            }
        }
    }
    None
}

/// The client entry of a tuple, also of a flow that is over and still in the table. `service` is the tuple's.
#[inline(always)]
pub(super) fn find_earlier<A: Client>(
    flows: &impl Flows<A>,
    hash: u64,
    key: A::Key,
    service: u16,
) -> Option<(&Entry<A::Key>, State)> {
    for number in [first(hash), second(hash)] {
        let bucket = flows.bucket(number)?;
        for index in 0..WAYS as u32 {
            let entry = &bucket.entries[index as usize];
            let state = entry.state();
            let is_client = state.endpoint() != 0 && !is_endpoint_entry(state);
            if is_client && entry.key().is(key) && flows.is_to(state.endpoint(), service) {
                return Some((bucket.entry(index, hash), state));
            }
        }
    }
    None
}

/// The endpoint entry of a flow that is known in full. `flow` is the state of either entry.
#[inline(always)]
pub(super) fn find_endpoint_entry<A: Client>(
    flows: &impl Flows<A>,
    hash: u64,
    key: A::Key,
    flow: State,
) -> Option<(&Entry<A::Key>, State)> {
    let bucket = flows.bucket(first(hash))?;
    for index in 0..WAYS as u32 {
        let entry = &bucket.entries[index as usize];
        let state = entry.state();
        if state.has_way_of(flow) && is_endpoint_entry(state) && entry.key().is(key) {
            return Some((bucket.entry(index, hash), state));
        }
    }
    None
}

#[inline(always)]
fn client_entry<K: Key>(
    bucket: &Bucket<K>,
    key: K,
    hash: u64,
    now: u32,
    is_to: impl Fn(u16) -> bool,
) -> Option<Found<K>> {
    for index in 0..WAYS as u32 {
        if bucket.entries[index as usize].key().is(key)
            && let Some(state) = bucket.entry(index, hash).state_with(key)
            && is_live_client_entry(state, now)
            && is_to(state.endpoint())
        {
            return Some(Found { key, state });
        }
    }
    None
}

#[inline(always)]
fn is_live_client_entry(state: State, now: u32) -> bool {
    state.is_live(now) && !is_endpoint_entry(state)
}

#[inline(always)]
pub(super) fn is_endpoint_entry(state: State) -> bool {
    matches!(state.side(), Side::Endpoint)
}
