//! The answer to a packet that is larger than its way out.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use lb_common::{
    address::{V4, V6},
    frame::{Elastic as _, Ethernet, Frame},
    parse::{self, Network},
    record::{HAND_OVER_CUT, HAND_OVER_MAC, egress},
    too_big,
    verdict::Reason,
};

use crate::count;
use crate::frame::XdpFrame;
use crate::maps::{self, cpu, may_tell, now};
use crate::pipeline::conclude;

/// From a frame that is too big to the action: tells its sender that packets of [`lb_common::cpu::Cpu::limit`] bytes would have
/// gone on.
#[inline(always)]
pub fn run(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(ctx);
    let Some(cpu) = cpu() else {
        return xdp_action::XDP_DROP;
    };
    match tell(&mut frame, cpu.limit as u32) {
        Some(action) => {
            count::reason(cpu, Reason::TooBigTold);
            action
        }
        None => conclude(&frame, Reason::TooBig),
    }
}

#[inline(always)]
fn tell(frame: &mut XdpFrame, limit: u32) -> Option<u32> {
    if limit == 0 || !may_tell(now()) {
        return None;
    }
    let length = match parse::network(frame).ok()? {
        Network::V4(network) => too_big::answer::<V4, _>(frame, network, limit)?,
        Network::V6(network) => too_big::answer::<V6, _>(frame, network, limit)?,
    };
    if !frame.is_whole() {
        return hand_over(frame, HAND_OVER_CUT);
    }
    frame.cut(length)?;
    if maps::egress(frame.ingress()) & (egress::GENERIC | egress::TRANSMIT) != 0 {
        return Some(xdp_action::XDP_TX);
    }
    hand_over(frame, HAND_OVER_MAC)
}

#[inline(always)]
fn hand_over(frame: &mut XdpFrame, mark: [u8; 6]) -> Option<u32> {
    let ethernet: &mut Ethernet = frame.header_mut(0)?;
    ethernet.destination = mark;
    Some(xdp_action::XDP_PASS)
}
