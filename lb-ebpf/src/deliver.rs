//! What XDP could not send: no neighbour entry yet, or a device without XDP transmit.
//!
//! `lb` has turned such a packet, marked its frame with a destination MAC nobody has, and passed it.
//! Here, before the kernel's IP layer would look at its addresses (it comes from an address of the
//! node itself, which the IP layer refuses from outside), it is sent by the kernel's own neighbour
//! code, which resolves what is missing and queues the packet meanwhile. Without this program the
//! kernel drops the frame as not addressed to it.

use core::mem::{self, offset_of};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, TC_ACT_SHOT, TC_ACT_UNSPEC,
        bpf_fib_lookup as FibLookup, bpf_redir_neigh as Neighbour,
    },
    helpers::{bpf_fib_lookup, bpf_redirect_neigh},
    programs::TcContext,
};
use lb_common::{
    address::{Address as _, IPV4, V4, V6},
    frame::Ethernet,
    record::{HAND_OVER_MAC, HAND_OVER_TO},
    verdict::Reason,
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::count;
use crate::forward::Route as _;
use crate::maps::ENDPOINTS;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const NETWORK: usize = size_of::<Ethernet>();
const IPV4_ADDRESSES: usize = NETWORK + offset_of!(Ipv4Hdr, src_addr);
const IPV6_ADDRESSES: usize = NETWORK + offset_of!(Ipv6Hdr, src_addr);

/// Sends a marked frame; leaves every other one alone.
#[inline(always)]
pub fn run(ctx: &TcContext) -> i32 {
    let sent = match ctx.load::<[u8; 6]>(0) {
        Ok(HAND_OVER_MAC) => destination(ctx).and_then(|question| send(ctx, question)),
        Ok([a, b, c, d, high, low]) if [a, b, c, d] == HAND_OVER_TO => {
            beside(u16::from_be_bytes([high, low])).and_then(|question| send(ctx, question))
        }
        // Not "ok": programs after this one shall see the frame too.
        _ => return TC_ACT_UNSPEC,
    };
    sent.unwrap_or_else(|| {
        count::reason(Reason::NoRoute);
        TC_ACT_SHOT
    })
}

/// The way to the packet's destination.
#[inline(always)]
fn destination(ctx: &TcContext) -> Option<FibLookup> {
    // SAFETY: plain integers, for which zero is a value.
    let mut question: FibLookup = unsafe { mem::zeroed() };
    match ctx.load::<u8>(NETWORK).ok()? >> 4 {
        4 => {
            question.family = AF_INET;
            question.__bindgen_anon_3.ipv4_src = ctx.load(IPV4_ADDRESSES).ok()?;
            question.__bindgen_anon_4.ipv4_dst = ctx.load(IPV4_ADDRESSES + 4).ok()?;
        }
        _ => {
            question.family = AF_INET6;
            question.__bindgen_anon_3.ipv6_src = ctx.load(IPV6_ADDRESSES).ok()?;
            question.__bindgen_anon_4.ipv6_dst = ctx.load(IPV6_ADDRESSES + 16).ok()?;
        }
    }
    Some(question)
}

/// The way to an endpoint, whatever the packet's destination.
#[inline(always)]
fn beside(endpoint: u16) -> Option<FibLookup> {
    let endpoint = ENDPOINTS.get(endpoint as u32)?;
    // SAFETY: plain integers, for which zero is a value.
    let mut question: FibLookup = unsafe { mem::zeroed() };
    if endpoint.family == IPV4 {
        let (source, to) = (endpoint.source, endpoint.address);
        V4::ask(&mut question, V4::from_wide(source), V4::from_wide(to));
    } else {
        let (source, to) = (endpoint.source, endpoint.address);
        V6::ask(&mut question, V6::from_wide(source), V6::from_wide(to));
    }
    Some(question)
}

#[inline(always)]
fn send(ctx: &TcContext, mut question: FibLookup) -> Option<i32> {
    // SAFETY: `skb` is valid while the program runs.
    question.ifindex = unsafe { (*ctx.skb.skb).ingress_ifindex };
    let size = size_of::<FibLookup>() as i32;
    // SAFETY: the question lives on the stack and is as long as said.
    let answer = unsafe { bpf_fib_lookup(ctx.as_ptr(), &raw mut question, size, 0) };
    match answer as u32 {
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH => Some(redirect(&question)),
        _ => None,
    }
}

/// The answer's destination is the next hop: the gateway if there is one.
#[inline(always)]
fn redirect(answer: &FibLookup) -> i32 {
    // SAFETY: plain integers, for which zero is a value.
    let mut neighbour: Neighbour = unsafe { mem::zeroed() };
    neighbour.nh_family = answer.family as u32;
    // SAFETY: all members are integers; the larger one covers the smaller.
    neighbour.__bindgen_anon_1.ipv6_nh = unsafe { answer.__bindgen_anon_4.ipv6_dst };
    let size = size_of::<Neighbour>() as i32;
    // SAFETY: the neighbour lives on the stack and is as long as said.
    unsafe { bpf_redirect_neigh(answer.ifindex, &raw mut neighbour, size, 0) as i32 }
}
