//! What is counted: a reason for every packet, and of every endpoint its packets and flows.

use lb_common::{phase::Ending, verdict::Reason};

use crate::maps::{counters, reason_counter};

/// One packet met its verdict.
#[inline(always)]
pub fn reason(reason: Reason) {
    if let Some(count) = reason_counter(reason as u32) {
        *count += 1;
    }
}

/// A packet of `bytes` towards the endpoint.
#[inline(always)]
pub fn packet_in(endpoint: u16, bytes: u16) {
    if let Some(counters) = counters(endpoint) {
        counters.packets_in += 1;
        counters.bytes_in += bytes as u64;
    }
}

/// A packet of `bytes` from the endpoint.
#[inline(always)]
pub fn packet_out(endpoint: u16, bytes: u16) {
    if let Some(counters) = counters(endpoint) {
        counters.packets_out += 1;
        counters.bytes_out += bytes as u64;
    }
}

/// A flow was admitted to the endpoint.
#[inline(always)]
pub fn opened(endpoint: u16) {
    if let Some(counters) = counters(endpoint) {
        counters.opened += 1;
    }
}

/// A flow could not be admitted to the endpoint.
#[inline(always)]
pub fn refused(endpoint: u16) {
    if let Some(counters) = counters(endpoint) {
        counters.refused += 1;
    }
}

/// A TCP flow of the endpoint ended.
#[inline(always)]
pub fn ended(endpoint: u16, ending: Ending) {
    if let Some(counters) = counters(endpoint) {
        match ending {
            Ending::Finished => counters.closed += 1,
            Ending::ResetByClient => counters.reset_by_client += 1,
            Ending::ResetByEndpoint => counters.reset_by_endpoint += 1,
        }
    }
}
