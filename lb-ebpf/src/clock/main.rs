//! Two clocks at one instant: the count of timer interrupts, which costs a program one load, and the time in
//! nanoseconds that the daemon can read as well. `lbd` runs it once, to tell `lb` how they go together.
#![expect(
    missing_docs,
    reason = "the program macros make public functions without their docs"
)]
#![no_std]
#![no_main]

#[path = "../frame.rs"]
#[expect(dead_code, reason = "it needs little of a frame")]
mod frame;
#[path = "../object.rs"]
mod object;

use aya_ebpf::{
    bindings::xdp_action,
    helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns},
    macros::xdp,
    programs::XdpContext,
};
use lb_common::frame::{Bytes, Frame as _};

use frame::XdpFrame;

/// Writes both into the frame's first bytes, in the processor's byte order.
#[xdp]
pub fn clock(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(ctx);
    // SAFETY: the helpers have no arguments.
    let (interrupts, nanoseconds) = unsafe { (bpf_jiffies64(), bpf_ktime_get_coarse_ns()) };
    for (at, value) in [(0, interrupts), (8, nanoseconds)] {
        let Some(bytes) = frame.header_mut(at) else {
            return xdp_action::XDP_ABORTED;
        };
        *bytes = Bytes(value.to_ne_bytes());
    }
    xdp_action::XDP_PASS
}
