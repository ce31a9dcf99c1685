//! The values of the maps in Katran's layout; one file, compiled into the program and into the
//! benchmark.

/// Places in a service's ring.
pub const RING_SIZE: u32 = 65_537;
/// Index of the packets that asked the flow table.
pub const STATS_LRU: u32 = 512;
/// Index of those it did not know.
pub const STATS_LRU_MISS: u32 = 513;

/// A virtual address: `struct vip_definition`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipKey {
    /// Address, wide.
    pub address: [u64; 2],
    /// Port.
    pub port: u16,
    /// IP protocol.
    pub protocol: u16,
    /// Zero.
    pub padding: u32,
}

/// What there is to know of it: `struct vip_meta`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipMeta {
    /// Switches.
    pub flags: u32,
    /// Number of its ring and counters.
    pub number: u32,
}

/// A flow: `struct flow_key`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// Source address, wide.
    pub source: [u64; 2],
    /// Destination address, wide.
    pub destination: [u64; 2],
    /// Ports.
    pub ports: [u16; 2],
    /// IP protocol.
    pub protocol: u8,
    /// Zero.
    pub padding: [u8; 3],
}

/// Where it goes: `struct real_pos_lru`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lru {
    /// Number of the endpoint.
    pub position: u32,
    /// Zero.
    pub padding: u32,
    /// Of UDP: when it was last seen.
    pub time: u64,
}

/// An endpoint: `struct real_definition`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Real {
    /// Address, wide.
    pub address: [u64; 2],
    /// Switches.
    pub flags: u64,
}

/// A counter: `struct lb_stats`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}
