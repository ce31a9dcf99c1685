//! The endpoints' end of a tunnel, for hosts whose kernel has no tunnel devices: takes the outer
//! headers off what comes for an address of the host in mode `ipip` or `gue`. `lbctl decap` attaches it.
//!
//! Only packets to the addresses it was told are unpacked, and only those not in fragments; everything
//! else passes untouched. The kernel then sees the client's packet as if it had come alone.
#![expect(
    missing_docs,
    reason = "the program macros make public functions without their docs"
)]
#![no_std]
#![no_main]

#[path = "../frame.rs"]
#[expect(dead_code, reason = "it does not care where a frame came in")]
mod frame;
#[path = "../object.rs"]
mod object;

use aya_ebpf::{
    Global,
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{HashMap, PerCpuArray},
    programs::XdpContext,
};
use lb_common::decapsulate::{Carried, carried, decapsulate};

use frame::XdpFrame;

/// Family and address → 1: the addresses that tunnels lead to. Written by `lbctl decap`.
#[map]
static ADDRESSES: HashMap<[u64; 3], u32> = HashMap::with_max_entries(1024, 0);
/// Packets, each CPU its own: 0 unpacked, 1 dropped because the sender would not have understood that it
/// met congestion (RFC 6040).
#[map]
static PACKETS: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// UDP port of the tunnels of mode `gue`. Set by the loader.
#[unsafe(no_mangle)]
static TUNNEL_PORT: Global<u16> = Global::new(0);

/// Every frame.
#[xdp(frags)]
pub fn decap(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(ctx);
    match carried(&frame, TUNNEL_PORT.load()) {
        Some(carried) if is_ours(&carried) => unpack(&mut frame, &carried),
        _ => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn is_ours(carried: &Carried) -> bool {
    let [a, b] = carried.destination;
    // SAFETY: only whether there is a value is asked.
    unsafe { ADDRESSES.get([carried.family as u64, a, b]) }.is_some()
}

#[inline(always)]
fn unpack(frame: &mut XdpFrame, carried: &Carried) -> u32 {
    let (index, action) = match decapsulate(frame, carried) {
        Some(()) => (0, xdp_action::XDP_PASS),
        None => (1, xdp_action::XDP_DROP),
    };
    if let Some(count) = PACKETS.get_ptr_mut(index) {
        // SAFETY: this CPU's own value, and the program is not interrupted by itself.
        unsafe { *count += 1 };
    }
    action
}
