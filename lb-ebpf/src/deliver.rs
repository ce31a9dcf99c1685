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
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
        TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_fib_lookup as FibLookup, bpf_redir_neigh as Neighbour,
    },
    helpers::{bpf_fib_lookup, bpf_redirect_neigh, bpf_skb_change_tail, bpf_skb_vlan_pop},
    programs::TcContext,
};
use lb_common::{
    address::{Address as _, IPV4, V4, V6},
    frame::Ethernet,
    limits::VLAN_TAGS,
    record::{HAND_OVER_CUT, HAND_OVER_MAC, HAND_OVER_TO},
    verdict::Reason,
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::count;
use crate::forward::{Question, Route as _};
use crate::maps::{ENDPOINTS, cpu};

const NETWORK: usize = size_of::<Ethernet>();
const IPV4_LENGTH: usize = NETWORK + offset_of!(Ipv4Hdr, tot_len);
const IPV6_LENGTH: usize = NETWORK + offset_of!(Ipv6Hdr, payload_len);
const IPV4_ADDRESSES: usize = NETWORK + offset_of!(Ipv4Hdr, src_addr);
const IPV6_ADDRESSES: usize = NETWORK + offset_of!(Ipv6Hdr, src_addr);

/// Sends a marked frame; leaves every other one alone.
#[inline(always)]
pub fn run(ctx: &TcContext) -> i32 {
    let mut question = Question::new();
    let question = &mut question.0;
    let asked = match ctx.load::<[u8; 6]>(0) {
        Ok(HAND_OVER_MAC) => untag(ctx).and_then(|()| towards_destination(ctx, question)),
        Ok(HAND_OVER_CUT) => untag(ctx)
            .and_then(|()| cut(ctx))
            .and_then(|()| towards_destination(ctx, question)),
        Ok([a, b, c, d, high, low]) if [a, b, c, d] == HAND_OVER_TO => {
            let endpoint = u16::from_be_bytes([high, low]);
            untag(ctx).and_then(|()| towards_endpoint(endpoint, question))
        }
        // Not "ok": programs after this one shall see the frame too.
        _ => return TC_ACT_UNSPEC,
    };
    let answered = asked.ok_or(Reason::NoRoute);
    match answered.and_then(|()| ask(ctx, question)) {
        Ok(()) => redirect(question),
        Err(reason) => {
            if let Some(cpu) = cpu() {
                count::reason(cpu, reason);
            }
            TC_ACT_SHOT
        }
    }
}

/// Takes off the VLAN tags it came with. The kernel has the outer one beside the frame, and would put it into it
/// before the interface of a VLAN adds its own: which tag the frame needs is the route's to say.
#[inline(always)]
fn untag(ctx: &TcContext) -> Option<()> {
    for _ in 0..VLAN_TAGS {
        // SAFETY: `skb` is valid while the program runs.
        if unsafe { (*ctx.skb.skb).vlan_present } == 0 {
            break;
        }
        // SAFETY: as above. The next tag is beside the frame then.
        if unsafe { bpf_skb_vlan_pop(ctx.skb.skb) } != 0 {
            return None;
        }
    }
    Some(())
}

/// Ends the frame with its IP packet.
///
/// XDP leaves that to us where a frame lies in several buffers: see [`crate::frame`].
#[inline(always)]
fn cut(ctx: &TcContext) -> Option<()> {
    let length = match ctx.load::<u8>(NETWORK).ok()? >> 4 {
        4 => u16::from_be_bytes(ctx.load(IPV4_LENGTH).ok()?) as usize,
        _ => {
            let payload: [u8; 2] = ctx.load(IPV6_LENGTH).ok()?;
            size_of::<Ipv6Hdr>() + u16::from_be_bytes(payload) as usize
        }
    };
    // SAFETY: `skb` is valid while the program runs.
    let refused = unsafe { bpf_skb_change_tail(ctx.skb.skb, (NETWORK + length) as u32, 0) };
    (refused == 0).then_some(())
}

/// Asks the way to the packet's destination.
#[inline(always)]
fn towards_destination(ctx: &TcContext, question: &mut FibLookup) -> Option<()> {
    // As words: of smaller pieces the compiler would make accesses that the verifier refuses.
    match ctx.load::<u8>(NETWORK).ok()? >> 4 {
        4 => {
            let [source, to] = [0, 4].map(|at| ctx.load(IPV4_ADDRESSES + at).ok());
            V4::ask(question, V4(source?), V4(to?));
        }
        _ => {
            let [source, to] = [0, 16].map(|at| ctx.load(IPV6_ADDRESSES + at).ok());
            V6::ask(question, V6(source?), V6(to?));
        }
    }
    Some(())
}

/// Asks the way to an endpoint, whatever the packet's destination.
#[inline(always)]
fn towards_endpoint(endpoint: u16, question: &mut FibLookup) -> Option<()> {
    let endpoint = ENDPOINTS.get(endpoint as u32)?;
    let (source, to) = (endpoint.source, endpoint.address);
    if endpoint.family == IPV4 {
        V4::ask(question, V4::from_wide(source), V4::from_wide(to));
    } else {
        V6::ask(question, V6::from_wide(source), V6::from_wide(to));
    }
    Some(())
}

/// Asks the kernel's routing table, of the interface the frame came in by.
///
/// # Errors
/// [`Reason::TooBig`] or [`Reason::NoRoute`].
#[inline(always)]
pub fn ask(ctx: &TcContext, question: &mut FibLookup) -> Result<(), Reason> {
    // SAFETY: `skb` is valid while the program runs.
    question.ifindex = unsafe { (*ctx.skb.skb).ifindex };
    let size = size_of::<FibLookup>() as i32;
    // SAFETY: the question lives on the stack and is as long as said.
    let answer = unsafe { bpf_fib_lookup(ctx.as_ptr(), question, size, 0) };
    match answer as u32 {
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH => Ok(()),
        BPF_FIB_LKUP_RET_FRAG_NEEDED => Err(Reason::TooBig),
        _ => Err(Reason::NoRoute),
    }
}

/// Lets the kernel send the frame as the routing table answered, and find the neighbour: to be returned by
/// the program.
///
/// The answer's destination is the next hop: the gateway if there is one.
#[inline(always)]
pub fn redirect(answer: &FibLookup) -> i32 {
    // SAFETY: plain integers, for which zero is a value.
    let mut neighbour: Neighbour = unsafe { mem::zeroed() };
    neighbour.nh_family = answer.family as u32;
    // SAFETY: all members are integers; the larger one covers the smaller.
    neighbour.__bindgen_anon_1.ipv6_nh = unsafe { answer.__bindgen_anon_4.ipv6_dst };
    let size = size_of::<Neighbour>() as i32;
    // SAFETY: the neighbour lives on the stack and is as long as said.
    unsafe { bpf_redirect_neigh(answer.ifindex, &raw mut neighbour, size, 0) as i32 }
}
