//! Every map and every constant the loader sets.
//!
//! | map | index → value | written by | read by |
//! |---|---|---|---|
//! | `SERVICES` | service id → [`Service`] | daemon | `lb` |
//! | `ENDPOINTS` | endpoint id → [`Endpoint`] | daemon | `lb` |
//! | `SLOTS` | page → 1024 slots | daemon | `lb` |
//! | `PORT_RANGES` | address, family and protocol → [`PortRanges`] | daemon | `lb` |
//! | `SWITCHES` | 0 → whether there are any of these | daemon | `lb` |
//! | `RULES4`, `RULES6` | service id and leading bits of a client → rule | daemon | `lb` |
//! | `RULE_TABLES` | rule → its table, as in [`Service`] | daemon | `lb` |
//! | `DEALT` | service id or rule → turns taken, where flows take turns | `lb` | `lb` |
//! | `FLOWS4`, `FLOWS6` | bucket → 4 flow entries | `lb`; the daemon clears dead ones | both |
//! | `FRAGMENTS` | fragments of a packet → where its first one went | `lb` | `lb` |
//! | `ECHO` | address and family → 1: echo requests to it are answered | daemon | `lb` |
//! | `WAYS` | [`ways`] → program | daemon | `lb` |
//! | `EGRESS` | interface index → what XDP can do there | daemon | `lb` |
//! | `CPUS` | processor → [`Cpu`]: packets by reason and by endpoint, ways to endpoints and clients | `lb`, `lb_deliver`, `lb_local` | both |
//! | `COUNTERS` | endpoint id → [`EndpointCounters`], each CPU its own | `lb` | daemon |
//! | `TOLD` | 0 → senders told in a second that their packets are too big, each CPU its own | `lb` | `lb` |
//! | `BACKENDS` | index → name | daemon | the next daemon |
//! | `LAYOUT` | 0..4 → version of all this, seed, buckets, node ports | daemon | the next daemon |

use core::ptr;

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    helpers::{bpf_get_smp_processor_id, bpf_jiffies64},
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray},
    programs::XdpContext,
};
use lb_common::{
    address::{Address, V4, V6},
    cpu::Cpu,
    flow::{Bucket, Client, Flows, NodePorts},
    fragment::{FragmentKey, FragmentWay},
    hash::{KEYS, Keys},
    limits::{
        BACKENDS as MAX_BACKENDS, ENDPOINTS as MAX_ENDPOINTS, FRAGMENTS as MAX_FRAGMENTS, PAGES,
        RANGED, RULE_PREFIXES, RULES as MAX_RULES, SECOND_SHIFT, SERVICES as MAX_SERVICES,
        TICK_SHIFT, TOO_BIG_ANSWERS,
    },
    record::{
        BackendName, Dealt, Endpoint, EndpointCounters, PortRanges, Service, SlotPage, TableRef,
        turns_of_rule, ways,
    },
};

// Values of an array map start at a cache line only if the map can be mapped into a process: then
// they start at a page. The daemon also reads and writes them there.
const MAPPED: u32 = BPF_F_MMAPABLE;
// Old and new ones, while the daemon puts new ones in the place of all.
const MAX_PREFIXES: u32 = 2 * RULE_PREFIXES;

/// Service id → service.
#[map]
pub static SERVICES: Array<Service> = Array::with_max_entries(MAX_SERVICES, MAPPED);
/// Endpoint id → endpoint.
#[map]
pub static ENDPOINTS: Array<Endpoint> = Array::with_max_entries(MAX_ENDPOINTS, MAPPED);
/// Page → slots.
#[map]
pub static SLOTS: Array<SlotPage> = Array::with_max_entries(PAGES, MAPPED);
/// Address, [`PortRanges::identity_of`] → services with several ports.
#[map]
pub static PORT_RANGES: HashMap<[u64; 3], PortRanges> = HashMap::with_max_entries(RANGED, 0);
/// 0 → 1 if there are services with several ports.
#[map]
pub static SWITCHES: Array<u64> = Array::with_max_entries(1, MAPPED);
/// Service id, leading bits of an IPv4 client → rule.
#[map]
pub static RULES4: LpmTrie<[u32; 2], u32> = LpmTrie::with_max_entries(MAX_PREFIXES, 0);
/// Service id, leading bits of an IPv6 client → rule.
#[map]
pub static RULES6: LpmTrie<[u32; 5], u32> = LpmTrie::with_max_entries(MAX_PREFIXES, 0);
/// Rule → [`TableRef`] as one word.
#[map]
pub static RULE_TABLES: Array<u64> = Array::with_max_entries(MAX_RULES, MAPPED);
/// Service id or rule → turns taken of its dealing order.
#[map]
pub static DEALT: Array<Dealt> = Array::with_max_entries(turns_of_rule(MAX_RULES), MAPPED);
/// Bucket → IPv4 flow entries. The loader sets the size.
#[map]
pub static FLOWS4: Array<Bucket<<V4 as Client>::Key>> = Array::with_max_entries(1, MAPPED);
/// Bucket → IPv6 flow entries. The loader sets the size.
#[map]
pub static FLOWS6: Array<Bucket<<V6 as Client>::Key>> = Array::with_max_entries(1, MAPPED);
/// Where first fragments were sent.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentWay> =
    LruHashMap::with_max_entries(MAX_FRAGMENTS, 0);
/// Wide address and family byte → 1, if echo requests to the address are answered.
#[map]
pub static ECHO: HashMap<[u64; 3], u8> = HashMap::with_max_entries(MAX_SERVICES, BPF_F_NO_PREALLOC);
/// Programs that `lb` leaves packets to.
#[map]
pub static WAYS: ProgramArray = ProgramArray::with_max_entries(ways::COUNT, 0);
/// Processor → its own. The loader sets the size.
#[map]
pub static CPUS: Array<Cpu> = Array::with_max_entries(1, MAPPED);
/// Interface index → bits of [`lb_common::record::egress`].
#[map]
pub static EGRESS: HashMap<u32, u32> = HashMap::with_max_entries(1024, 0);
/// Endpoint id → counters.
#[map]
pub static COUNTERS: PerCpuArray<EndpointCounters> =
    PerCpuArray::with_max_entries(MAX_ENDPOINTS, 0);
/// 0 → a second, and senders that were told in it that their packets are too big.
#[map]
pub static TOLD: PerCpuArray<[u32; 2]> = PerCpuArray::with_max_entries(1, 0);
/// Names, for the next daemon.
#[map]
pub static BACKENDS: Array<BackendName> = Array::with_max_entries(MAX_BACKENDS, MAPPED);
/// Version of the layout, for the next daemon.
#[map]
pub static LAYOUT: Array<u64> = Array::with_max_entries(4, 0);

/// Secret words of the hashes. Set by the loader.
#[unsafe(no_mangle)]
static HASH_KEYS: Global<[u64; KEYS]> = Global::new([0; KEYS]);
/// Buckets of the flow table − 1. Set by the loader.
#[unsafe(no_mangle)]
static FLOW_MASK: Global<u32> = Global::new(0);
/// First node port. Set by the loader.
#[unsafe(no_mangle)]
static FIRST_NODE_PORT: Global<u16> = Global::new(0);
/// Number of node ports. Set by the loader.
#[unsafe(no_mangle)]
static NODE_PORT_COUNT: Global<u16> = Global::new(0);

/// Nanoseconds between two timer interrupts. Set by the loader.
#[unsafe(no_mangle)]
static CLOCK_INTERVAL: Global<u64> = Global::new(0);
/// What is added to make CLOCK_MONOTONIC of their count. Set by the loader.
#[unsafe(no_mangle)]
static CLOCK_OFFSET: Global<u64> = Global::new(0);

/// The keys of the hashes, from read-only data.
pub struct SecretKeys;

impl Keys for SecretKeys {
    #[inline(always)]
    fn key(&self, index: usize) -> u64 {
        // SAFETY: `index` is below `KEYS`: it is a constant of `lb_common::hash` after unrolling.
        // Volatile, so that the value the loader sets is read and not the zero written above.
        unsafe { ptr::read_volatile((&raw const HASH_KEYS).cast::<u64>().add(index)) }
    }
}

/// The node ports flows are given.
#[inline(always)]
pub fn node_ports() -> NodePorts {
    NodePorts {
        first: FIRST_NODE_PORT.load(),
        count: NODE_PORT_COUNT.load(),
    }
}

/// The tick it is now, by CLOCK_MONOTONIC; it may begin a timer interrupt early or late.
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: the helper has no arguments. The kernel makes a load of its call (5.6); a clock in nanoseconds
    // would be a call, a tenth of all that a packet costs.
    let interrupts = unsafe { bpf_jiffies64() };
    let nanoseconds = interrupts
        .wrapping_mul(CLOCK_INTERVAL.load())
        .wrapping_add(CLOCK_OFFSET.load());
    (nanoseconds >> TICK_SHIFT) as u32
}

/// The flow table of a family.
pub struct FlowMap;

impl Flows<V4> for FlowMap {
    #[inline(always)]
    fn bucket(&self, number: u32) -> Option<&Bucket<<V4 as Client>::Key>> {
        FLOWS4.get(number & FLOW_MASK.load())
    }

    #[inline(always)]
    fn is_to(&self, endpoint: u16, service: u16) -> bool {
        is_to(endpoint, service).unwrap_or(false)
    }

    #[inline(always)]
    fn service_basis(&self, endpoint: u16) -> Option<u64> {
        Some(service_of(endpoint)?.basis)
    }

    #[inline(always)]
    fn endpoint_basis(&self, endpoint: u16, port: u16) -> Option<u64> {
        Some(ENDPOINTS.get(endpoint as u32)?.basis_for(&SecretKeys, port))
    }
}

impl Flows<V6> for FlowMap {
    #[inline(always)]
    fn bucket(&self, number: u32) -> Option<&Bucket<<V6 as Client>::Key>> {
        FLOWS6.get(number & FLOW_MASK.load())
    }

    #[inline(always)]
    fn is_to(&self, endpoint: u16, service: u16) -> bool {
        is_to(endpoint, service).unwrap_or(false)
    }

    #[inline(always)]
    fn service_basis(&self, endpoint: u16) -> Option<u64> {
        Some(service_of(endpoint)?.basis)
    }

    #[inline(always)]
    fn endpoint_basis(&self, endpoint: u16, port: u16) -> Option<u64> {
        Some(ENDPOINTS.get(endpoint as u32)?.basis_for(&SecretKeys, port))
    }
}

#[inline(always)]
fn service_of(endpoint: u16) -> Option<&'static Service> {
    let service = ENDPOINTS.get(endpoint as u32)?.service;
    SERVICES.get(service as u32)
}

#[inline(always)]
fn is_to(endpoint: u16, service: u16) -> Option<bool> {
    let (one, other) = (service_of(endpoint)?, SERVICES.get(service as u32)?);
    Some(one.address == other.address && one.protocol() == other.protocol())
}

/// One of a service's tables, as it is at this instant.
#[inline(always)]
pub fn table_word(service: &Service) -> u64 {
    // SAFETY: a valid reference. Volatile: the daemon may store another table at any moment, and the
    // word must be read once.
    unsafe { ptr::read_volatile(&raw const service.table) }
}

/// Whether there are services with several ports.
#[inline(always)]
pub fn has_ranges() -> bool {
    // SAFETY: as in `table_word`.
    SWITCHES
        .get_ptr(0)
        .is_some_and(|word| unsafe { ptr::read_volatile(word) } != 0)
}

/// The services with several ports of an address.
#[inline(always)]
pub fn port_ranges(key: [u64; 3]) -> Option<&'static PortRanges> {
    // SAFETY: an entry that is exchanged meanwhile only makes it old: the kernel gives its memory to
    // nothing else than another entry, and the caller looks at the service that it names.
    unsafe { PORT_RANGES.get(key) }
}

/// The table of a rule, as it is at this instant; none if the rule has gone.
#[inline(always)]
pub fn rule_table_word(rule: u32) -> u64 {
    match RULE_TABLES.get_ptr(rule) {
        // SAFETY: as in `table_word`.
        Some(word) => unsafe { ptr::read_volatile(word) },
        None => TableRef::NONE,
    }
}

/// Whose place this is, as it is at this instant.
#[inline(always)]
pub fn identity_word(service: &Service) -> u64 {
    // SAFETY: as in `table_word`.
    unsafe { ptr::read_volatile(&raw const service.identity) }
}

/// The counters of an endpoint, of this CPU.
#[inline(always)]
pub fn counters(endpoint: u16) -> Option<&'static mut EndpointCounters> {
    // SAFETY: this CPU's own value, and the program is not interrupted by itself.
    COUNTERS
        .get_ptr_mut(endpoint as u32)
        .map(|counters| unsafe { &mut *counters })
}

/// Whether this CPU may tell one more sender in the second of the tick `now` that its packets are too big.
#[inline(always)]
pub fn may_tell(now: u32) -> bool {
    let now = now >> SECOND_SHIFT;
    // SAFETY: as in `counters`.
    let Some([second, told]) = TOLD.get_ptr_mut(0).map(|told| unsafe { &mut *told }) else {
        return false;
    };
    if *second != now {
        (*second, *told) = (now, 0);
    }
    *told += 1;
    *told <= TOO_BIG_ANSWERS
}

/// This processor's own. There is one for each processor there may be: the loader saw to that.
#[inline(always)]
pub fn cpu() -> Option<&'static mut Cpu> {
    // SAFETY: the helper has no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    // SAFETY: as in `counters`; who asks passes it on and does not ask again meanwhile.
    CPUS.get_ptr_mut(cpu).map(|cpu| unsafe { &mut *cpu })
}

/// What XDP can do on an interface; 0 of an unknown one.
#[inline(always)]
pub fn egress(interface: u32) -> u32 {
    // SAFETY: a copy of one word; an entry that is deleted meanwhile only makes it old.
    unsafe { EGRESS.get(interface) }.copied().unwrap_or(0)
}

/// Whether echo requests to an address are answered.
#[inline(always)]
pub fn answers_echo<A: Address>(address: A) -> bool {
    let [head, tail] = address.wide();
    // SAFETY: only whether there is an entry is looked at.
    unsafe { ECHO.get([head, tail, A::FAMILY as u64]) }.is_some()
}

/// Where the first fragment of a packet was sent.
#[inline(always)]
pub fn fragment_way(key: &FragmentKey) -> Option<FragmentWay> {
    // SAFETY: copied at once. Another processor may be writing another way there: that takes a packet
    // with the same key, whose fragments could not be told apart anyway.
    unsafe { FRAGMENTS.get(key) }.copied()
}

/// Leaves the packet to another program. Comes back only if there is none.
#[inline(always)]
pub fn go_on(ctx: &XdpContext, way: u32) {
    // SAFETY: the programs are made for the same context.
    unsafe { WAYS.tail_call(ctx, way) };
}
