//! The values of the maps. Plain integers, padding spelled out; the daemon writes them and the kernel
//! program reads them, unless said otherwise.

use crate::limits::PAGE_SLOTS;

/// Version of everything in this file, of the flow entries and of the hashes. A daemon adopts maps of
/// its own version only.
pub const LAYOUT: u32 = 1;

/// One service. Map `SERVICES`: array, index = service id = where [`crate::hash::place`] and probing
/// put it. One cache line: a packet's way to its service is one miss at most.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Service {
    /// Virtual address, [`crate::address::Address::wide`].
    pub address: [u64; 2],
    /// [`Service::identity_of`]. 0: never used. [`Service::REMOVED`]: probing goes on past it.
    /// Written last when a service is added and first when it is removed.
    pub identity: u64,
    /// [`crate::hash::service_basis`].
    pub basis: u64,
    /// [`TableRef`] as one word: written in one store, so a packet sees the old table or the new.
    pub table: u64,
    /// Idle limits in ticks: TCP opening, open, closing; UDP.
    pub idle: [u16; 4],
    /// How packets reach endpoints: 0 `nat`, 1 `dsr`, 2 `ipip`, 3 `gue`.
    pub mode: u8,
    /// Bits: 2 slots are dealt in turn, 4 rules, 8 port ranges,
    /// 16 segments are clamped to `mss`.
    pub flags: u8,
    /// Affinity: leading bits of the client's address that select the slot. 0: the whole flow, its
    /// port included.
    pub client_bits: u8,
    /// Zero.
    pub zero: u8,
    /// Destination port of a tunnel over UDP, host order.
    pub tunnel_port: u16,
    /// Largest TCP segment a client is let ask for, in bytes; 0: any.
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
    /// [`crate::hash::endpoint_basis`].
    pub basis: u64,
    /// Where packets go, host order.
    pub port: u16,
    /// [`crate::parse::TCP`] or [`crate::parse::UDP`].
    pub protocol: u8,
    /// [`crate::address::IPV4`] or [`crate::address::IPV6`]; 0: the id is free.
    pub family: u8,
    /// Id of the service it belongs to.
    pub service: u16,
    /// Index of its backend's name. The kernel does not read it.
    pub backend: u16,
    /// Zero.
    pub reserved: [u64; 2],
}

/// Name of a backend, for the next daemon. Map `BACKENDS`: array. The kernel does not read it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct BackendName {
    /// UTF-8, zero-padded; empty: the index is free.
    pub name: [u8; 64],
}

/// A page of slots. Map `SLOTS`: array. Each slot is an endpoint id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotPage {
    /// Endpoint ids; 0 is "no endpoint".
    pub slots: [u16; PAGE_SLOTS as usize],
}

/// What was counted of an endpoint. Map `COUNTERS`: per-CPU array, index = endpoint id. Written by the
/// kernel program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounters {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes of their IP packets.
    pub bytes_in: u64,
    /// Packets from the endpoint.
    pub packets_out: u64,
    /// Bytes of their IP packets.
    pub bytes_out: u64,
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
    /// Number of places.
    pub const COUNT: u32 = 2;
}

/// Destination MAC address that marks a frame for `lb_deliver`: locally administered, nobody's.
pub const HAND_OVER_MAC: [u8; 6] = *b"\x02lb\x00>>";

/// Which pages hold a service's table, and how large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRef {
    /// First page.
    pub page: u32,
    /// Slots − 1; slots are a power of two.
    pub mask: u32,
}

impl Service {
    /// Identity of a place whose service was removed.
    pub const REMOVED: u64 = 1;
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

    /// Virtual port, host order.
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
        reserved: [0; 2],
    };
}

impl TableRef {
    /// Instead of a table: the service takes no new flows, and goes when its flows have gone.
    pub const NONE: u64 = u64::MAX;

    /// As the record holds it.
    pub const fn word(self) -> u64 {
        (self.page as u64) << 32 | self.mask as u64
    }

    /// From the record.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            page: (word >> 32) as u32,
            mask: word as u32,
        }
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
    assert!(size_of::<EndpointCounters>() == 72);
};

#[cfg(feature = "user")]
mod pod {
    use super::EndpointCounters;

    // SAFETY: `repr(C)`, nine integers without padding (size asserted above), any bits are a value.
    unsafe impl aya::Pod for EndpointCounters {}
}
