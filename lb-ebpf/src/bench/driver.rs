//! The driver of the benchmark: puts the next packet in place and runs the program under test on it.
//!
//! BPF_PROG_TEST_RUN repeats a program on one packet and does not restore it, so a program that
//! rewrites would see its own output. This one writes the headers anew each time, with the addresses
//! and ports of the next flow. Flows are visited in the order of `WALK`, which the benchmark has
//! shuffled: reading the walk itself is sequential and costs next to nothing, and what the program
//! under test looks up lies anywhere.
//!
//! What a tunnel put in front of the packet is taken off again: for such programs on each run, so that the
//! driver alone costs the same.
#![expect(
    missing_docs,
    reason = "the program macros make public functions without their docs"
)]
#![no_std]
#![no_main]

mod course;
#[path = "../frame.rs"]
#[expect(dead_code, reason = "the driver does not care where a frame came in")]
mod frame;
#[path = "../object.rs"]
mod object;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MMAPABLE, xdp_action},
    helpers::bpf_xdp_adjust_head,
    macros::{map, xdp},
    maps::{Array, ProgramArray},
    programs::XdpContext,
};
use lb_common::{
    frame::{Ethernet, Frame, Header},
    verifier::obscure,
};

use course::{Course, Stop, WORDS};
use frame::XdpFrame;

/// Index 0: what to send.
#[map]
static COURSE: Array<Course> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Flows in the order they are visited. The loader sets the size.
#[map]
static WALK: Array<Stop> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Index 0: the program under test.
#[map]
static PROGRAM: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The next packet, to the program under test.
#[xdp(frags)]
pub fn driver(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(ctx);
    if place(&mut frame).is_some() {
        // SAFETY: nothing here is left to drop.
        unsafe { PROGRAM.tail_call(&frame.ctx, 0) };
    }
    // Told apart from what any program under test returns.
    xdp_action::XDP_ABORTED
}

/// Sends the frame back as it is: with it, a run costs what the driver costs.
#[xdp(frags)]
pub fn transmit(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// The least a load balancer could do.
#[xdp(frags)]
pub fn swap_macs(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(ctx);
    let Some(ethernet) = frame.header_mut::<Ethernet>(0) else {
        return xdp_action::XDP_ABORTED;
    };
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    xdp_action::XDP_TX
}

/// The headers of an IPv4 packet, to the end of TCP.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Headers4 {
    lead: [u8; 2],
    words: [u64; WORDS - 2],
}

/// The headers of an IPv6 packet, to the end of TCP.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Headers6 {
    lead: [u8; 6],
    words: [u64; WORDS],
}

// SAFETY: packed, so of alignment 1 and without padding; integers, which take any bits.
unsafe impl Header for Headers4 {}
// SAFETY: as above.
unsafe impl Header for Headers6 {}

#[inline(always)]
fn place(frame: &mut XdpFrame) -> Option<()> {
    // SAFETY: one run at a time uses it, and the benchmark writes it between runs.
    let course = unsafe { &mut *COURSE.get_ptr_mut(0)? };
    let stop = next(course)?;
    if course.length != 0 {
        // Hidden, or the compiler would calculate with halves of pointers.
        let there = obscure(frame.ctx.data_end() - frame.ctx.data(), course.position);
        let longer = there as i32 - course.length as i32;
        // SAFETY: the context is the program's own; no reference into the frame is there.
        if unsafe { bpf_xdp_adjust_head(frame.ctx.as_ptr().cast(), longer) } != 0 {
            return None;
        }
        *frame = XdpFrame::new(XdpContext::new(frame.ctx.as_ptr().cast()));
    }
    if course.family == 4 {
        place4(frame, course, stop)
    } else {
        place6(frame, course, stop)
    }
}

#[inline(always)]
fn next(course: &mut Course) -> Option<Stop> {
    let position = course.position;
    course.position = position + 1;
    if course.mask == Course::ENDLESS {
        return Some(Stop {
            // 32 768 ports a client.
            source: (position as u32 >> 15).to_be_bytes(),
            ports: [(position as u16 | 0x8000).to_be_bytes(), [0; 2]],
        });
    }
    WALK.get((course.start + (position & course.mask)) as u32)
        .copied()
}

/// Source and destination address are word 3, ports and sequence number word 4.
#[inline(always)]
fn place4(frame: &mut XdpFrame, course: &Course, stop: Stop) -> Option<()> {
    let headers: &mut Headers4 = frame.header_mut(0)?;
    let [a, b, c, _, _, f, g, ..] = course.words;
    let addresses = course.words[3] | low(stop.source);
    let ports = course.words[4] | low_ports(stop.ports);
    headers.lead = [course.lead[0], course.lead[1]];
    headers.words = [a, b, c, addresses, ports, f, g];
    Some(())
}

/// The end of the source address is the upper half of word 3, the ports are the lower one of word 6.
#[inline(always)]
fn place6(frame: &mut XdpFrame, course: &Course, stop: Stop) -> Option<()> {
    let headers: &mut Headers6 = frame.header_mut(0)?;
    let [a, b, c, _, e, f, _, h, i] = course.words;
    let source = course.words[3] | low(stop.source) << 32;
    let ports = course.words[6] | low_ports(stop.ports);
    let [l0, l1, l2, l3, l4, l5, ..] = course.lead;
    headers.lead = [l0, l1, l2, l3, l4, l5];
    headers.words = [a, b, c, source, e, f, ports, h, i];
    Some(())
}

#[inline(always)]
fn low(bytes: [u8; 4]) -> u64 {
    u32::from_ne_bytes(bytes) as u64
}

#[inline(always)]
fn low_ports([source, destination]: [[u8; 2]; 2]) -> u64 {
    low([source[0], source[1], destination[0], destination[1]])
}
