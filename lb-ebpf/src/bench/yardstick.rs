//! What the benchmark compares with: a balancer with the same work to do and the layout that is usual.
//!
//! As in Katran and Cilium: flows in the kernel's LRU hash, one entry for each direction; services in
//! a HashMap; slots, endpoints and per-CPU counters in arrays. It shares parsing and rewriting with
//! `lb`, so the difference is in the lookups. It does less: no TCP phases, no idle times, no routing
//! (the next hop is fixed), no reasons, and any packet opens a flow.
#![expect(
    missing_docs,
    reason = "the program macros make public functions without their docs"
)]
#![no_std]
#![no_main]

#[path = "../frame.rs"]
#[expect(dead_code, reason = "the yardstick does not route")]
mod frame;
mod ledger;
#[path = "../object.rs"]
mod object;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_MMAPABLE, BPF_NOEXIST, xdp_action},
    macros::{map, xdp},
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
    programs::XdpContext,
};
use lb_common::{
    address::{V4, V6},
    frame::{Ethernet, Frame},
    hash::mix,
    parse::{self, Network, Packet, Parse},
    rewrite::{Rewrite, Tuple, rewrite},
};

use frame::XdpFrame;
use ledger::{Count, Flow, NODE_PORTS, Place, SLOTS as SLOT_COUNT};

/// Address, and port with protocol, of a service → service id.
#[map]
static SERVICES: HashMap<[u64; 3], u32> = HashMap::with_max_entries(4096, 0);
/// Service id → what the client knows, and the way back to it.
#[map]
static VIPS: Array<Place> = Array::with_max_entries(4096, BPF_F_MMAPABLE);
/// Service id × slots + slot → endpoint id.
#[map]
static SLOTS: Array<u32> = Array::with_max_entries(2 * SLOT_COUNT, BPF_F_MMAPABLE);
/// Endpoint id → endpoint.
#[map]
static ENDPOINTS: Array<Place> = Array::with_max_entries(4096, BPF_F_MMAPABLE);
/// IPv4 flows, of both directions. The loader sets the size.
#[map]
static FLOWS4: LruHashMap<[u64; 2], Flow> = LruHashMap::with_max_entries(1, 0);
/// IPv6 flows, of both directions. The loader sets the size.
#[map]
static FLOWS6: LruHashMap<[u64; 5], Flow> = LruHashMap::with_max_entries(1, 0);
/// Endpoint id → packets and bytes.
#[map]
static COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(4096, 0);

/// Every frame.
#[xdp(frags)]
pub fn yardstick(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(ctx);
    let sent = match parse::network_as::<true, _>(&frame) {
        Ok(Network::V4(offset)) => balance::<V4>(&mut frame, offset),
        Ok(Network::V6(offset)) => balance::<V6>(&mut frame, offset),
        Err(_) => None,
    };
    match sent {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_PASS,
    }
}

/// The tuple of a packet as the key of its flow.
trait Family: Parse + Rewrite {
    /// Addresses, ports, protocol.
    type Key;
    fn key(packet: &Packet<Self>) -> Self::Key;
    fn find(key: &Self::Key) -> Option<&'static Flow>;
    fn insert(key: &Self::Key, flow: &Flow, flags: u32) -> bool;
}

macro_rules! family {
    ($address:ty, $key:ty, $map:ident, |$packet:ident| $make:expr) => {
        impl Family for $address {
            type Key = $key;

            #[inline(always)]
            fn key($packet: &Packet<Self>) -> Self::Key {
                $make
            }

            #[inline(always)]
            fn find(key: &Self::Key) -> Option<&'static Flow> {
                // SAFETY: the benchmark runs one packet at a time.
                unsafe { $map.get(key) }
            }

            #[inline(always)]
            fn insert(key: &Self::Key, flow: &Flow, flags: u32) -> bool {
                $map.insert(key, flow, flags as u64).is_ok()
            }
        }
    };
}

family!(V4, [u64; 2], FLOWS4, |packet| [
    (packet.source.0 as u64) << 32 | packet.destination.0 as u64,
    tail(packet),
]);
family!(V6, [u64; 5], FLOWS6, |packet| {
    let ([a, b], [c, d]) = (packet.source.0, packet.destination.0);
    [a, b, c, d, tail(packet)]
});

#[inline(always)]
fn tail<A>(packet: &Packet<A>) -> u64 {
    (packet.protocol as u64) << 32
        | (packet.source_port as u64) << 16
        | packet.destination_port as u64
}

#[inline(always)]
fn balance<A: Family>(frame: &mut XdpFrame, offset: usize) -> Option<()> {
    let packet = A::parse_as::<true, _>(frame, offset).ok()?;
    let [a, b] = packet.destination.wide();
    let name = [
        a,
        b,
        (packet.protocol as u64) << 16 | packet.destination_port as u64,
    ];
    // SAFETY: a copy of one word.
    match unsafe { SERVICES.get(name) }.copied() {
        Some(service) => towards_endpoint(frame, &packet, service),
        None => towards_client(frame, &packet),
    }
}

#[inline(always)]
fn towards_endpoint<A: Family>(
    frame: &mut XdpFrame,
    packet: &Packet<A>,
    service: u32,
) -> Option<()> {
    let key = A::key(packet);
    let (id, node_port) = match A::find(&key) {
        Some(flow) => (flow.endpoint, flow.port),
        None => admit(packet, &key, service)?,
    };
    let endpoint = ENDPOINTS.get(id)?;
    let to = Tuple {
        source: A::from_wide(endpoint.node),
        destination: A::from_wide(endpoint.address),
        source_port: node_port,
        destination_port: endpoint.port,
    };
    send(frame, packet, &to, endpoint)?;
    count(id, packet.length, 0)
}

#[inline(always)]
fn towards_client<A: Family>(frame: &mut XdpFrame, packet: &Packet<A>) -> Option<()> {
    let flow = A::find(&A::key(packet))?;
    let vip = VIPS.get(flow.service)?;
    let to = Tuple {
        source: A::from_wide(vip.address),
        destination: A::from_wide(flow.client),
        source_port: vip.port,
        destination_port: flow.port,
    };
    let id = flow.endpoint;
    send(frame, packet, &to, vip)?;
    count(id, packet.length, 1)
}

/// Endpoint and node port for a new flow.
#[inline(never)]
fn admit<A: Family>(packet: &Packet<A>, key: &A::Key, service: u32) -> Option<(u32, u16)> {
    let [a, b] = packet.source.wide();
    let hash = mix(a.rotate_left(23) ^ b ^ (packet.source_port as u64) << 32);
    let id = *SLOTS.get(service * SLOT_COUNT + (hash >> 48) as u32 % SLOT_COUNT)?;
    let endpoint = ENDPOINTS.get(id)?;
    let mut flow = Flow {
        client: [a, b],
        service,
        endpoint: id,
        port: packet.source_port,
        padding: [0; 3],
    };
    let stride = (hash >> 16) as u16 | 1;
    for probe in 0..16_u16 {
        let node_port =
            NODE_PORTS.0 + (hash as u16).wrapping_add(probe.wrapping_mul(stride)) % NODE_PORTS.1;
        let reply = Packet {
            source: A::from_wide(endpoint.address),
            destination: A::from_wide(endpoint.node),
            source_port: endpoint.port,
            destination_port: node_port,
            ..*packet
        };
        if A::insert(&A::key(&reply), &flow, BPF_NOEXIST) {
            flow.port = node_port;
            return A::insert(key, &flow, BPF_ANY).then_some((id, node_port));
        }
    }
    None
}

#[inline(always)]
fn send<A: Family>(
    frame: &mut XdpFrame,
    packet: &Packet<A>,
    to: &Tuple<A>,
    hop: &Place,
) -> Option<()> {
    rewrite(frame, packet, to)?;
    let ethernet: &mut Ethernet = frame.header_mut(0)?;
    ethernet.source = hop.source_mac;
    ethernet.destination = hop.destination_mac;
    Some(())
}

#[inline(always)]
fn count(id: u32, length: u16, direction: usize) -> Option<()> {
    // SAFETY: this CPU's own value.
    let count = unsafe { &mut *COUNTS.get_ptr_mut(id)? };
    count.packets[direction] += 1;
    count.bytes[direction] += length as u64;
    Some(())
}
