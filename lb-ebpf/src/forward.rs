//! The way out: next hop, link-layer addresses, and which of the kernel's three ways sends the frame.
//!
//! The kernel's routing table is asked once a tick for each destination and CPU; in between the answer
//! is remembered.

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
    limits::NEXT_HOP_TICKS,
    parse::Packet,
    record::{HAND_OVER_MAC, NextHop, egress},
    rewrite::Tuple,
    verdict::Reason,
};

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
) -> Result<(&'static NextHop, u8), Reason> {
    let destination = to.destination.wide();
    let place = hash::next_hop(&SecretKeys, destination) as u32;
    let hop = maps::next_hop(place).ok_or(Reason::Inconsistent)?;
    let is_current = hop.destination == destination
        && hop.ingress == frame.ingress()
        && (now.wrapping_sub(hop.expires) as i32) < 0;
    if !is_current && let Some(refusal) = ask(frame, packet, to, hop) {
        return Err(refusal);
    }
    if packet.length as u32 <= hop.mtu {
        return Ok((hop, hop.delivery));
    }
    // In generic mode a frame may be several of the sender's packets, which the kernel parts again.
    if maps::egress(frame.ingress()) & egress::GENERIC != 0 {
        return Ok((hop, NextHop::HAND_OVER));
    }
    Err(Reason::TooBig)
}

/// Asks the kernel and remembers the answer; tells why not if there is none.
///
/// Out of line, because the question is large and the program's stack is small.
#[inline(never)]
fn ask<A: Route>(
    frame: &XdpFrame,
    packet: &Packet<A>,
    to: &Tuple<A>,
    hop: &mut NextHop,
) -> Option<Reason> {
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
        BPF_FIB_LKUP_RET_FRAG_NEEDED => return Some(Reason::TooBig),
        _ => return Some(Reason::NoRoute),
    };
    hop.destination = to.destination.wide();
    hop.ingress = ingress;
    hop.egress = question.ifindex;
    hop.source_mac = mac(&question.smac);
    hop.destination_mac = mac(&question.dmac);
    if is_resolved {
        // SAFETY: any bits are a value of the union's integer; set on success (since kernel 5.12).
        hop.mtu = u32::from(unsafe { question.__bindgen_anon_1.mtu_result });
        hop.delivery = delivery(ingress, question.ifindex);
        hop.expires = now().wrapping_add(NEXT_HOP_TICKS);
    } else {
        // Resolved in a moment: the next packet asks again.
        hop.mtu = u32::MAX;
        hop.delivery = NextHop::HAND_OVER;
        hop.expires = now();
    }
    None
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
fn delivery(ingress: u32, egress: u32) -> u8 {
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
pub fn send(
    frame: &mut XdpFrame,
    (hop, delivery): (&NextHop, u8),
) -> Result<(Reason, u32), Reason> {
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
