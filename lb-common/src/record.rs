//! The values of the maps. Plain integers, padding spelled out; the daemon writes them and the kernel
//! program reads them, unless said otherwise.

use crate::flow::Word;
use crate::hash::{self, Keys};
use crate::limits::{self, PAGE_SLOTS, SERVICES};

/// Version of everything in this file, of the flow entries and of the hashes. A daemon adopts maps of
/// its own version only.
pub const LAYOUT: u32 = 5;

/// One service. Map `SERVICES`: array, index = service id = where [`crate::hash::place`] and probing
/// put it. One cache line: a packet's way to its service is one miss at most.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Service {
    /// Virtual address, [`crate::address::Address::wide`].
    pub address: [u64; 2],
    /// [`Service::identity_of`]. 0: never used. [`Service::REMOVED`]: probing goes on past it, as past one
    /// that is [`Service::hidden`]. Written last when a service is added and first when it is removed.
    pub identity: u64,
    /// [`crate::hash::service_basis`].
    pub basis: u64,
    /// [`TableRef`] as one word: written in one store, so a packet sees the old table or the new.
    pub table: u64,
    /// Idle limits in seconds of [`crate::limits::SECOND_SHIFT`]: TCP opening, open, closing; UDP.
    pub idle: [u16; 4],
    /// How packets of new flows reach the endpoints, one of [`mode`].
    pub mode: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Leading bits of the client's address that select the slot; 0: the whole flow does, its port too.
    pub client_bits: u8,
    /// Zero.
    pub zero: u8,
    /// UDP port of the endpoints' end of a `gue` tunnel, host order.
    pub tunnel_port: u16,
    /// Largest TCP segment that may be announced, in bytes; with [`flag::CLAMP`].
    pub mss: u16,
    /// Zero.
    pub reserved: u64,
}

/// One endpoint of one backend of one service. Map `ENDPOINTS`: array, index = endpoint id; id 0 is
/// "no endpoint". A record does not change while a flow or slot names it.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Endpoint {
    /// Where packets go, [`crate::address::Address::wide`].
    pub address: [u64; 2],
    /// The node's address they then come from.
    pub source: [u64; 2],
    /// [`crate::hash::endpoint_basis`] of `port`.
    pub basis: u64,
    /// Where packets go, host order; 0: they keep their port.
    pub port: u16,
    /// [`crate::parse::TCP`] or [`crate::parse::UDP`].
    pub protocol: u8,
    /// [`crate::address::IPV4`] or [`crate::address::IPV6`]; 0: the id is free.
    pub family: u8,
    /// Id of the service it belongs to.
    pub service: u16,
    /// Index of its backend's name. The kernel does not read it.
    pub backend: u16,
    /// How packets reach it, one of [`mode`]. In this record and not only in its service's: a flow keeps
    /// the mode it was opened with.
    pub mode: u8,
    /// Zero.
    pub zero: u8,
    /// UDP port of its end of a `gue` tunnel, host order.
    pub tunnel_port: u16,
    /// Bits of the last four bytes of `source` that the flow's hash fills, in packet byte order: a tunnel's
    /// packets come from many addresses, so that the endpoint's host spreads them over its processors.
    pub spread: u32,
    /// What of checksums is the same for all packets to it: mode `nat` [`crate::rewrite::base`], an IPv4
    /// tunnel [`crate::encapsulate::base`].
    pub base: u32,
    /// Zero.
    pub reserved: u32,
}

/// Name of a backend, for the next daemon. Map `BACKENDS`: array. The kernel does not read it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct BackendName {
    /// UTF-8, zero-padded; empty: the index is free.
    pub name: [u8; 64],
}

/// A page of slots. Map `SLOTS`: array. Each slot is an endpoint id less [`TableRef::base`]: services whose
/// endpoints lie alike from different bases share a table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotPage {
    /// Distances of endpoint ids from the base; 0 is "no endpoint".
    pub slots: [u16; PAGE_SLOTS as usize],
}

/// Turns taken of one dealing order. Map `DEALT`: array, index = service id, or [`turns_of_rule`].
/// Written by the kernel program, whose processors all add to it: a cache line of its own, so that only flows
/// of one service wait for each other.
#[repr(C, align(64))]
pub struct Dealt {
    /// New flows so far.
    pub flows: Word,
    reserved: [u64; 7],
}

/// Where in `DEALT` the turns of a rule's dealing order are counted.
#[inline(always)]
pub const fn turns_of_rule(rule: u32) -> u32 {
    SERVICES.wrapping_add(rule)
}

/// Which services have several ports of one address and protocol. Map `PORT_RANGES`: hash, key =
/// address and [`PortRanges::identity_of`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct PortRanges {
    /// The first that has a port counts. [`PortRange::NONE`] has none.
    pub ranges: [PortRange; limits::PORT_RANGES],
}

/// Ports in a row.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct PortRange {
    /// The lowest, host order.
    pub first: u16,
    /// The highest.
    pub last: u16,
    /// Id of their service.
    pub service: u16,
    /// Zero.
    pub zero: u16,
}

/// What was counted of an endpoint's flows; its packets are in [`crate::cpu::Lane`]. Map `COUNTERS`: per-CPU array, index = endpoint id. Written by the
/// kernel program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounters {
    /// Flows admitted.
    pub opened: u64,
    /// TCP flows finished by both sides.
    pub closed: u64,
    /// TCP flows reset by the endpoint.
    pub reset_by_endpoint: u64,
    /// TCP flows reset by the client.
    pub reset_by_client: u64,
    /// Flows not admitted: no room in the flow table or no node port.
    pub refused: u64,
}

/// How packets reach an endpoint.
pub mod mode {
    /// Translated: from the node's address and a port of the flow's own.
    pub const NAT: u8 = 0;
    /// As they are, to the endpoint's link-layer address.
    pub const DSR: u8 = 1;
    /// In another IP header (RFC 2003, 2473, 4213).
    pub const IPIP: u8 = 2;
    /// In another IP header and a UDP header (draft-ietf-intarea-gue-09, variant 1).
    pub const GUE: u8 = 3;
}

/// What a service asks for: bits of [`Service::flags`].
pub mod flag {
    /// New flows are dealt out one by one instead of by their hash.
    pub const EXACT: u8 = 2;
    /// Networks of clients have tables of their own.
    pub const RULES: u8 = 4;
    /// [`Service::mss`](super::Service::mss) is in force.
    pub const CLAMP: u8 = 16;
}

/// What XDP can do on an interface: bits of the values of map `EGRESS`, written by the daemon.
pub mod egress {
    /// XDP_TX arrives: the driver sends, or for a veth the other end receives XDP frames.
    pub const TRANSMIT: u32 = 1;
    /// Frames can be redirected to it from a native program.
    pub const REDIRECT: u32 = 2;
    /// The program runs there in generic mode, in which every way out works.
    pub const GENERIC: u32 = 4;
}

/// What the kernel program leaves to other programs: places of map `WAYS`, filled by the daemon.
pub mod ways {
    /// Fragments.
    pub const FRAGMENT: u32 = 0;
    /// What is neither TCP nor UDP.
    pub const MESSAGE: u32 = 1;
    /// What is larger than its way out.
    pub const TOO_BIG: u32 = 2;
    /// What has VLAN tags, IPv4 options or IPv6 extension headers.
    pub const NOT_PLAIN: u32 = 3;
    /// Number of places.
    pub const COUNT: u32 = 4;
}

/// Destination MAC address that marks a frame for `lb_deliver`: locally administered, nobody's.
pub const HAND_OVER_MAC: [u8; 6] = *b"\x02lb\x00>>";

/// As [`HAND_OVER_MAC`], for a frame that goes on behind its IP packet: what does not belong to it is to
/// be cut off.
pub const HAND_OVER_CUT: [u8; 6] = *b"\x02lb\x00><";

/// As [`HAND_OVER_MAC`], for a packet that goes not to its destination address but to the link-layer
/// address of the endpoint with this id.
#[inline(always)]
pub const fn hand_over_to(endpoint: u16) -> [u8; 6] {
    let [high, low] = endpoint.to_be_bytes();
    let [a, b, c, d] = HAND_OVER_TO;
    [a, b, c, d, high, low]
}

/// What [`hand_over_to`] begins with.
pub const HAND_OVER_TO: [u8; 4] = *b"\x02lb\x01";

/// Which pages hold a service's table, how large it is, and whose endpoints it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRef {
    /// First page.
    pub page: u32,
    /// Slots − 1. Slots are a power of two, but for a dealing order.
    pub mask: u16,
    /// What is added to a slot to make it an endpoint id, modulo 2^16.
    pub base: u16,
}

impl Service {
    /// Identity of a place whose service was removed.
    pub const REMOVED: u64 = 1;
    const RANGE: u64 = 1 << 32;
    const HIDDEN: u64 = 1 << 33;
    /// A place never used.
    pub const EMPTY: Self = Self {
        address: [0; 2],
        identity: 0,
        basis: 0,
        table: 0,
        idle: [0; 4],
        mode: 0,
        flags: 0,
        client_bits: 0,
        zero: 0,
        tunnel_port: 0,
        mss: 0,
        reserved: 0,
    };

    /// Port (host order), protocol and family as one word, never 0 or 1.
    #[inline(always)]
    pub const fn identity_of(family: u8, port: u16, protocol: u8) -> u64 {
        (family as u64) << 24 | (protocol as u64) << 16 | port as u64
    }

    /// The same of a service with several ports, `first` being the lowest. No packet has it.
    pub const fn identity_of_range(family: u8, first: u16, protocol: u8) -> u64 {
        Self::identity_of(family, first, protocol) | Self::RANGE
    }

    /// The same of a service whose port has become another's, which has it in a range. No packet has it: new
    /// flows are the other's, and so are packets of flows that there are, which are found by their tuple.
    pub const fn hidden(identity: u64) -> u64 {
        identity | Self::HIDDEN
    }

    /// What it was before it was [`Service::hidden`].
    pub const fn shown(identity: u64) -> u64 {
        identity & !Self::HIDDEN
    }

    /// Whether it is [`Service::hidden`].
    pub const fn is_hidden(identity: u64) -> bool {
        identity & Self::HIDDEN != 0
    }

    /// Whether it has several ports.
    #[inline(always)]
    pub const fn has_range(identity: u64) -> bool {
        identity & Self::RANGE != 0
    }

    /// Virtual port, host order; of several the lowest.
    #[inline(always)]
    pub const fn port(&self) -> u16 {
        self.identity as u16
    }

    /// IP protocol number.
    pub const fn protocol(&self) -> u8 {
        (self.identity >> 16) as u8
    }

    /// Family byte; 0 of an empty or removed place.
    pub const fn family(&self) -> u8 {
        (self.identity >> 24) as u8
    }
}

impl PortRanges {
    /// No range at all.
    pub const NONE: Self = Self {
        ranges: [PortRange::NONE; limits::PORT_RANGES],
    };

    /// Family and protocol as one word.
    #[inline(always)]
    pub const fn identity_of(family: u8, protocol: u8) -> u64 {
        Service::identity_of(family, 0, protocol)
    }

    /// Id of the service that has the port.
    #[inline(always)]
    pub fn find(&self, port: u16) -> Option<u16> {
        for range in &self.ranges {
            if range.first <= port && port <= range.last {
                return Some(range.service);
            }
        }
        None
    }
}

impl PortRange {
    /// Has no port.
    pub const NONE: Self = Self {
        first: 1,
        last: 0,
        service: 0,
        zero: 0,
    };
}

impl Endpoint {
    /// A free id.
    pub const FREE: Self = Self {
        address: [0; 2],
        source: [0; 2],
        basis: 0,
        port: 0,
        protocol: 0,
        family: 0,
        service: 0,
        backend: 0,
        mode: 0,
        zero: 0,
        tunnel_port: 0,
        spread: 0,
        base: 0,
        reserved: 0,
    };

    /// Where packets go that came for the virtual port `port`, host order.
    #[inline(always)]
    pub const fn port_for(&self, port: u16) -> u16 {
        if self.port == 0 { port } else { self.port }
    }

    /// [`crate::hash::endpoint_basis`] of [`Endpoint::port_for`].
    #[inline(always)]
    pub fn basis_for(&self, keys: &impl Keys, port: u16) -> u64 {
        if self.port == 0 {
            hash::endpoint_basis_of_port(keys, self.basis, port)
        } else {
            self.basis
        }
    }
}

impl TableRef {
    /// Instead of a table: the rule is none, or the service takes no new flows, and goes when its flows have gone.
    pub const NONE: u64 = u64::MAX;

    /// As the record holds it.
    pub const fn word(self) -> u64 {
        (self.base as u64) << 48 | (self.page as u64) << 16 | self.mask as u64
    }

    /// From the record.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            page: (word >> 16) as u32,
            mask: word as u16,
            base: (word >> 48) as u16,
        }
    }

    /// The endpoint id that a slot's content means; nothing if it means none.
    #[inline(always)]
    pub const fn endpoint(self, slot: u16) -> Option<u16> {
        if slot == 0 {
            return None;
        }
        Some(self.base.wrapping_add(slot))
    }

    /// The slot of a flow that takes turns. `flow` counts the flows before it.
    #[inline(always)]
    pub const fn turn(self, flow: u64) -> u32 {
        (flow % (self.mask as u64 + 1)) as u32
    }

    /// Page and place in it of a slot.
    #[inline(always)]
    pub const fn locate(self, slot: u32) -> (u32, usize) {
        (self.page + slot / PAGE_SLOTS, (slot % PAGE_SLOTS) as usize)
    }
}

const _: () = {
    assert!(size_of::<Service>() == 64);
    assert!(size_of::<Endpoint>() == 64);
    assert!(size_of::<BackendName>() == 64);
    assert!(size_of::<SlotPage>() == 2048);
    assert!(size_of::<EndpointCounters>() == 40);
    assert!(size_of::<Dealt>() == 64);
    assert!(size_of::<PortRanges>() == 128);
};

#[cfg(feature = "user")]
mod pod {
    use super::EndpointCounters;

    // SAFETY: `repr(C)`, five integers without padding (size asserted above), any bits are a value.
    unsafe impl aya::Pod for EndpointCounters {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(all: &[(u16, u16, u16)]) -> PortRanges {
        let mut ranges = PortRanges::NONE;
        for (place, &(first, last, service)) in ranges.ranges.iter_mut().zip(all) {
            *place = PortRange {
                first,
                last,
                service,
                zero: 0,
            };
        }
        ranges
    }

    #[test]
    fn a_port_is_that_of_the_range_it_lies_in() {
        let some = ranges(&[(9000, 9010, 7), (53, 53, 8), (65_535, 65_535, 9)]);
        for (port, service) in [
            (8999, None),
            (9000, Some(7)),
            (9010, Some(7)),
            (9011, None),
            (53, Some(8)),
            (65_535, Some(9)),
            (0, None),
        ] {
            assert_eq!(some.find(port), service, "port {port}");
        }
        assert_eq!(PortRanges::NONE.find(0), None);
        assert_eq!(PortRanges::NONE.find(1), None);
    }

    #[test]
    fn all_ranges_are_looked_through_and_the_first_counts() {
        let all: [(u16, u16, u16); limits::PORT_RANGES] =
            core::array::from_fn(|n| (n as u16 + 1, n as u16 + 2, n as u16 + 100));
        let all = ranges(&all);
        assert_eq!(all.find(1), Some(100));
        assert_eq!(all.find(2), Some(100));
        assert_eq!(all.find(17), Some(115));
        assert_eq!(all.find(18), None);
    }

    #[test]
    fn no_packet_has_the_identity_of_a_range() {
        let range = Service::identity_of_range(4, 9000, 6);
        assert!(Service::has_range(range));
        assert!(!Service::has_range(Service::identity_of(
            6,
            u16::MAX,
            u8::MAX
        )));
        let service = Service {
            identity: range,
            ..Service::EMPTY
        };
        assert_eq!(
            (service.port(), service.protocol(), service.family()),
            (9000, 6, 4)
        );
    }
}
