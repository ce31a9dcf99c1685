//! What is counted: a reason for every packet, and of every endpoint its packets and flows.

use lb_common::{
    cpu::{Cpu, Lane},
    phase::Ending,
    verdict::Reason,
    verifier::obscure,
};

use crate::maps::counters;

/// One packet met its verdict.
#[inline(always)]
pub fn reason(cpu: &mut Cpu, reason: Reason) {
    // The compiler knows that there is a place for each reason and would not look; the verifier does not.
    let place = obscure(reason as usize, cpu.reasons[0]) % cpu.reasons.len();
    cpu.reasons[place] += 1;
}

/// A packet of `bytes` towards the endpoint.
#[inline(always)]
pub fn packet_in(lane: &mut Lane, bytes: u16) {
    lane.packets_in += 1;
    lane.bytes_in += bytes as u64;
}

/// A packet of `bytes` from the endpoint.
#[inline(always)]
pub fn packet_out(lane: &mut Lane, bytes: u16) {
    lane.packets_out += 1;
    lane.bytes_out += bytes as u64;
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
