//! The answer to a packet that is larger than its way out.

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    address::{V4, V6},
    frame::{Ethernet, Frame},
    parse::{self, Network},
    record::{HAND_OVER_MAC, egress},
    too_big,
    verdict::Reason,
};

use crate::aside::Outcome;
use crate::count;
use crate::frame::XdpFrame;
use crate::maps::{self, cpu, may_tell, now};

/// Tells the sender that packets of [`XdpFrame::limit`] bytes would have gone on.
///
/// Out of line, so that the stack of the packet's way is not its stack too.
#[inline(never)]
pub fn answer(frame: &mut XdpFrame) -> Outcome {
    let action = tell(frame).ok_or(Reason::TooBig)?;
    if let Some(cpu) = cpu() {
        count::reason(cpu, Reason::TooBigTold);
    }
    Ok(action)
}

#[inline(always)]
fn tell(frame: &mut XdpFrame) -> Option<u32> {
    if !may_tell(now()) {
        return None;
    }
    let limit = frame.limit;
    match parse::network(frame).ok()? {
        Network::V4(network) => too_big::answer::<V4, _>(frame, network, limit)?,
        Network::V6(network) => too_big::answer::<V6, _>(frame, network, limit)?,
    }
    if maps::egress(frame.ingress()) & (egress::GENERIC | egress::TRANSMIT) != 0 {
        return Some(xdp_action::XDP_TX);
    }
    let ethernet: &mut Ethernet = frame.header_mut(0)?;
    ethernet.destination = HAND_OVER_MAC;
    Some(xdp_action::XDP_PASS)
}
