//! The steps in order.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use aya_log_ebpf::info;
use lb_common::{
    address::{IPV4, V4, V6},
    clamp::clamp,
    encapsulate::{Inner, Load, Outer, encapsulate, overhead},
    flow::{Client, Flows},
    parse::{self, Network, Packet, Parse, Signals},
    record::{Service, flag, mode},
    rewrite::{Rewrite, Tuple, rewrite},
    verdict::{Reason, Verdict},
};

use crate::flow::ToEndpoint;
use crate::forward::{self, Parcel, Route};
use crate::frame::XdpFrame;
use crate::maps::{FlowMap, now};
use crate::range::Ranged;
use crate::rare::Rare;
use crate::{count, flow, service, too_big};

/// From the frame to what becomes of it.
#[inline(always)]
pub fn run(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(ctx);
    let (reason, action) = match balance(&mut frame) {
        Ok((reason, action)) => (reason, action),
        Err(Reason::TooBig) => too_big::answer(&mut frame),
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
fn balance(frame: &mut XdpFrame) -> Result<(Reason, u32), Reason> {
    match parse::network(frame)? {
        Network::V4(offset) => balance_family::<V4>(frame, offset),
        Network::V6(offset) => balance_family::<V6>(frame, offset),
    }
}

#[inline(always)]
fn balance_family<A>(frame: &mut XdpFrame, offset: usize) -> Result<(Reason, u32), Reason>
where
    A: Parse + Ranged + Rewrite + Inner + Client + Rare + Route,
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
) -> Result<(Reason, u32), Reason>
where
    A: Rewrite + Inner + Client + Rare + Route,
    FlowMap: Flows<A>,
{
    if packet.hops <= 1 {
        return Err(Reason::Expiring);
    }
    let now = now();
    let to = flow::of_client(packet, service, now)?;
    if packet.signals.has(Signals::SYN) && service.1.flags & flag::CLAMP != 0 {
        clamp(frame, packet, service.1.mss);
    }
    match to.endpoint.mode {
        mode::NAT => translate(frame, packet, &to, now),
        mode::DSR => pass_on(frame, packet, &to, now),
        _ if to.endpoint.family == IPV4 => tunnel::<A, V4>(frame, packet, &to, now),
        _ => tunnel::<A, V6>(frame, packet, &to, now),
    }
}

/// Mode `nat`: from the node to the endpoint.
#[inline(always)]
fn translate<A>(
    frame: &mut XdpFrame,
    packet: &Packet<A>,
    to: &ToEndpoint,
    now: u32,
) -> Result<(Reason, u32), Reason>
where
    A: Rewrite + Route,
{
    let tuple = Tuple {
        source: A::from_wide(to.endpoint.source),
        destination: A::from_wide(to.endpoint.address),
        source_port: to.node_port,
        destination_port: to.endpoint.port,
    };
    let hop = forward::hop(frame, &Parcel::of(packet, tuple), now)?;
    rewrite(frame, packet, &tuple).ok_or(Reason::Inconsistent)?;
    count::packet_in(to.id, packet.length);
    forward::send(frame, hop)
}

/// Mode `dsr`: as it is, to the endpoint's link-layer address.
#[inline(always)]
fn pass_on<A>(
    frame: &mut XdpFrame,
    packet: &Packet<A>,
    to: &ToEndpoint,
    now: u32,
) -> Result<(Reason, u32), Reason>
where
    A: Inner + Route,
{
    let tuple = Tuple {
        source: A::from_wide(to.endpoint.source),
        destination: A::from_wide(to.endpoint.address),
        source_port: packet.source_port,
        destination_port: packet.destination_port,
    };
    let hop = forward::hop(frame, &Parcel::of(packet, tuple), now)?;
    A::carry(frame, packet).ok_or(Reason::Inconsistent)?;
    count::packet_in(to.id, packet.length);
    forward::send_beside(frame, hop, to.id)
}

/// Modes `ipip` and `gue`: in an outer packet of family `O` from the node to the endpoint.
#[inline(always)]
fn tunnel<A, O>(
    frame: &mut XdpFrame,
    packet: &Packet<A>,
    to: &ToEndpoint,
    now: u32,
) -> Result<(Reason, u32), Reason>
where
    A: Inner,
    O: Outer + Route,
{
    let parcel = Parcel {
        to: Tuple {
            source: O::from_wide(to.endpoint.source),
            destination: O::from_wide(to.endpoint.address),
            source_port: 0,
            destination_port: 0,
        },
        protocol: A::PROTOCOL,
        length: packet.length,
        added: overhead::<O>(to.endpoint),
    };
    let hop = forward::hop(frame, &parcel, now)?;
    let class = A::carry(frame, packet).ok_or(Reason::Inconsistent)?;
    let load = Load {
        network: packet.network,
        length: packet.length,
        class,
        protocol: A::PROTOCOL,
        hash: to.hash,
    };
    encapsulate::<O, _>(frame, &load, to.endpoint).ok_or(Reason::Inconsistent)?;
    count::packet_in(to.id, packet.length);
    forward::send(frame, hop)
}

#[inline(always)]
fn towards_client<A>(frame: &mut XdpFrame, packet: &Packet<A>) -> Result<(Reason, u32), Reason>
where
    A: Rewrite + Client + Rare + Route,
    FlowMap: Flows<A>,
{
    let now = now();
    let to = flow::of_endpoint(packet, now).ok_or(Reason::NotForService)?;
    if packet.hops <= 1 {
        return Err(Reason::Expiring);
    }
    if to.service.flags & flag::CLAMP != 0 {
        clamp(frame, packet, to.service.mss);
    }
    let tuple = Tuple {
        source: A::from_wide(to.service.address),
        destination: to.client,
        source_port: to.service.port(),
        destination_port: to.client_port,
    };
    let hop = forward::hop(frame, &Parcel::of(packet, tuple), now)?;
    rewrite(frame, packet, &tuple).ok_or(Reason::Inconsistent)?;
    count::packet_out(to.id, packet.length);
    forward::send(frame, hop)
}
