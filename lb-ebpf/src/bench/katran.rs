//! What the benchmark compares the tunnel mode with: a balancer in Katran's layout, at the same work.
//!
//! As `balancer.bpf.c` of Katran (2026): a hash of the virtual addresses, an LRU hash of flows by CPU
//! with the whole tuple as key, a ring of positions for new flows, arrays of endpoints and of MAC
//! addresses, three per-CPU counters a packet; IPv4 in IPv4 or IPv6 in IPv6 out of the interface the
//! packet came in on. It shares parsing with `lb`. Left out, in its favour: the switches for
//! QUIC, source routing, the flood check and ICMP, and the lookup of the CPU's own map in a map of maps, for
//! which a lookup in an array stands.
#![expect(
    missing_docs,
    reason = "the program macros make public functions without their docs"
)]
#![no_std]
#![no_main]

#[path = "../frame.rs"]
#[expect(dead_code, reason = "Katran does not route")]
mod frame;
mod katran_maps;
#[path = "../object.rs"]
mod object;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_ANY, xdp_action},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_xdp_adjust_head},
    macros::{map, xdp},
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
    programs::XdpContext,
};
use lb_common::{
    address::{Address, V4, V6},
    frame::{Frame, Header},
    parse::{self, Network, Packet, Parse, TCP},
};

use frame::XdpFrame;
use katran_maps::{
    FlowKey, Lru, RING_SIZE, Real, STATS_LRU, STATS_LRU_MISS, Stats, VipKey, VipMeta,
};

/// Virtual addresses.
#[map]
static VIP_MAP: HashMap<VipKey, VipMeta> = HashMap::with_max_entries(512, 0);
/// CPU → which LRU map is its own.
#[map]
static LRU_MAPPING: Array<u32> = Array::with_max_entries(128, 0);
/// Flows. The loader sets the size.
#[map]
static LRU: LruHashMap<FlowKey, Lru> = LruHashMap::with_max_entries(1, 0);
/// Service · ring size + place → number of an endpoint.
#[map]
static CH_RINGS: Array<u32> = Array::with_max_entries(2 * RING_SIZE, 0);
/// Endpoints.
#[map]
static REALS: Array<Real> = Array::with_max_entries(4096, 0);
/// 0: MAC address of the router.
#[map]
static CTL_ARRAY: Array<[u8; 8]> = Array::with_max_entries(16, 0);
/// By service, and of the flow table.
#[map]
static STATS: PerCpuArray<Stats> = PerCpuArray::with_max_entries(1024, 0);
/// By endpoint.
#[map]
static REALS_STATS: PerCpuArray<Stats> = PerCpuArray::with_max_entries(4096, 0);

/// Every frame.
#[xdp(frags)]
pub fn katran(ctx: XdpContext) -> u32 {
    let frame = XdpFrame::new(ctx);
    let sent = match parse::network_as::<true, _>(&frame) {
        Ok(Network::V4(offset)) => balance::<V4>(&frame, offset),
        Ok(Network::V6(offset)) => balance::<V6>(&frame, offset),
        Err(_) => None,
    };
    match sent {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn balance<A: Parse + Tunnel>(frame: &XdpFrame, offset: usize) -> Option<()> {
    let packet = A::parse_as::<true, _>(frame, offset).ok()?;
    let vip = vip(&packet)?;
    count(&STATS, STATS_LRU, 1, 0)?;
    let key = FlowKey {
        source: packet.source.wide(),
        destination: packet.destination.wide(),
        ports: [packet.source_port, packet.destination_port],
        protocol: packet.protocol,
        padding: [0; 3],
    };
    let number = match flow(&packet, &key) {
        Some(number) => number,
        None => select(&packet, &key, vip)?,
    };
    let real = REALS.get(number)?;
    let mac = CTL_ARRAY.get(0)?;
    count(&STATS, vip.number, 1, packet.length as u64)?;
    count(&REALS_STATS, number, 1, packet.length as u64)?;
    A::encapsulate(frame, &packet, real, mac)
}

#[inline(always)]
fn vip<A: Address>(packet: &Packet<A>) -> Option<&'static VipMeta> {
    let mut key = VipKey {
        address: packet.destination.wide(),
        port: packet.destination_port,
        protocol: packet.protocol as u16,
        padding: 0,
    };
    // SAFETY: the benchmark does not change the map while it runs.
    if let Some(vip) = unsafe { VIP_MAP.get(key) } {
        return Some(vip);
    }
    key.port = 0;
    // SAFETY: as above.
    unsafe { VIP_MAP.get(key) }
}

/// The endpoint of the packet's flow, if it has one.
#[inline(always)]
fn flow<A>(packet: &Packet<A>, key: &FlowKey) -> Option<u32> {
    if packet.signals.opens() {
        return None;
    }
    // SAFETY: the helper has no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    LRU_MAPPING.get(cpu)?;
    // SAFETY: the benchmark runs one packet at a time.
    let lru = unsafe { LRU.get(key) }?;
    if packet.protocol != TCP {
        return None;
    }
    Some(lru.position)
}

#[inline(never)]
fn select<A: Address>(packet: &Packet<A>, key: &FlowKey, vip: &VipMeta) -> Option<u32> {
    count(&STATS, STATS_LRU_MISS, 1, 0)?;
    let source = (0..A::WORDS).fold(0, |hash, word| jhash(packet.source.word(word), hash));
    let ports = (packet.source_port as u32) << 16 | packet.destination_port as u32;
    let place = jhash(ports, source) % RING_SIZE;
    let number = *CH_RINGS.get(vip.number * RING_SIZE + place)?;
    // SAFETY: the helper has no arguments.
    let time = unsafe { bpf_ktime_get_ns() };
    let lru = Lru {
        position: number,
        padding: 0,
        time,
    };
    LRU.insert(key, lru, BPF_ANY as u64).ok()?;
    Some(number)
}

/// The last rounds of Jenkins' hash of two words.
#[inline(always)]
fn jhash(word: u32, initial: u32) -> u32 {
    const GOLDEN: u32 = 0xdead_beef + 8;
    let (mut a, mut b, mut c) = (
        GOLDEN.wrapping_add(word),
        GOLDEN.wrapping_add(initial),
        GOLDEN,
    );
    for (x, y, z) in [(14, 11, 25), (16, 4, 14)] {
        c = (c ^ b).wrapping_sub(b.rotate_left(x));
        a = (a ^ c).wrapping_sub(c.rotate_left(y));
        b = (b ^ a).wrapping_sub(a.rotate_left(z));
    }
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[inline(always)]
fn count(map: &PerCpuArray<Stats>, index: u32, packets: u64, bytes: u64) -> Option<()> {
    // SAFETY: this CPU's own value.
    let stats = unsafe { &mut *map.get_ptr_mut(index)? };
    stats.packets += packets;
    stats.bytes += bytes;
    Some(())
}

/// The way of a family into its tunnel.
trait Tunnel: Address {
    fn encapsulate(
        frame: &XdpFrame,
        packet: &Packet<Self>,
        real: &Real,
        mac: &[u8; 8],
    ) -> Option<()>;
}

/// Ethernet and the outer IPv4 header.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Outer4 {
    destination_mac: [u16; 3],
    source_mac: [u16; 3],
    kind: u16,
    ip: [u16; 10],
}

/// Ethernet and the outer IPv6 header.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Outer6 {
    destination_mac: [u16; 3],
    source_mac: [u16; 3],
    kind: u16,
    ip: [u32; 2],
    source: [u32; 4],
    destination: [u64; 2],
}

// SAFETY: packed, so of alignment 1 and without padding; integers, which take any bits.
unsafe impl Header for Outer4 {}
// SAFETY: as above.
unsafe impl Header for Outer6 {}

/// The frame's own MAC address, before there is room in front of it.
#[inline(always)]
fn macs(frame: &XdpFrame, mac: &[u8; 8]) -> Option<([u16; 3], [u16; 3])> {
    let own: &Outer4 = frame.header(0)?;
    let [a, b, c, d, e, f, ..] = *mac;
    let router = [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes);
    Some((router, own.destination_mac))
}

impl Tunnel for V4 {
    #[inline(always)]
    fn encapsulate(
        frame: &XdpFrame,
        packet: &Packet<Self>,
        real: &Real,
        mac: &[u8; 8],
    ) -> Option<()> {
        let (destination_mac, source_mac) = macs(frame, mac)?;
        let suffix = packet.source.0 ^ (packet.source_port as u32).rotate_left(16);
        let source = u32::from_ne_bytes([172, 16, 0, 0]) | suffix & 0xffff_0000;
        let total = packet.length + 20;
        let real = real.address[1] as u32;
        let mut ip = [
            u16::from_ne_bytes([0x45, 0]),
            total.to_be(),
            0,
            0,
            u16::from_ne_bytes([64, 4]),
            0,
            source as u16,
            (source >> 16) as u16,
            real as u16,
            (real >> 16) as u16,
        ];
        let mut sum = 0_u64;
        for word in ip {
            sum += word as u64;
        }
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        ip[5] = !(sum as u16);
        grow(frame, 20)?;
        let mut frame = XdpFrame::new(XdpContext::new(frame.ctx.ctx));
        let outer: &mut Outer4 = frame.header_mut(0)?;
        *outer = Outer4 {
            destination_mac,
            source_mac,
            kind: u16::from_ne_bytes([8, 0]),
            ip,
        };
        Some(())
    }
}

impl Tunnel for V6 {
    #[inline(always)]
    fn encapsulate(
        frame: &XdpFrame,
        packet: &Packet<Self>,
        real: &Real,
        mac: &[u8; 8],
    ) -> Option<()> {
        let (destination_mac, source_mac) = macs(frame, mac)?;
        let length = packet.length as u32;
        let suffix = packet.source.word(3) ^ packet.source_port as u32;
        grow(frame, 40)?;
        let mut frame = XdpFrame::new(XdpContext::new(frame.ctx.ctx));
        let outer: &mut Outer6 = frame.header_mut(0)?;
        *outer = Outer6 {
            destination_mac,
            source_mac,
            kind: u16::from_ne_bytes([0x86, 0xdd]),
            ip: [
                u32::from_ne_bytes([0x60, 0, 0, 0]),
                (length << 16 | 41 << 8 | 64).to_be(),
            ],
            source: [u32::from_ne_bytes([1, 0, 0, 0]), 0, 0, suffix],
            destination: real.address,
        };
        Some(())
    }
}

#[inline(always)]
fn grow(frame: &XdpFrame, bytes: i32) -> Option<()> {
    // SAFETY: the context is the program's own; no reference into the frame is used afterwards.
    (unsafe { bpf_xdp_adjust_head(frame.ctx.as_ptr().cast(), -bytes) } == 0).then_some(())
}
