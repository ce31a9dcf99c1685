//! What each processor keeps for itself: counts, and the way to every endpoint.
//!
//! One value of one map, so that a packet looks it up once. Not a per-CPU map: that would read a pointer before
//! each value, and not begin values at cache lines.

use crate::limits::ENDPOINTS;
use crate::next_hop::{NextHop, NextHops};
use crate::verdict::REASONS;

/// A processor's own. Map `CPUS`: array, index = processor. Written and read by the kernel program; the daemon
/// reads the counts.
#[repr(C, align(64))]
pub struct Cpu {
    /// [`crate::verdict::Reason`] → packets.
    pub reasons: Reasons,
    /// Largest IP packet, in bytes, that would have gone where the latest one was too big for: what its sender
    /// is told. 0: nobody is told. Read by the program that answers, right after.
    pub limit: u64,
    /// Endpoint id → its lane.
    pub lanes: [Lane; ENDPOINTS as usize],
    /// The ways to clients.
    pub next_hops: NextHops,
}

/// [`crate::verdict::Reason`] → packets.
pub type Reasons = [u64; REASON_PLACES];

/// A power of two, of whole cache lines.
const REASON_PLACES: usize = 32;

/// What a processor needs of an endpoint for each packet: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The way to it.
    pub hop: NextHop,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes of their IP packets.
    pub bytes_in: u64,
    /// Packets from the endpoint.
    pub packets_out: u64,
    /// Bytes of their IP packets.
    pub bytes_out: u64,
}

impl Cpu {
    /// The lane of an endpoint.
    #[inline(always)]
    pub fn lane(&mut self, endpoint: u16) -> &mut Lane {
        // A mask, which the kernel's verifier understands.
        &mut self.lanes[endpoint as usize % ENDPOINTS as usize]
    }
}

impl Lane {
    /// Nothing counted, no way known.
    pub const EMPTY: Self = Self {
        hop: NextHop::NONE,
        packets_in: 0,
        bytes_in: 0,
        packets_out: 0,
        bytes_out: 0,
    };
}

const _: () = {
    assert!(REASONS as usize <= REASON_PLACES);
    assert!(ENDPOINTS.is_power_of_two());
    assert!(size_of::<Lane>() == 64);
    assert!(size_of::<Cpu>() % 64 == 0);
};
