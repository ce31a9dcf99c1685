//! The steps in order.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use aya_log_ebpf::info;
use lb_common::{
    address::{V4, V6},
    flow::{Client, Flows},
    parse::{self, Network, Packet, Parse},
    record::Service,
    rewrite::{Rewrite, Tuple, rewrite},
    verdict::{Reason, Verdict},
};

use crate::forward::{self, Route};
use crate::frame::XdpFrame;
use crate::maps::{FlowMap, now};
use crate::range::Ranged;
use crate::rare::Rare;
use crate::{count, flow, service};

/// From the frame to what becomes of it.
#[inline(always)]
pub fn run(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame { ctx };
    let (reason, action) = match balance(&mut frame) {
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
fn balance(frame: &mut XdpFrame) -> Result<(Reason, u32), Reason> {
    match parse::network(frame)? {
        Network::V4(offset) => balance_family::<V4>(frame, offset),
        Network::V6(offset) => balance_family::<V6>(frame, offset),
    }
}

#[inline(always)]
fn balance_family<A>(frame: &mut XdpFrame, offset: usize) -> Result<(Reason, u32), Reason>
where
    A: Parse + Ranged + Rewrite + Client + Rare + Route,
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
    A: Rewrite + Client + Rare + Route,
    FlowMap: Flows<A>,
{
    if packet.hops <= 1 {
        return Err(Reason::Expiring);
    }
    let now = now();
    let to = flow::of_client(packet, service, now)?;
    let tuple = Tuple {
        source: A::from_wide(to.endpoint.source),
        destination: A::from_wide(to.endpoint.address),
        source_port: to.node_port,
        destination_port: to.endpoint.port,
    };
    let hop = forward::hop(frame, packet, &tuple, now)?;
    rewrite(frame, packet, &tuple).ok_or(Reason::Inconsistent)?;
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
    let tuple = Tuple {
        source: A::from_wide(to.service.address),
        destination: to.client,
        source_port: to.service.port(),
        destination_port: to.client_port,
    };
    let hop = forward::hop(frame, packet, &tuple, now)?;
    rewrite(frame, packet, &tuple).ok_or(Reason::Inconsistent)?;
    count::packet_out(to.id, packet.length);
    forward::send(frame, hop)
}
