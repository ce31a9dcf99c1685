//! What a packet of a known flow changes: its progress and its end. Most packets change nothing.

use super::entry::{Client, Entry, State};
use super::find::{find_client_entry, find_endpoint_entry, is_endpoint_entry};
use super::{Flows, Steps};
use crate::hash::{self, Keys};
use crate::limits::RENEW_TICKS;
use crate::parse::Signals;
use crate::phase::{Ending, Progress, Side};

/// Limits below are short.
const SHORT_TICKS: u32 = 4 * RENEW_TICKS;

/// A flow's next state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What has been seen of it now.
    pub progress: Progress,
    /// The tick at which it is over if it stays silent.
    pub expires: u32,
}

/// What one packet of `side` changes about a flow in `state`: nothing, unless its progress changes or
/// its end is due to be moved. `idle` is [`crate::record::Service::idle`].
#[inline(always)]
pub fn step(state: State, side: Side, signals: Signals, idle: [u16; 4], now: u32) -> Option<Step> {
    // Most packets: what follows would come to the same.
    if signals.are_none() && state.progress().is_settled() {
        let open = if state.progress().is_udp() {
            idle[3]
        } else {
            idle[1]
        };
        let gained = open as i32 - state.remaining(now);
        if open as u32 >= SHORT_TICKS && gained < RENEW_TICKS as i32 {
            return None;
        }
    }
    let progress = state.progress().after(side, signals);
    let ticks = progress.idle_ticks(idle);
    let gained = ticks as i32 - state.remaining(now);
    // A short limit is renewed at every tick: skipping one could end a flow that is not silent.
    let worthwhile = if ticks < SHORT_TICKS { 1 } else { RENEW_TICKS };
    if progress == state.progress() && gained < worthwhile as i32 {
        return None;
    }
    Some(Step {
        progress,
        expires: now.wrapping_add(ticks),
    })
}

/// Writes a step to the entries of a flow, so that either alone tells whether the flow is live. Tells
/// how the flow ended if this step ended it.
///
/// `state` is that of either entry when it was found. If another processor changed the entry since,
/// its change stands, and the next packet brings this one's.
#[inline(always)]
pub fn advance<A: Client>(
    flows: &impl Flows<A>,
    keys: &impl Keys,
    key: A::Key,
    state: State,
    step: Step,
) -> Option<Ending> {
    let (entry, _) = own(flows, keys, key, state)?;
    if !entry.replace(state, state.with(step.progress, step.expires)) {
        return None;
    }
    if state.is_one_sided() {
        return state.progress().ending_of_one_side(step.progress);
    }
    if let Some((entry, state)) = partner(flows, keys, key, state) {
        let progress = state.progress().merged(step.progress);
        entry.replace(state, state.with(progress, step.expires));
    }
    state.progress().ending(step.progress)
}

/// Takes a flow out of the table. `state` is that of either entry when it was found.
#[inline(always)]
pub fn end<A: Client>(flows: &impl Steps<A>, keys: &impl Keys, key: A::Key, state: State) {
    if let Some((entry, found)) = own(flows, keys, key, state)
        && entry.replace(found, State::EMPTY)
    {
        flows.forget_partner(key, state);
    }
}

/// Takes the other entry of a flow out of the table. `state` is that of the one entry.
#[inline(always)]
pub fn forget_partner<A: Client>(
    flows: &impl Flows<A>,
    keys: &impl Keys,
    key: A::Key,
    state: State,
) {
    if let Some((entry, state)) = partner(flows, keys, key, state) {
        entry.replace(state, State::EMPTY);
    }
}

/// The entry that `state` is of.
#[inline(always)]
fn own<'a, A: Client>(
    flows: &'a impl Flows<A>,
    keys: &impl Keys,
    key: A::Key,
    state: State,
) -> Option<(&'a Entry<A::Key>, State)> {
    if is_endpoint_entry(state) {
        of_endpoint(flows, keys, key, state)
    } else {
        of_client(flows, keys, key, state)
    }
}

/// The other entry of its flow, if there is one.
#[inline(always)]
fn partner<'a, A: Client>(
    flows: &'a impl Flows<A>,
    keys: &impl Keys,
    key: A::Key,
    state: State,
) -> Option<(&'a Entry<A::Key>, State)> {
    if state.is_one_sided() {
        return None;
    }
    if is_endpoint_entry(state) {
        of_client(flows, keys, key, state)
    } else {
        of_endpoint(flows, keys, key, state)
    }
}

#[inline(always)]
fn of_client<'a, A: Client>(
    flows: &'a impl Flows<A>,
    keys: &impl Keys,
    key: A::Key,
    state: State,
) -> Option<(&'a Entry<A::Key>, State)> {
    let (client, client_port, port) = A::from_key(key);
    let basis = flows.service_basis(state.endpoint())?;
    let hash = hash::flow(keys, basis, client, (client_port, port));
    find_client_entry(flows, hash, key, state)
}

#[inline(always)]
fn of_endpoint<'a, A: Client>(
    flows: &'a impl Flows<A>,
    keys: &impl Keys,
    key: A::Key,
    state: State,
) -> Option<(&'a Entry<A::Key>, State)> {
    let (_, _, port) = A::from_key(key);
    let basis = flows.endpoint_basis(state.endpoint(), port)?;
    let hash = hash::reply(keys, basis, state.node_port());
    find_endpoint_entry(flows, hash, key, state)
}
