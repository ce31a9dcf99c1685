//! Every size in one place, with what it costs.

/// Services one node can hold. 64 B each.
pub const SERVICES: u32 = 4096;
/// Places a service may stand from the one its hash names. Bounds the lookup loop; a service that finds
/// no place is refused.
pub const SERVICE_PROBES: u32 = 16;
/// Endpoint ids, 0 excluded: a power of two. 64 B each, and 104 B on every CPU.
pub const ENDPOINTS: u32 = 4096;
/// Slots in a page of the slot map: 2 KiB, so that a 65 536-slot table is 64 map writes.
pub const PAGE_SLOTS: u32 = 1024;
/// Pages of the slot map: 32 MiB, 128 services with two tables of 65 536 slots each.
pub const PAGES: u32 = 16_384;
/// The largest table: the slot is 16 bits of the flow hash.
pub const MAX_SLOTS: u32 = 65_536;
/// The smallest table: steps of 0.4 %.
pub const MIN_SLOTS: u32 = 256;
/// Rules of all services. A word each, and a cache line for its turns.
pub const RULES: u32 = 4096;
/// Prefixes of all rules. A node of the kernel's trie each, and another one where two
/// prefixes part: as many as there are, not as many as there may be.
pub const RULE_PREFIXES: u32 = 1 << 21;
/// Ranges of ports at one address and protocol: looked through one by one, for a packet to none of the
/// services with one port.
pub const PORT_RANGES: usize = 16;
/// Addresses and protocols with ranges of ports. 128 B each.
pub const RANGED: u32 = 1024;
/// Entries in a bucket of the flow table: 4 × 16 B is one cache line, so an IPv4 lookup is one miss.
pub const WAYS: usize = 4;
/// Node ports tried for a new flow. With half of the ports taken at random all fail once in 2^16 flows,
/// with nine tenths once in five.
pub const PORT_PROBES: u32 = 16;
/// Nanoseconds in a tick, 2^30: a shift instead of a division in the kernel.
pub const TICK_SHIFT: u32 = 30;
/// Longest idle limit, in ticks: it is 16 bits in the service record (about 19 hours).
pub const MAX_IDLE_TICKS: u32 = u16::MAX as u32;
/// Ticks a flow's packets are still translated after both sides have finished or one has reset it:
/// retransmissions of the last ACK.
pub const CLOSED_TICKS: u32 = 10;
/// An entry's end is moved forward only when it would move this many ticks: one write to the entry
/// every two seconds instead of one per packet.
pub const RENEW_TICKS: u32 = 2;
/// Senders that each CPU tells in a tick that their packets are too big.
pub const TOO_BIG_ANSWERS: u32 = 1000;
/// TCP options looked through for the segment size.
pub const TCP_OPTIONS: u32 = 16;
/// VLAN tags looked through.
pub const VLAN_TAGS: usize = 2;
/// IPv6 extension headers looked through.
pub const EXTENSION_HEADERS: usize = 4;
/// Packets whose first fragment is remembered: about 3 MiB.
pub const FRAGMENTS: u32 = 16_384;
