//! What is carried to an endpoint as it is: beside its own destination, or in a tunnel.

use lb_common::{
    address::{IPV4, V4, V6},
    encapsulate::{Inner, Load, Outer, encapsulate, overhead},
    parse::{self, Network, Packet, Parts, TCP, UDP},
    record::mode,
    rewrite::Tuple,
    verdict::Reason,
};

use crate::aside::Outcome;
use crate::count;
use crate::flow::ToEndpoint;
use crate::forward::{self, Parcel, Route};
use crate::frame::XdpFrame;
use crate::maps::{ENDPOINTS, cpu, now};

/// Carries a packet in its endpoint's mode, which is not `nat`, and counts it.
#[inline(always)]
pub fn carry<A>(frame: &mut XdpFrame, packet: &Packet<A>, to: &ToEndpoint, now: u32) -> Outcome
where
    A: Inner + Route,
{
    match to.endpoint.mode {
        mode::DSR => pass_on(frame, packet, to, now),
        _ if to.endpoint.family == IPV4 => tunnel::<A, V4>(frame, packet, to, now),
        _ => tunnel::<A, V6>(frame, packet, to, now),
    }
}

/// Carries a fragment or a message to an endpoint, and counts it. `hash` is the upper half of
/// [`lb_common::hash::flow`] of its flow.
#[inline(always)]
pub fn carry_part(frame: &mut XdpFrame, endpoint: u16, hash: u32) -> Outcome {
    match parse::network(frame)? {
        Network::V4(offset) => part_family::<V4>(frame, offset, (endpoint, hash)),
        Network::V6(offset) => part_family::<V6>(frame, offset, (endpoint, hash)),
    }
}

#[inline(always)]
fn part_family<A>(frame: &mut XdpFrame, offset: usize, (id, hash): (u16, u32)) -> Outcome
where
    A: Parts + Inner + Route,
{
    // It was parsed before: whatever is wrong now is no reason to pass it.
    let part = A::part(frame, offset).map_err(|_| Reason::Inconsistent)?;
    let packet = &part.packet;
    let endpoint = ENDPOINTS.get(id as u32).ok_or(Reason::Inconsistent)?;
    if endpoint.mode == mode::NAT {
        return Err(Reason::Inconsistent);
    }
    let to = ToEndpoint {
        id,
        endpoint,
        node_port: 0,
        port: 0,
        // The tunnel takes no more of it.
        hash: (hash as u64) << 32,
    };
    let outcome = carry(frame, packet, &to, now());
    // Nobody is told of a later fragment (RFC 1122, 3.2.2), and of an error neither.
    let may_be_told = part.is_first() && matches!(packet.protocol, TCP | UDP);
    if outcome == Err(Reason::TooBig) && !may_be_told {
        cpu().ok_or(Reason::Inconsistent)?.limit = 0;
    }
    outcome
}

/// Mode `dsr`: as it is, to the endpoint's link-layer address.
#[inline(always)]
fn pass_on<A>(frame: &mut XdpFrame, packet: &Packet<A>, to: &ToEndpoint, now: u32) -> Outcome
where
    A: Inner + Route,
{
    let tuple = Tuple {
        source: A::from_wide(to.endpoint.source),
        destination: A::from_wide(to.endpoint.address),
        source_port: packet.source_port,
        destination_port: packet.destination_port,
    };
    let cpu = cpu().ok_or(Reason::Inconsistent)?;
    let delivery = forward::to_endpoint(frame, cpu, to.lane(), &Parcel::of(packet, tuple), now)?;
    let lane = &mut cpu.lanes[to.lane()];
    if lane.hop.is_routed != 0 {
        return Err(Reason::NotOnLink);
    }
    A::carry(frame, packet).ok_or(Reason::Inconsistent)?;
    count::packet_in(lane, packet.length);
    forward::send_beside(frame, &lane.hop, delivery, &mut cpu.reasons, to.id)
}

/// Modes `ipip` and `gue`: in an outer packet of family `O` from the node to the endpoint.
#[inline(always)]
fn tunnel<A, O>(frame: &mut XdpFrame, packet: &Packet<A>, to: &ToEndpoint, now: u32) -> Outcome
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
    let cpu = cpu().ok_or(Reason::Inconsistent)?;
    let delivery = forward::to_endpoint(frame, cpu, to.lane(), &parcel, now)?;
    let lane = &mut cpu.lanes[to.lane()];
    let class = A::carry(frame, packet).ok_or(Reason::Inconsistent)?;
    let load = Load {
        network: packet.network,
        length: packet.length,
        class,
        protocol: A::PROTOCOL,
        hash: to.hash,
    };
    encapsulate::<O, _>(frame, &load, to.endpoint).ok_or(Reason::Inconsistent)?;
    count::packet_in(lane, packet.length);
    forward::send(frame, &lane.hop, delivery, &mut cpu.reasons)
}
