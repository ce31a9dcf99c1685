//! The way out: next hop, link-layer addresses, and which of the kernel's three ways sends the frame.
//!
//! The kernel's routing table is asked once a tick for each destination and processor; in between the answer is
//! remembered: of an endpoint in its lane ([`lb_common::cpu`]), of a client in a cache
//! ([`lb_common::next_hop`]).

use core::mem;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
        bpf_fib_lookup as FibLookup, xdp_action,
    },
    helpers::{bpf_fib_lookup, bpf_redirect},
};
use lb_common::{
    address::{Address, V4, V6},
    cpu::{Cpu, Reasons},
    frame::{Bytes, Ethernet, Frame},
    hash,
    next_hop::NextHop,
    parse::{self, Network, Packet, Parts},
    record::{HAND_OVER_MAC, egress, hand_over_to},
    rewrite::Tuple,
    verdict::Reason,
};

use crate::aside::Outcome;
use crate::frame::XdpFrame;
use crate::maps::{self, SecretKeys, now};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Puts a family's addresses into the kernel's question.
pub trait Route: Address {
    /// Fills family and addresses.
    fn ask(question: &mut FibLookup, source: Self, destination: Self);
    /// The address of the next hop, in the kernel's answer.
    fn answered(answer: &FibLookup) -> Self;
}

/// What is to be sent, as far as its way depends on it.
#[derive(Clone, Copy)]
pub struct Parcel<A> {
    /// Addresses and ports it will have, or those of the tunnel it will be in.
    pub to: Tuple<A>,
    /// IP protocol number with them.
    pub protocol: u8,
    /// Length of the IP packet as it came.
    pub length: u16,
    /// Bytes that a tunnel adds.
    pub added: usize,
}

impl Route for V4 {
    #[inline(always)]
    fn ask(question: &mut FibLookup, source: Self, destination: Self) {
        question.family = AF_INET;
        question.__bindgen_anon_3.ipv4_src = source.0;
        question.__bindgen_anon_4.ipv4_dst = destination.0;
    }

    #[inline(always)]
    fn answered(answer: &FibLookup) -> Self {
        // SAFETY: any bits are a value of the union's integer.
        Self(unsafe { answer.__bindgen_anon_4.ipv4_dst })
    }
}

impl Route for V6 {
    #[inline(always)]
    fn ask(question: &mut FibLookup, source: Self, destination: Self) {
        question.family = AF_INET6;
        question.__bindgen_anon_3.ipv6_src = core::array::from_fn(|i| source.word(i));
        question.__bindgen_anon_4.ipv6_dst = core::array::from_fn(|i| destination.word(i));
    }

    #[inline(always)]
    fn answered(answer: &FibLookup) -> Self {
        // SAFETY: any bits are a value of the union's integers.
        let [a, b, c, d] = unsafe { answer.__bindgen_anon_4.ipv6_dst }.map(u64::from);
        Self([a | b << 32, c | d << 32])
    }
}

/// Bytes of both MAC addresses.
const MACS: usize = 12;

impl<A: Copy> Parcel<A> {
    /// A packet that will have the tuple `to`, and no more bytes than before.
    #[inline(always)]
    pub fn of(packet: &Packet<A>, to: Tuple<A>) -> Self {
        Self {
            to,
            protocol: packet.protocol,
            length: packet.length,
            added: 0,
        }
    }

    /// What its way is asked for with. Made where it is asked, so that a packet whose way is known does not
    /// make it.
    #[inline(always)]
    fn question(&self) -> Destination<A> {
        Destination {
            to: self.to,
            protocol: self.protocol,
        }
    }
}

/// How a frame leaves: [`NextHop::TRANSMIT`], [`NextHop::REDIRECT`] or [`NextHop::HAND_OVER`].
pub type Delivery = u32;

/// The way to an endpoint, in its lane.
///
/// # Errors
/// [`Reason::TooBig`], and [`Cpu::limit`] tells what is not; or that there is no way.
#[inline(always)]
pub fn to_endpoint<A: Route>(
    frame: &mut XdpFrame,
    cpu: &mut Cpu,
    lane: usize,
    parcel: &Parcel<A>,
    now: u32,
) -> Result<Delivery, Reason> {
    if !cpu.lanes[lane].hop.is_current(frame.ingress(), now) {
        // Also when packets for it come in on several interfaces: the cache knows the ways from all of them.
        let (place, is_resolved) = way(frame, cpu, parcel, now)?;
        let hop = &mut cpu.lanes[lane].hop;
        hop.copy(cpu.next_hops.at(place));
        hop.name = if is_resolved { now } else { 0 };
    }
    delivery(frame, &cpu.lanes[lane].hop, parcel).map_err(|limit| too_big(cpu, limit))
}

/// The way to a client, by its place among the processor's next hops.
///
/// # Errors
/// As [`to_endpoint`].
#[inline(always)]
pub fn to_client<A: Route>(
    frame: &mut XdpFrame,
    cpu: &mut Cpu,
    parcel: &Parcel<A>,
    now: u32,
) -> Result<(usize, Delivery), Reason> {
    let (place, _) = way(frame, cpu, parcel, now)?;
    let delivery = delivery(frame, cpu.next_hops.at(place), parcel);
    Ok((place, delivery.map_err(|limit| too_big(cpu, limit))?))
}

/// Place of the next hop to any destination, and whether it is known to the end.
#[inline(always)]
fn way<A: Route>(
    frame: &XdpFrame,
    cpu: &mut Cpu,
    parcel: &Parcel<A>,
    now: u32,
) -> Result<(usize, bool), Reason> {
    let ingress = frame.ingress();
    let destination = hash::destination(&SecretKeys, parcel.to.destination, ingress);
    match cpu.next_hops.find(destination, ingress, now) {
        Some(place) => Ok((place, true)),
        None => {
            // The kernel does not say what would not be too big.
            cpu.limit = 0;
            word::to_way(ask(frame, cpu, parcel.question(), destination))
        }
    }
}

#[inline(always)]
fn too_big(cpu: &mut Cpu, limit: u32) -> Reason {
    cpu.limit = limit as u64;
    Reason::TooBig
}

/// How a parcel gets there.
///
/// # Errors
/// Bytes of the largest IP packet that would.
#[inline(always)]
fn delivery<A>(frame: &XdpFrame, hop: &NextHop, parcel: &Parcel<A>) -> Result<Delivery, u32> {
    if parcel.length as u32 + parcel.added as u32 <= hop.mtu {
        return Ok(hop.delivery as u32);
    }
    // In generic mode a frame may be several of the sender's packets, which the kernel parts again; not
    // in a tunnel.
    if parcel.added == 0 && maps::egress(frame.ingress()) & egress::GENERIC != 0 {
        return Ok(NextHop::HAND_OVER as u32);
    }
    Err(hop.mtu.wrapping_sub(parcel.added as u32))
}

/// Sends a packet that was turned already, where its own header says.
#[inline(always)]
pub fn turned(frame: &mut XdpFrame) -> Outcome {
    match parse::network(frame)? {
        Network::V4(offset) => turned_family::<V4>(frame, offset),
        Network::V6(offset) => turned_family::<V6>(frame, offset),
    }
}

#[inline(always)]
fn turned_family<A: Parts + Route>(frame: &mut XdpFrame, offset: usize) -> Outcome {
    // It was parsed before: whatever is wrong now is no reason to pass it.
    let part = A::part(frame, offset).map_err(|_| Reason::Inconsistent)?;
    let packet = &part.packet;
    let to = Tuple {
        source: packet.source,
        destination: packet.destination,
        source_port: 0,
        destination_port: 0,
    };
    let cpu = maps::cpu().ok_or(Reason::Inconsistent)?;
    let way = to_client(frame, cpu, &Parcel::of(packet, to), now());
    // Nobody is told: its sender would not know the packet again.
    cpu.limit = 0;
    let (place, delivery) = way?;
    send(frame, cpu.next_hops.at(place), delivery, &mut cpu.reasons)
}

/// What the kernel is asked.
struct Destination<A> {
    to: Tuple<A>,
    protocol: u8,
}

/// Asks the kernel for the way and remembers the answer.
///
/// Out of line, because the question is large and the program's stack is small.
#[inline(never)]
fn ask<A: Route>(frame: &XdpFrame, cpu: &mut Cpu, destination: Destination<A>, name: u64) -> u64 {
    word::of_way(answer(frame, &destination).map(|(hop, is_resolved)| {
        // A neighbour that is being resolved will be known in a moment: the next packet asks again.
        let place = cpu.next_hops.keep(hop, is_resolved.then_some(name), now());
        (place, is_resolved)
    }))
}

/// What the kernel answers, and whether the neighbour is known: if not, the kernel finds it when it gets the
/// packet.
#[inline(always)]
fn answer<A: Route>(
    frame: &XdpFrame,
    destination: &Destination<A>,
) -> Result<(NextHop, bool), Reason> {
    let to = &destination.to;
    let ingress = frame.ingress();
    let mut question = Question::new();
    let question = &mut question.0;
    A::ask(question, to.source, to.destination);
    question.l4_protocol = destination.protocol;
    question.sport = to.source_port.to_be();
    question.dport = to.destination_port.to_be();
    question.ifindex = ingress;
    let size = size_of::<FibLookup>() as i32;
    // SAFETY: the question lives on the stack and is as long as said.
    let answer = unsafe { bpf_fib_lookup(frame.ctx.as_ptr(), question, size, 0) };
    let is_resolved = match answer as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => true,
        BPF_FIB_LKUP_RET_NO_NEIGH => false,
        BPF_FIB_LKUP_RET_FRAG_NEEDED => return Err(Reason::TooBig),
        _ => return Err(Reason::NoRoute),
    };
    let (mtu, delivery) = if is_resolved {
        // SAFETY: any bits are a value of the union's integer; set on success (since kernel 5.12).
        let mtu = u32::from(unsafe { question.__bindgen_anon_1.mtu_result });
        (mtu, means(ingress, question.ifindex))
    } else {
        (u32::MAX, NextHop::HAND_OVER)
    };
    let hop = NextHop {
        ingress,
        egress: question.ifindex,
        mtu,
        delivery,
        is_routed: u16::from(A::answered(question) != to.destination),
        ..NextHop::NONE
    }
    .between(pairs(&question.smac), pairs(&question.dmac));
    Ok((hop, is_resolved))
}

/// A way as the one number that the result of a function is.
mod word {
    use super::Reason;

    const KNOWN: u64 = 1 << 63;
    const RESOLVED: u64 = 1 << 62;

    #[inline(always)]
    pub fn of_way(way: Result<(usize, bool), Reason>) -> u64 {
        match way {
            Ok((place, true)) => KNOWN | RESOLVED | place as u64,
            Ok((place, false)) => KNOWN | place as u64,
            Err(reason) => reason as u64,
        }
    }

    #[inline(always)]
    pub fn to_way(word: u64) -> Result<(usize, bool), Reason> {
        const TOO_BIG: u64 = Reason::TooBig as u64;
        match word {
            word if word & KNOWN != 0 => Ok((word as u32 as usize, word & RESOLVED != 0)),
            TOO_BIG => Err(Reason::TooBig),
            _ => Err(Reason::NoRoute),
        }
    }
}

/// The kernel's question, aligned so that the compiler's eight-byte accesses to its addresses are what
/// the verifier wants of a stack.
#[repr(C, align(8))]
pub struct Question(pub FibLookup);

impl Question {
    /// Asks nothing yet.
    #[inline(always)]
    pub fn new() -> Self {
        // SAFETY: plain integers, for which zero is a value.
        Self(unsafe { mem::zeroed() })
    }
}

/// A MAC address in pairs of bytes. On the stack it stands at an even address, and the verifier refuses
/// the wider loads that the compiler would make of an ordinary copy.
#[inline(always)]
fn pairs(mac: &[u8; 6]) -> [u16; 3] {
    let pairs = mac.as_ptr().cast::<u16>();
    // SAFETY: six bytes at an even address, as the layout of the kernel's struct has it.
    [0, 1, 2].map(|i| unsafe { pairs.add(i).read_volatile() })
}

/// How a frame gets from one interface to another.
#[inline(always)]
fn means(ingress: u32, egress: u32) -> u16 {
    let (from, to) = (maps::egress(ingress), maps::egress(egress));
    if ingress == egress {
        if from & (egress::GENERIC | egress::TRANSMIT) != 0 {
            return NextHop::TRANSMIT;
        }
    } else if from & egress::GENERIC != 0 || to & egress::REDIRECT != 0 {
        return NextHop::REDIRECT;
    }
    NextHop::HAND_OVER
}

/// Gives the frame its link-layer addresses, counts it, and says how it leaves.
#[inline(always)]
pub fn send(
    frame: &mut XdpFrame,
    hop: &NextHop,
    delivery: Delivery,
    sent: &mut Reasons,
) -> Outcome {
    if delivery == NextHop::HAND_OVER as u32 {
        let ethernet: &mut Ethernet = frame.header_mut(0).ok_or(Reason::Inconsistent)?;
        // Both: before a tunnel's headers nobody has written any.
        ethernet.source = HAND_OVER_MAC;
        ethernet.destination = HAND_OVER_MAC;
        sent[Reason::HandedOver as usize] += 1;
        return Ok(xdp_action::XDP_PASS);
    }
    let macs: &mut Bytes<MACS> = frame.header_mut(0).ok_or(Reason::Inconsistent)?;
    macs.0[..8].copy_from_slice(&hop.macs.to_le_bytes());
    macs.0[8..].copy_from_slice(&hop.macs_end.to_le_bytes());
    if delivery == NextHop::TRANSMIT as u32 {
        sent[Reason::Transmitted as usize] += 1;
        return Ok(xdp_action::XDP_TX);
    }
    sent[Reason::Redirected as usize] += 1;
    // SAFETY: plain integers. The interface is the one the kernel named a moment ago; if it is gone
    // the kernel drops the frame.
    Ok(unsafe { bpf_redirect(hop.egress, 0) } as u32)
}

/// As [`send`], of a packet that goes to an endpoint's link-layer address and not to its own destination.
#[inline(always)]
pub fn send_beside(
    frame: &mut XdpFrame,
    hop: &NextHop,
    delivery: Delivery,
    sent: &mut Reasons,
    endpoint: u16,
) -> Outcome {
    let action = send(frame, hop, delivery, sent)?;
    if delivery == NextHop::HAND_OVER as u32 {
        let ethernet: &mut Ethernet = frame.header_mut(0).ok_or(Reason::Inconsistent)?;
        ethernet.destination = hand_over_to(endpoint);
    }
    Ok(action)
}
