//! Every size in one place, with what it costs.

/// Places for services, 64 B each and as much for their turns. With a quarter of them taken, one configuration
/// in a thousand has a service that finds no place within [`SERVICE_PROBES`]; with an eighth none of four thousand.
pub const SERVICES: u32 = 16_384;
/// Places a service may stand from the one its hash names. Bounds the lookup loop; a service that finds
/// no place is refused.
pub const SERVICE_PROBES: u32 = 16;
/// Endpoint ids, 0 excluded: a power of two. 64 B each, and 104 B on every CPU: 1 MiB and 1.6 MiB. Taken at the
/// start, which is why there are not as many as an id could name: on 64 CPUs that would be 416 MiB.
pub const ENDPOINTS: u32 = 16_384;
/// Names of backends; services that name theirs alike share them. 64 B each.
pub const BACKENDS: u32 = 16_384;
/// Slots in a page of the slot map: 2 KiB.
pub const PAGE_SLOTS: u32 = 1024;
/// Pages of the slot map: 32 MiB, 256 tables of 65 536 slots. Services with the same table share it.
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
/// Node ports compared for a new flow, the best of which is taken if any can be had.
pub const PORT_PROBES: u32 = 16;
/// If none can, more are tried until one can, this many in all. With nine tenths of the ports taken at random
/// all fail once in 800 flows.
pub const MOST_PORT_PROBES: u32 = 64;
/// Nanoseconds in a tick, 2^26: a shift instead of a division in the kernel. 67 ms, so that of flows that are
/// opening the oldest can be told.
pub const TICK_SHIFT: u32 = 26;
/// Ticks in a *second* of 2^30 ns, in which idle limits are kept and next hops are believed.
pub const SECOND_SHIFT: u32 = 4;
/// Longest idle limit, in such seconds: it is 16 bits in the service record (about 19 hours).
pub const MAX_IDLE_SECONDS: u32 = u16::MAX as u32;
/// Ticks that a flow which was opened a moment ago gives way to nobody: 67 to 134 ms, a round trip.
pub const FRESH_TICKS: u32 = 2;
/// Ticks a flow's packets are still translated after both sides have finished or one has reset it:
/// retransmissions of the last ACK.
pub const CLOSED_TICKS: u32 = 10 << SECOND_SHIFT;
/// An entry's end is moved forward only when it would move this many ticks: one write to the entry
/// a second instead of one per packet.
pub const RENEW_TICKS: u32 = 1 << SECOND_SHIFT;
/// Senders that each CPU tells in a second that their packets are too big.
pub const TOO_BIG_ANSWERS: u32 = 1000;
/// TCP options looked through for the segment size.
pub const TCP_OPTIONS: u32 = 16;
/// VLAN tags looked through.
pub const VLAN_TAGS: usize = 2;
/// IPv6 extension headers looked through.
pub const EXTENSION_HEADERS: usize = 4;
/// Packets whose first fragment is remembered: about 3 MiB.
pub const FRAGMENTS: u32 = 16_384;
