//! The steps in order.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use aya_log_ebpf::info;
use lb_common::{
    address::{V4, V6},
    flow::{Client, Flows},
    parse::{self, Network, Packet, Parse},
    record::{Service, ways},
    rewrite::{Rewrite, rewrite},
    verdict::{Reason, Verdict},
};

use crate::aside::Outcome;
use crate::forward::{self, Route};
use crate::frame::XdpFrame;
use crate::maps::{FlowMap, go_on, now};
use crate::rare::Rare;
use crate::{count, flow, service};

/// From the frame to the action.
#[inline(always)]
pub fn run(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame { ctx };
    let outcome = balance(&mut frame);
    match outcome {
        Err(Reason::Fragment) => go_on(&frame.ctx, ways::FRAGMENT),
        Err(Reason::OtherProtocol) => go_on(&frame.ctx, ways::MESSAGE),
        _ => {}
    }
    conclude(&frame, outcome)
}

/// The action, and the count of its reason.
#[inline(always)]
pub fn conclude(frame: &XdpFrame, outcome: Outcome) -> u32 {
    let (reason, action) = match outcome {
        Ok((reason, action)) => (reason, action),
        Err(reason) if reason.verdict() == Verdict::Drop => (reason, xdp_action::XDP_DROP),
        Err(reason) => (reason, xdp_action::XDP_PASS),
    };
    count::reason(reason);
    if reason.verdict() != Verdict::Forward {
        info!(
            &frame.ctx,
            "not forwarded: reason {}, action {}", reason as u32, action
        );
    }
    action
}

#[inline(always)]
fn balance(frame: &mut XdpFrame) -> Outcome {
    match parse::network(frame)? {
        Network::V4(offset) => balance_family::<V4>(frame, offset),
        Network::V6(offset) => balance_family::<V6>(frame, offset),
    }
}

#[inline(always)]
fn balance_family<A>(frame: &mut XdpFrame, offset: usize) -> Outcome
where
    A: Parse + Rewrite + Client + Rare + Route,
    FlowMap: Flows<A>,
{
    let packet = A::parse(frame, offset)?;
    if let Some(service) = service::find(&packet) {
        towards_endpoint(frame, &packet, service)
    } else {
        towards_client(frame, &packet)
    }
}

#[inline(always)]
fn towards_endpoint<A>(
    frame: &mut XdpFrame,
    packet: &Packet<A>,
    service: (u16, &'static Service),
) -> Outcome
where
    A: Rewrite + Client + Rare + Route,
    FlowMap: Flows<A>,
{
    if packet.hops <= 1 {
        return Err(Reason::Expiring);
    }
    let now = now();
    let to = flow::of_client(packet, service, now)?;
    let tuple = to.tuple();
    let hop = forward::hop(frame, packet, &tuple, now)?;
    rewrite(frame, packet, &tuple).ok_or(Reason::Inconsistent)?;
    count::packet_in(to.id, packet.length);
    forward::send(frame, hop)
}

#[inline(always)]
fn towards_client<A>(frame: &mut XdpFrame, packet: &Packet<A>) -> Outcome
where
    A: Rewrite + Client + Rare + Route,
    FlowMap: Flows<A>,
{
    let now = now();
    let to = flow::of_endpoint(packet, now).ok_or(Reason::NotForService)?;
    if packet.hops <= 1 {
        return Err(Reason::Expiring);
    }
    let tuple = to.tuple();
    let hop = forward::hop(frame, packet, &tuple, now)?;
    rewrite(frame, packet, &tuple).ok_or(Reason::Inconsistent)?;
    count::packet_out(to.id, packet.length);
    forward::send(frame, hop)
}
