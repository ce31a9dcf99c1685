//! Fragments. The first one has ports and is balanced as the packet it begins; the later ones follow it.

use lb_common::{
    address::{Address, V4, V6},
    flow::{Client, Flows},
    fragment::{FragmentKey, FragmentWay},
    frame::Frame,
    parse::{self, Network, Packet, Part, Parts, TCP, UDP},
    record::{Service, mode},
    rewrite::{Rewrite, Tuple, rewrite_addresses},
    verdict::Reason,
};

use crate::elsewhere::Elsewhere;
use crate::flow::ToEndpoint;
use crate::frame::{Turn, XdpFrame};
use crate::maps::{FRAGMENTS, FlowMap, cpu, fragment_way, now};
use crate::rare::Rare;
use crate::skb::SkbFrame;
use crate::{count, flow, service};

/// What there is to do and count of a fragment that was turned, or is to be carried as it is.
pub struct Turned {
    /// Endpoint id of its flow.
    pub endpoint: u16,
    /// Bytes of the IP packet; of a carried one the upper half of its flow's hash.
    pub word: u32,
    /// [`FragmentWay::TO_ENDPOINT`], [`FragmentWay::TO_CLIENT`] or [`FragmentWay::CARRIED`].
    pub side: u8,
}

impl Turned {
    /// Counts it.
    #[inline(always)]
    pub fn count(&self) {
        let Some(cpu) = cpu() else {
            return;
        };
        let lane = cpu.lane(self.endpoint);
        if self.side == FragmentWay::TO_ENDPOINT {
            count::packet_in(lane, self.word as u16);
        } else {
            count::packet_out(lane, self.word as u16);
        }
    }
}

/// What becomes of a first fragment that is turned.
struct Way<A> {
    to: Tuple<A>,
    endpoint: u16,
    side: u8,
}

/// Turns a fragment.
#[inline(always)]
pub fn turn(frame: &mut XdpFrame) -> Result<Turned, Reason> {
    match parse::network(frame)? {
        Network::V4(offset) => turn_family::<V4>(frame, offset),
        Network::V6(offset) => turn_family::<V6>(frame, offset),
    }
}

/// Turns a fragment of an endpoint.
#[inline(always)]
pub fn turn_reply(frame: &mut SkbFrame) -> Result<Turned, Reason> {
    match parse::network(frame)? {
        Network::V4(offset) => turn_reply_family::<V4>(frame, offset),
        Network::V6(offset) => turn_reply_family::<V6>(frame, offset),
    }
}

#[inline(always)]
fn turn_family<A>(frame: &mut XdpFrame, offset: usize) -> Result<Turned, Reason>
where
    A: Parts + Elsewhere + Rewrite + Client + Rare,
    FlowMap: Flows<A>,
{
    let part = A::part(frame, offset)?;
    if !part.is_first() {
        return turn_later(frame, &part);
    }
    let (packet, now) = (part.with_ports(frame)?, now());
    let way = if let Some(service) = service::find(&packet) {
        let to = to_endpoint(&packet, service, now)?;
        if to.endpoint.mode != mode::NAT {
            return Ok(carried(&part, &to, now));
        }
        Way {
            to: to.tuple(),
            endpoint: to.id,
            side: FragmentWay::TO_ENDPOINT,
        }
    } else {
        way_to_client(&packet, now)?
    };
    turn_first(frame, &part, &packet, &way, now)
}

#[inline(always)]
fn turn_reply_family<A>(frame: &mut SkbFrame, offset: usize) -> Result<Turned, Reason>
where
    A: Parts + Rewrite + Client + Rare,
    FlowMap: Flows<A>,
{
    let part = A::part(frame, offset)?;
    if !part.is_first() {
        return turn_later(frame, &part);
    }
    let (packet, now) = (part.with_ports(frame)?, now());
    let way = way_to_client(&packet, now)?;
    turn_first(frame, &part, &packet, &way, now)
}

#[inline(always)]
fn to_endpoint<A>(
    packet: &Packet<A>,
    service: (u16, &'static Service),
    now: u32,
) -> Result<ToEndpoint, Reason>
where
    A: Client + Rare,
    FlowMap: Flows<A>,
{
    if packet.hops <= 1 {
        return Err(Reason::Expiring);
    }
    flow::of_client(packet, service, now)
}

#[inline(always)]
fn way_to_client<A>(packet: &Packet<A>, now: u32) -> Result<Way<A>, Reason>
where
    A: Client + Rare,
    FlowMap: Flows<A>,
{
    let to = flow::of_endpoint(packet, now).ok_or(Reason::NotForService)?;
    if packet.hops <= 1 {
        return Err(Reason::Expiring);
    }
    Ok(Way {
        to: to.tuple(),
        endpoint: to.id,
        side: FragmentWay::TO_CLIENT,
    })
}

/// Turns a first fragment, and remembers how.
#[inline(always)]
fn turn_first<A: Rewrite, F: Turn>(
    frame: &mut F,
    part: &Part<A>,
    packet: &Packet<A>,
    way: &Way<A>,
    now: u32,
) -> Result<Turned, Reason> {
    if !part.is_whole() {
        let addresses = (way.to.source.wide(), way.to.destination.wide());
        remember(part, addresses, (way.endpoint, way.side), now);
    }
    frame.turn(packet, &way.to).ok_or(Reason::Inconsistent)?;
    Ok(Turned {
        endpoint: way.endpoint,
        word: packet.length as u32,
        side: way.side,
    })
}

/// Leaves a first fragment as it is, to be carried in its flow's tunnel, and remembers which.
#[inline(always)]
fn carried<A: Address>(part: &Part<A>, to: &ToEndpoint, now: u32) -> Turned {
    let (word, side) = ((to.hash >> 32) as u32, FragmentWay::CARRIED);
    if !part.is_whole() {
        remember(part, ([word as u64, 0], [0; 2]), (to.id, side), now);
    }
    Turned {
        endpoint: to.id,
        word,
        side,
    }
}

#[inline(always)]
fn remember<A: Address>(
    part: &Part<A>,
    (source, destination): ([u64; 2], [u64; 2]),
    (endpoint, side): (u16, u8),
    now: u32,
) {
    let way = FragmentWay {
        source,
        destination,
        endpoint,
        side,
        zero: 0,
        since: now,
    };
    // Without room the later fragments do not follow: they are counted.
    let _ = FRAGMENTS.insert(FragmentKey::of(part), way, 0);
}

/// Turns a later fragment as the first one was, if that was.
#[inline(always)]
fn turn_later<A: Rewrite, F: Frame>(frame: &mut F, part: &Part<A>) -> Result<Turned, Reason> {
    let packet = &part.packet;
    if packet.protocol != TCP && packet.protocol != UDP {
        return Err(Reason::OtherProtocol);
    }
    let way = fragment_way(&FragmentKey::of(part)).ok_or(Reason::Fragment)?;
    if !way.is_fresh(now()) {
        return Err(Reason::Fragment);
    }
    if packet.hops <= 1 {
        return Err(Reason::Expiring);
    }
    let word = if way.side == FragmentWay::CARRIED {
        way.hash()
    } else {
        let to = Tuple {
            source: A::from_wide(way.source),
            destination: A::from_wide(way.destination),
            source_port: 0,
            destination_port: 0,
        };
        rewrite_addresses(frame, packet, &to).ok_or(Reason::Inconsistent)?;
        packet.length as u32
    };
    Ok(Turned {
        endpoint: way.endpoint,
        word,
        side: way.side,
    })
}
