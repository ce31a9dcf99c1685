//! Where clients were last sent: a cache in two levels, each CPU its own. (The way to an endpoint stands in
//! its [`crate::cpu::Lane`].)
//!
//! Many destinations (clients) share few next hops (gateways). So a destination costs 16 bytes, four of
//! them to a cache line, and names one of few [`NextHop`]s, which stay in the processor's cache.
//!
//! A name is a place and a serial number. A next hop that needs a taken place gets the next serial number:
//! destinations that named the earlier one find that it is gone.

use crate::hash;

/// Lines of the first level: 65 536 destinations, 1 MiB on each CPU.
const LINES: usize = 1 << 14;
/// Places of the second level: 128 KiB on each CPU.
const PLACES: usize = 1 << 12;
/// Destinations in a line.
const WAYS: usize = 4;

/// What one CPU remembers. Written and read by the kernel program.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct NextHops {
    lines: [Line; LINES],
    hops: [NextHop; PLACES],
}

/// Four destinations, the latest first: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    /// [`crate::hash::destination`].
    destinations: [u64; WAYS],
    /// Names of next hops.
    names: [u32; WAYS],
    /// Ticks in which the kernel was asked.
    ticks: [u32; WAYS],
}

/// A way out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Both MAC addresses of frames as the header has them: all of the destination's, two bytes of the source's.
    pub macs: u64,
    /// The other four bytes of the source's.
    pub macs_end: u32,
    /// Serial number · `PLACES` + place, given by [`NextHops::keep`]; in a [`crate::cpu::Lane`] the tick in
    /// which the kernel was asked.
    pub name: u32,
    /// Where frames came in: routing may depend on it. 0, which no interface has, of an unused place.
    pub ingress: u32,
    /// Where frames go out.
    pub egress: u32,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// [`NextHop::TRANSMIT`], [`NextHop::REDIRECT`] or [`NextHop::HAND_OVER`].
    pub delivery: u16,
    /// 1 if the hop is a router and not the destination itself; else 0.
    pub is_routed: u16,
}

impl NextHops {
    /// Place of the next hop that the kernel told for `destination` ([`crate::hash::destination`]) in tick
    /// `now`. An answer is believed until the tick is over: a changed route or neighbour is followed then.
    #[inline(always)]
    pub fn find(&self, destination: u64, ingress: u32, now: u32) -> Option<usize> {
        let name = self.lines[line(destination)].find(destination, now);
        let place = name as usize % PLACES;
        let hop = self.at(place);
        (hop.name == name && hop.ingress == ingress).then_some(place)
    }

    /// Keeps a next hop, for `destination` if one is given: its place.
    #[inline(always)]
    pub fn keep(&mut self, mut hop: NextHop, destination: Option<u64>, now: u32) -> usize {
        let place = hop.place();
        let taken = &mut self.hops[place];
        hop.name = taken.name;
        if !hop.is(taken) {
            hop.name = next_name(taken.name, place);
            *taken = hop;
        }
        if let Some(destination) = destination {
            self.lines[line(destination)].remember(destination, now, hop.name);
        }
        place
    }

    /// The next hop in a place.
    #[inline(always)]
    pub fn at(&self, place: usize) -> &NextHop {
        &self.hops[place % PLACES]
    }
}

#[inline(always)]
const fn line(destination: u64) -> usize {
    (destination >> (u64::BITS - LINES.ilog2())) as usize
}

/// No name is 0: the serial number 0 is left out when the numbers begin again.
#[inline(always)]
const fn next_name(name: u32, place: usize) -> u32 {
    let next = (name - name % PLACES as u32).wrapping_add(PLACES as u32);
    let serial = if next == 0 { PLACES as u32 } else { next };
    serial + place as u32
}

impl Line {
    /// The name remembered in tick `now`, or 0.
    #[inline(always)]
    fn find(&self, destination: u64, now: u32) -> u32 {
        for way in 0..WAYS {
            if self.destinations[way] == destination && self.ticks[way] == now {
                return self.names[way];
            }
        }
        0
    }

    /// Remembers a name in the place of the oldest one.
    #[inline(always)]
    fn remember(&mut self, destination: u64, now: u32, name: u32) {
        for way in (1..WAYS).rev() {
            self.destinations[way] = self.destinations[way - 1];
            self.names[way] = self.names[way - 1];
            self.ticks[way] = self.ticks[way - 1];
        }
        self.destinations[0] = destination;
        self.names[0] = name;
        self.ticks[0] = now;
    }
}

impl NextHop {
    /// XDP_TX: out where it came in.
    pub const TRANSMIT: u16 = 1;
    /// XDP_REDIRECT to `egress`.
    pub const REDIRECT: u16 = 2;
    /// XDP_PASS to the program at the kernel's ingress hook, which resolves the neighbour.
    pub const HAND_OVER: u16 = 3;

    /// No way yet.
    pub const NONE: Self = Self {
        macs: 0,
        macs_end: 0,
        name: 0,
        ingress: 0,
        egress: 0,
        mtu: 0,
        delivery: 0,
        is_routed: 0,
    };

    /// With the MAC addresses of frames, in pairs of bytes as they are in memory.
    #[inline(always)]
    #[must_use]
    pub const fn between(self, source: [u16; 3], destination: [u16; 3]) -> Self {
        let [a, b, c] = source;
        let [d, e, f] = destination;
        Self {
            macs: d as u64 | (e as u64) << 16 | (f as u64) << 32 | (a as u64) << 48,
            macs_end: b as u32 | (c as u32) << 16,
            ..self
        }
    }

    /// Whether it was told in tick `now` for what came in on `ingress`, in a [`crate::cpu::Lane`].
    #[inline(always)]
    pub const fn is_current(&self, ingress: u32, now: u32) -> bool {
        self.name == now && self.ingress == ingress
    }

    /// Where a next hop belongs. Gateways differ in their MAC address, those of one vendor in its end.
    #[inline(always)]
    fn place(&self) -> usize {
        let end = self.macs >> 16 & 0xffff_ffff;
        let [egress, ingress] = [self.egress, self.ingress].map(u64::from);
        hash::mix(end ^ egress << 40 ^ ingress << 52) as usize % PLACES
    }

    /// Becomes the same, in words: an ordinary copy of so much would be a call that goes byte by byte.
    #[inline(always)]
    pub fn copy(&mut self, other: &Self) {
        self.macs = other.macs;
        self.macs_end = other.macs_end;
        self.name = other.name;
        self.ingress = other.ingress;
        self.egress = other.egress;
        self.mtu = other.mtu;
        self.delivery = other.delivery;
        self.is_routed = other.is_routed;
    }

    /// Whether they are the same in all that is sent.
    #[inline(always)]
    fn is(&self, other: &Self) -> bool {
        self.words() == other.words()
    }

    /// All of it in words: the fields would be compared one by one in the kernel.
    #[inline(always)]
    fn words(&self) -> (u64, u64, u64, u32) {
        (
            self.macs,
            u64::from(self.macs_end) << 32 | u64::from(self.mtu),
            u64::from(self.ingress) << 32 | u64::from(self.egress),
            u32::from(self.delivery) << 16 | u32::from(self.is_routed),
        )
    }
}

const _: () = {
    assert!(size_of::<Line>() == 64);
    assert!(size_of::<NextHop>() == 32);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{V4, V6};

    const HOP: NextHop = NextHop {
        ingress: 2,
        egress: 3,
        mtu: 1500,
        delivery: NextHop::REDIRECT,
        ..NextHop::NONE
    }
    .between(SOURCE, DESTINATION);
    const SOURCE: [u16; 3] = [2, 0, 1];
    const DESTINATION: [u16; 3] = [2, 0, 2];

    fn empty() -> Box<NextHops> {
        let layout = std::alloc::Layout::new::<NextHops>();
        // SAFETY: integers only, for which zero is a value; the layout is the type's.
        unsafe { Box::from_raw(std::alloc::alloc_zeroed(layout).cast()) }
    }

    /// Every way to differ from [`HOP`] by one field or byte.
    fn others() -> Vec<NextHop> {
        let mut others = vec![
            NextHop { egress: 9, ..HOP },
            NextHop { mtu: 9000, ..HOP },
            NextHop {
                is_routed: 1,
                ..HOP
            },
            NextHop {
                delivery: NextHop::TRANSMIT,
                ..HOP
            },
        ];
        for byte in 0..6 {
            let bit = 0x40 << (byte % 2 * 8);
            let (mut source, mut destination) = (SOURCE, DESTINATION);
            source[byte / 2] ^= bit;
            others.push(HOP.between(source, DESTINATION));
            destination[byte / 2] ^= bit;
            others.push(HOP.between(SOURCE, destination));
        }
        others
    }

    fn told(cache: &NextHops, destination: u64, now: u32) -> Option<NextHop> {
        let place = cache.find(destination, HOP.ingress, now)?;
        Some(NextHop {
            name: 0,
            ..*cache.at(place)
        })
    }

    #[test]
    fn nothing_is_known_at_first() {
        assert_eq!(told(&empty(), 0, 0), None);
        assert_eq!(empty().find(0, 1, 0), None);
    }

    #[test]
    fn an_answer_is_believed_until_its_tick_is_over() {
        let mut cache = empty();
        cache.keep(HOP, Some(77), 9);
        assert_eq!(told(&cache, 77, 9), Some(HOP));
        assert_eq!(told(&cache, 77, 10), None);
        assert_eq!(told(&cache, 78, 9), None, "another destination");
        assert_eq!(cache.find(77, 5, 9), None, "from another interface");
    }

    #[test]
    fn the_newest_answer_counts() {
        for other in others() {
            let mut cache = empty();
            cache.keep(HOP, Some(77), 9);
            cache.keep(other, Some(77), 9);
            assert_eq!(told(&cache, 77, 9), Some(other));
        }
    }

    #[test]
    fn a_line_remembers_its_latest_four_destinations() {
        let mut cache = empty();
        for destination in 1..=5 {
            cache.keep(HOP, Some(destination), 9);
        }
        assert_eq!(told(&cache, 1, 9), None, "the oldest gave way");
        for destination in 2..=5 {
            assert_eq!(told(&cache, destination, 9), Some(HOP));
        }
    }

    #[test]
    fn destinations_share_a_next_hop() {
        let mut cache = empty();
        let place = cache.keep(HOP, Some(1), 9);
        let name = cache.at(place).name;
        assert_eq!(cache.keep(HOP, Some(2), 9), place);
        assert_eq!(cache.at(place).name, name);
    }

    #[test]
    fn who_named_a_next_hop_whose_place_was_taken_knows_none() {
        // What differs in MTU, source or delivery only belongs to the same place.
        for other in [NextHop { mtu: 9000, ..HOP }, NextHop { delivery: 1, ..HOP }] {
            let mut cache = empty();
            let place = cache.keep(HOP, Some(1), 9);
            assert_eq!(cache.keep(other, Some(2), 9), place);
            assert_eq!(told(&cache, 1, 9), None);
            assert_eq!(told(&cache, 2, 9), Some(other));
        }
    }

    #[test]
    fn a_next_hop_without_destination_is_not_found_again() {
        let mut cache = empty();
        let place = cache.keep(HOP, None, 9);
        assert_eq!(cache.at(place).egress, HOP.egress);
        assert_eq!(told(&cache, 0, 9), None);
    }

    #[test]
    fn mac_addresses_are_as_a_frame_has_them() {
        let pairs = |bytes: [u8; 6]| {
            let [a, b, c, d, e, f] = bytes;
            [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes)
        };
        let hop = NextHop::NONE.between(pairs([7, 8, 9, 10, 11, 12]), pairs([1, 2, 3, 4, 5, 6]));
        assert_eq!(hop.macs.to_le_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(hop.macs_end.to_le_bytes(), [9, 10, 11, 12]);
    }

    #[test]
    fn no_name_is_0_when_the_numbers_begin_again() {
        let last = u32::MAX - (PLACES as u32 - 1);
        assert_eq!(next_name(last, 0), PLACES as u32);
        assert_eq!(next_name(last + 5, 5), PLACES as u32 + 5);
        assert_eq!(next_name(0, 5), PLACES as u32 + 5);
    }

    #[test]
    fn neighbouring_destinations_spread_over_the_lines() {
        let lines = |destinations: Vec<u64>| {
            let lines: std::collections::HashSet<_> = destinations.into_iter().map(line).collect();
            lines.len()
        };
        // A byte of the address counts up, whichever: hosts, networks, subnets.
        for byte in 0..16 {
            let keys = hash::keys(byte as u64);
            let found = lines(Vec::from_iter((0..=255).map(|low| {
                let mut address = [0xfd; 16];
                address[byte] = low;
                hash::destination(&keys, V6::from_bytes(address), 2)
            })));
            assert!(found > 200, "IPv6, byte {byte}: {found} lines");
        }
        for byte in 0..4 {
            let keys = hash::keys(byte as u64);
            let found = lines(Vec::from_iter((0..=255).map(|low| {
                let mut address = [10; 4];
                address[byte] = low;
                hash::destination(&keys, V4::from_bytes(address), 2)
            })));
            assert!(found > 200, "IPv4, byte {byte}: {found} lines");
        }
    }
}
