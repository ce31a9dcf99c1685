//! A packet's way to its flow: one bucket, rarely two.

use super::entry::{Bucket, Client, Entry, Key, State};
use super::{Flows, first, second};
use crate::limits::WAYS;
use crate::phase::Side;

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
    match client_entry(flows.bucket(first(hash))?, key, hash, now, |_| true) {
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
    for index in 0..WAYS as u32 {
        let state = bucket.entries[index as usize].state();
        if state.node_port() == node_port && is_endpoint_entry(state) && state.is_live(now) {
            let entry = bucket.entry(index, hash);
            let (key, state) = entry.read()?;
            return Some(Found { key, state });
        }
    }
    None
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
        if bucket.entries[index as usize].key().is(key) {
            let entry = bucket.entry(index, hash);
            // The key once more, together with the state: the entry may be changing hands.
            if let Some((again, state)) = entry.read()
                && again.is(key)
                && state.is_live(now)
                && !is_endpoint_entry(state)
                && is_to(state.endpoint())
            {
                return Some(Found { key, state });
            }
        }
    }
    None
}

#[inline(always)]
pub(super) fn is_endpoint_entry(state: State) -> bool {
    matches!(state.side(), Side::Endpoint)
}
