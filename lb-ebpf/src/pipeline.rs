//! The steps in order.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use aya_log_ebpf::info;
use lb_common::{
    address::{V4, V6},
    clamp::clamp,
    encapsulate::Inner,
    flow::{Client, Flows},
    parse::{self, Network, Packet, Parse},
    record::{Service, flag, mode, ways},
    rewrite::{self, Rewrite, rewrite_by},
    verdict::{Reason, Verdict},
};

use crate::aside::Outcome;
use crate::carry::carry;
use crate::elsewhere::Elsewhere;
use crate::flow::ToEndpoint;
use crate::forward::{self, Parcel, Route};
use crate::frame::XdpFrame;
use crate::maps::{FlowMap, cpu, go_on, now};
use crate::rare::Rare;
use crate::{count, flow, service};

/// From the frame to the action. Where `PLAIN`, what is not is left to the program for all: see
/// [`Parse::parse_as`].
#[inline(always)]
pub fn run<const PLAIN: bool>(ctx: XdpContext) -> u32 {
    // Before anything is in registers: a call takes most of them.
    let now = now();
    let mut frame = XdpFrame::new(ctx);
    balance::<PLAIN>(&mut frame, now).unwrap_or_else(|reason| refuse(&frame, reason))
}

/// What becomes of a packet that was not sent: another program's, or passed or dropped.
#[inline(always)]
pub fn refuse(frame: &XdpFrame, reason: Reason) -> u32 {
    match reason {
        Reason::NotPlain => go_on(&frame.ctx, ways::NOT_PLAIN),
        Reason::Fragment => go_on(&frame.ctx, ways::FRAGMENT),
        Reason::OtherProtocol => go_on(&frame.ctx, ways::MESSAGE),
        Reason::TooBig => go_on(&frame.ctx, ways::TOO_BIG),
        _ => {}
    }
    conclude(frame, reason)
}

/// Passes or drops a packet, and counts why.
#[inline(always)]
pub fn conclude(frame: &XdpFrame, reason: Reason) -> u32 {
    if let Some(cpu) = cpu() {
        count::reason(cpu, reason);
    }
    let action = match reason.verdict() {
        Verdict::Drop => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    };
    info!(
        &frame.ctx,
        "not forwarded: reason {}, action {}", reason as u32, action
    );
    action
}

#[inline(always)]
fn balance<const PLAIN: bool>(frame: &mut XdpFrame, now: u32) -> Outcome {
    match parse::network_as::<PLAIN, _>(frame)? {
        Network::V4(offset) => balance_family::<V4, PLAIN>(frame, offset, now),
        Network::V6(offset) => balance_family::<V6, PLAIN>(frame, offset, now),
    }
}

#[inline(always)]
fn balance_family<A, const PLAIN: bool>(frame: &mut XdpFrame, offset: usize, now: u32) -> Outcome
where
    A: Parse + Elsewhere + Rewrite + Inner + Client + Rare + Route,
    FlowMap: Flows<A>,
{
    let packet = A::parse_as::<PLAIN, _>(frame, offset)?;
    if let Some(service) = service::find(&packet) {
        towards_endpoint(frame, &packet, service, now)
    } else {
        towards_client(frame, &packet, now)
    }
}

#[inline(always)]
fn towards_endpoint<A>(
    frame: &mut XdpFrame,
    packet: &Packet<A>,
    service: (u16, &'static Service),
    now: u32,
) -> Outcome
where
    A: Rewrite + Inner + Client + Rare + Route,
    FlowMap: Flows<A>,
{
    if packet.hops <= 1 {
        return Err(Reason::Expiring);
    }
    let to = flow::of_client(packet, service, now)?;
    if packet.signals.opens() && service.1.flags & flag::CLAMP != 0 {
        clamp(frame, packet, service.1.mss);
    }
    if to.endpoint.mode == mode::NAT {
        return translate(frame, packet, &to, now);
    }
    carry(frame, packet, &to, now)
}

/// Mode `nat`: from the node to the endpoint.
#[inline(always)]
fn translate<A>(frame: &mut XdpFrame, packet: &Packet<A>, to: &ToEndpoint, now: u32) -> Outcome
where
    A: Rewrite + Route,
{
    let tuple = to.tuple();
    let cpu = cpu().ok_or(Reason::Inconsistent)?;
    let delivery = forward::to_endpoint(frame, cpu, to.lane(), &Parcel::of(packet, tuple), now)?;
    let lane = &mut cpu.lanes[to.lane()];
    let addresses = rewrite::towards_endpoint(packet.source, to.endpoint.base as u16);
    rewrite_by(frame, packet, &tuple, addresses).ok_or(Reason::Inconsistent)?;
    count::packet_in(lane, packet.length);
    forward::send(frame, &lane.hop, delivery, &mut cpu.reasons)
}

#[inline(always)]
fn towards_client<A>(frame: &mut XdpFrame, packet: &Packet<A>, now: u32) -> Outcome
where
    A: Rewrite + Client + Rare + Route,
    FlowMap: Flows<A>,
{
    let to = flow::of_endpoint(packet, now).ok_or(Reason::NotForService)?;
    if packet.hops <= 1 {
        return Err(Reason::Expiring);
    }
    if to.service.flags & flag::CLAMP != 0 {
        clamp(frame, packet, to.service.mss);
    }
    let tuple = to.tuple();
    let cpu = cpu().ok_or(Reason::Inconsistent)?;
    let (place, delivery) = forward::to_client(frame, cpu, &Parcel::of(packet, tuple), now)?;
    let addresses = rewrite::towards_client(to.client, to.base);
    rewrite_by(frame, packet, &tuple, addresses).ok_or(Reason::Inconsistent)?;
    count::packet_out(cpu.lane(to.id), packet.length);
    forward::send(frame, cpu.next_hops.at(place), delivery, &mut cpu.reasons)
}
