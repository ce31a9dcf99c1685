//! What is remembered of a packet's first fragment, so that the later ones follow it.
//!
//! Only a first fragment has ports, so only it meets its flow; the others are known by what all fragments
//! of a packet have in common, and get the addresses that the first one got.

use crate::address::Address;
use crate::parse::Part;

/// What the fragments of a packet have in common. Key of map `FRAGMENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentKey {
    /// Source address, [`Address::wide`].
    pub source: [u64; 2],
    /// Destination address, [`Address::wide`].
    pub destination: [u64; 2],
    /// Identification, bytes in network order.
    pub id: u32,
    /// [`crate::parse::TCP`] or [`crate::parse::UDP`].
    pub protocol: u8,
    /// [`crate::address::IPV4`] or [`crate::address::IPV6`].
    pub family: u8,
    /// Zero.
    pub zero: [u8; 2],
}

/// What became of a first fragment. Value of map `FRAGMENTS`, an LRU hash: who is remembered longest is
/// forgotten first. Written and read by the kernel program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentWay {
    /// Source address it got, [`Address::wide`]. Of a carried one the hash of its flow and zero, see
    /// [`FragmentWay::hash`].
    pub source: [u64; 2],
    /// Destination address it got, [`Address::wide`].
    pub destination: [u64; 2],
    /// Endpoint id of its flow.
    pub endpoint: u16,
    /// [`FragmentWay::TO_ENDPOINT`], [`FragmentWay::TO_CLIENT`] or [`FragmentWay::CARRIED`].
    pub side: u8,
    /// Zero.
    pub zero: u8,
    /// Tick in which it came.
    pub since: u32,
}

impl FragmentKey {
    /// The key of a fragment.
    #[inline(always)]
    pub fn of<A: Address>(part: &Part<A>) -> Self {
        Self {
            source: part.packet.source.wide(),
            destination: part.packet.destination.wide(),
            id: part.id,
            protocol: part.packet.protocol,
            family: A::FAMILY,
            zero: [0; 2],
        }
    }
}

impl FragmentWay {
    /// The client's packet.
    pub const TO_ENDPOINT: u8 = 1;
    /// The endpoint's packet.
    pub const TO_CLIENT: u8 = 2;
    /// The client's packet, to an endpoint that gets it as it is.
    pub const CARRIED: u8 = 3;

    /// Ticks in which later fragments follow. Short, because identifications are used again: an IPv4
    /// sender has 65 536 of them. A receiver waits much longer (RFC 791 says 15 s), but fragments of one
    /// packet that are seconds apart are hardly ever the rest of it.
    const TICKS: u32 = 4;

    /// The upper half of [`crate::hash::flow`]: which of its endpoint's tunnels a carried one went in.
    #[inline(always)]
    pub const fn hash(&self) -> u32 {
        self.source[0] as u32
    }

    /// Later fragments follow in tick `now`.
    #[inline(always)]
    pub const fn is_fresh(&self, now: u32) -> bool {
        now.wrapping_sub(self.since) < Self::TICKS
    }
}

const _: () = {
    assert!(size_of::<FragmentKey>() == 40);
    assert!(size_of::<FragmentWay>() == 40);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_fresh_for_a_few_ticks_also_when_the_clock_wraps() {
        let way = |since| FragmentWay {
            source: [0; 2],
            destination: [0; 2],
            endpoint: 1,
            side: FragmentWay::TO_CLIENT,
            zero: 0,
            since,
        };
        assert!(way(7).is_fresh(7) && way(7).is_fresh(10) && !way(7).is_fresh(11));
        assert!(way(u32::MAX).is_fresh(2) && !way(u32::MAX).is_fresh(3));
    }
}
