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

impl<A> Parcel<A> {
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
}

/// The next hop of a parcel, and how it gets there: [`NextHop::TRANSMIT`], [`NextHop::REDIRECT`] or
/// [`NextHop::HAND_OVER`].
///
/// # Errors
/// [`Reason::TooBig`], and [`XdpFrame::limit`] tells what is not; or that there is no way.
#[inline(always)]
pub fn hop<A: Route>(
    frame: &mut XdpFrame,
    parcel: &Parcel<A>,
    now: u32,
) -> Result<(&'static NextHop, u16), Reason> {
    let ingress = frame.ingress();
    let destination = hash::destination(&SecretKeys, parcel.to.destination, ingress);
    let hops = maps::next_hops().ok_or(Reason::Inconsistent)?;
    let place = match hops.find(destination, ingress, now) {
        Some(place) => place,
        None => ask(frame, parcel, destination)?,
    };
    let hop = hops.at(place);
    if parcel.length as u32 + parcel.added as u32 <= hop.mtu {
        return Ok((hop, hop.delivery));
    }
    // In generic mode a frame may be several of the sender's packets, which the kernel parts again; not
    // in a tunnel.
    if parcel.added == 0 && maps::egress(ingress) & egress::GENERIC != 0 {
        return Ok((hop, NextHop::HAND_OVER));
    }
    frame.limit = hop.mtu - parcel.added as u32;
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
    let hop = hop(frame, &Parcel::of(packet, to), now())?;
    send(frame, hop)
}

/// Asks the kernel and remembers the answer, in the place it tells.
///
/// Out of line, because the question is large and the program's stack is small.
#[inline(never)]
fn ask<A: Route>(frame: &XdpFrame, parcel: &Parcel<A>, destination: u64) -> Result<usize, Reason> {
    let to = &parcel.to;
    let ingress = frame.ingress();
    let mut question = Question::new();
    let question = &mut question.0;
    A::ask(question, to.source, to.destination);
    question.l4_protocol = parcel.protocol;
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
        source_mac: pairs(&question.smac),
        destination_mac: pairs(&question.dmac),
        delivery,
        is_routed: u16::from(A::answered(question) != to.destination),
    };
    let hops = maps::next_hops().ok_or(Reason::Inconsistent)?;
    // A neighbour that is being resolved will be known in a moment: the next packet asks again.
    Ok(hops.keep(hop, is_resolved.then_some(destination), now()))
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

/// A MAC address of a map value, of which an ordinary copy would be a call of `memmove`, byte by byte.
#[inline(always)]
fn mac(pairs: &[u16; 3]) -> [u8; 6] {
    // SAFETY: read from a reference.
    let [[a, b], [c, d], [e, f]] =
        [0, 1, 2].map(|i| unsafe { pairs.as_ptr().add(i).read_volatile() }.to_ne_bytes());
    [a, b, c, d, e, f]
}

/// How a frame gets from one interface to another.
#[inline(always)]
fn delivery(ingress: u32, egress: u32) -> u16 {
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
pub fn send(frame: &mut XdpFrame, (hop, delivery): (&NextHop, u16)) -> Outcome {
    let ethernet: &mut Ethernet = frame.header_mut(0).ok_or(Reason::Inconsistent)?;
    if delivery == NextHop::HAND_OVER {
        // Both: before a tunnel's headers nobody has written any.
        ethernet.source = HAND_OVER_MAC;
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

/// As [`send`], of a packet that goes to an endpoint's link-layer address and not to its own destination.
#[inline(always)]
pub fn send_beside(
    frame: &mut XdpFrame,
    (hop, delivery): (&NextHop, u16),
    endpoint: u16,
) -> Outcome {
    if hop.is_routed != 0 {
        return Err(Reason::NotOnLink);
    }
    let sent = send(frame, (hop, delivery))?;
    if delivery == NextHop::HAND_OVER {
        let ethernet: &mut Ethernet = frame.header_mut(0).ok_or(Reason::Inconsistent)?;
        ethernet.destination = hand_over_to(endpoint);
    }
    Ok(sent)
}
