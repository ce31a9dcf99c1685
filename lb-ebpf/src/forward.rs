//! The way out: next hop, link-layer addresses, and which of the kernel's three ways sends the frame.
//!
//! The kernel's routing table is asked once a tick for each destination and CPU; in between the answer
//! is remembered ([`lb_common::next_hop`]).

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
    frame::{Ethernet, Frame},
    hash,
    next_hop::NextHop,
    parse::{self, Network, Packet, Parts},
    record::{HAND_OVER_MAC, egress},
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
}

impl Route for V4 {
    #[inline(always)]
    fn ask(question: &mut FibLookup, source: Self, destination: Self) {
        question.family = AF_INET;
        question.__bindgen_anon_3.ipv4_src = source.0;
        question.__bindgen_anon_4.ipv4_dst = destination.0;
    }
}

impl Route for V6 {
    #[inline(always)]
    fn ask(question: &mut FibLookup, source: Self, destination: Self) {
        question.family = AF_INET6;
        question.__bindgen_anon_3.ipv6_src = core::array::from_fn(|i| source.word(i));
        question.__bindgen_anon_4.ipv6_dst = core::array::from_fn(|i| destination.word(i));
    }
}

/// The next hop of a packet that will have the tuple `to`, and how it gets there:
/// [`NextHop::TRANSMIT`], [`NextHop::REDIRECT`] or [`NextHop::HAND_OVER`].
#[inline(always)]
pub fn hop<A: Route>(
    frame: &XdpFrame,
    packet: &Packet<A>,
    to: &Tuple<A>,
    now: u32,
) -> Result<(&'static NextHop, u32), Reason> {
    let ingress = frame.ingress();
    let destination = hash::destination(&SecretKeys, to.destination, ingress);
    let hops = maps::next_hops().ok_or(Reason::Inconsistent)?;
    let place = match hops.find(destination, ingress, now) {
        Some(place) => place,
        None => ask(frame, packet, to, destination)?,
    };
    let hop = hops.at(place);
    if packet.length as u32 <= hop.mtu {
        return Ok((hop, hop.delivery));
    }
    // In generic mode a frame may be several of the sender's packets, which the kernel parts again.
    if maps::egress(ingress) & egress::GENERIC != 0 {
        return Ok((hop, NextHop::HAND_OVER));
    }
    Err(Reason::TooBig)
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
    let hop = hop(frame, packet, &to, now())?;
    send(frame, hop)
}

/// Asks the kernel and remembers the answer, in the place it tells.
///
/// Out of line, because the question is large and the program's stack is small.
#[inline(never)]
fn ask<A: Route>(
    frame: &XdpFrame,
    packet: &Packet<A>,
    to: &Tuple<A>,
    destination: u64,
) -> Result<usize, Reason> {
    let ingress = frame.ingress();
    let mut question = Question::new();
    let question = &mut question.0;
    A::ask(question, to.source, to.destination);
    question.l4_protocol = packet.protocol;
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
        (mtu, delivery(ingress, question.ifindex))
    } else {
        (u32::MAX, NextHop::HAND_OVER)
    };
    let hop = NextHop {
        name: 0,
        ingress,
        egress: question.ifindex,
        mtu,
        source_mac: mac(&question.smac),
        destination_mac: mac(&question.dmac),
        delivery,
    };
    let hops = maps::next_hops().ok_or(Reason::Inconsistent)?;
    // A neighbour that is being resolved will be known in a moment: the next packet asks again.
    Ok(hops.keep(hop, is_resolved.then_some(destination), now()))
}

/// The kernel's question, aligned so that the compiler's eight-byte accesses to its addresses are what
/// the verifier wants of a stack.
#[repr(C, align(8))]
struct Question(FibLookup);

impl Question {
    #[inline(always)]
    fn new() -> Self {
        // SAFETY: plain integers, for which zero is a value.
        Self(unsafe { mem::zeroed() })
    }
}

/// A MAC address, read in pairs of bytes. On the stack it stands at an even address, and the verifier
/// refuses the wider loads that the compiler would make of an ordinary copy; in a map value that copy
/// would be a call of `memmove`, byte by byte.
#[inline(always)]
fn mac(bytes: &[u8; 6]) -> [u8; 6] {
    let pairs = bytes.as_ptr().cast::<u16>();
    // SAFETY: six bytes at an even address, as the layout of the kernel's struct has it.
    let [[a, b], [c, d], [e, f]] =
        [0, 1, 2].map(|i| unsafe { pairs.add(i).read_volatile() }.to_ne_bytes());
    [a, b, c, d, e, f]
}

/// How a frame gets from one interface to another.
#[inline(always)]
fn delivery(ingress: u32, egress: u32) -> u32 {
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

/// Gives the frame its link-layer addresses and says how it leaves.
#[inline(always)]
pub fn send(frame: &mut XdpFrame, (hop, delivery): (&NextHop, u32)) -> Outcome {
    let ethernet: &mut Ethernet = frame.header_mut(0).ok_or(Reason::Inconsistent)?;
    if delivery == NextHop::HAND_OVER {
        ethernet.destination = HAND_OVER_MAC;
        return Ok((Reason::HandedOver, xdp_action::XDP_PASS));
    }
    ethernet.source = mac(&hop.source_mac);
    ethernet.destination = mac(&hop.destination_mac);
    if delivery == NextHop::TRANSMIT {
        return Ok((Reason::Transmitted, xdp_action::XDP_TX));
    }
    // SAFETY: plain integers. The interface is the one the kernel named a moment ago; if it is gone
    // the kernel drops the frame.
    Ok((Reason::Redirected, unsafe { bpf_redirect(hop.egress, 0) }
        as u32))
}
