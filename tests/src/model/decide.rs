//! The way of one frame: from what it says to where it goes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::address::{V4, V6};
use lb_common::verdict::Reason;
use lb_common::{hash, record};
use lb_userspace::desired::{self, Affinity, Mode, Scheduling};

use super::life::Life;
use super::read::{Read, read};
use super::{
    Back, Carry, Effect, Flow, Goal, Model, Remembered, Route, Sent, Service, Tuple, Turn, Turned,
    UNKNOWN, XDP_PASS, XDP_REDIRECT, XDP_TX,
};
use crate::packet::{TCP, UDP};

impl Model {
    /// What is made of a frame. What it does to its flow stands in `effect`, and what later fragments need
    /// in `remembered`, also if it then gets no further.
    pub(super) fn decide(
        &self,
        frame: &[u8],
        now: u32,
        effect: &mut Effect,
        remembered: &mut Remembered,
    ) -> Result<Turned, Reason> {
        let read = match read(frame) {
            Err(Reason::Fragment) => return self.fragment(frame, now, effect, remembered),
            Err(Reason::OtherProtocol) => return self.message(frame, now),
            read => read?,
        };
        let to = self.to_other_side(&read, now, effect)?;
        Ok(Turned::Packet(read, to))
    }

    /// Where a packet with ports goes.
    pub(super) fn to_other_side(
        &self,
        read: &Read,
        now: u32,
        effect: &mut Effect,
    ) -> Result<Goal, Reason> {
        match self.service(read.destination, read.protocol) {
            Some(service) => self.to_endpoint(read, service, now, effect),
            None => Ok(Goal::Turn(self.to_client(read, now, effect)?)),
        }
    }

    fn to_endpoint(
        &self,
        read: &Read,
        service: &Service,
        now: u32,
        effect: &mut Effect,
    ) -> Result<Goal, Reason> {
        if read.hops <= 1 {
            return Err(Reason::Expiring);
        }
        let tuple = Tuple {
            client: read.source,
            service: read.destination,
            protocol: read.protocol,
        };
        let known = self.flows.get(&tuple).filter(|flow| self.lives(flow, now));
        let flow = match known {
            Some(flow) if !(read.opens() && flow.life.is_ending()) => {
                *effect = Effect::Follow(tuple, flow.life.after_client(read, &service.idle, now));
                *flow
            }
            _ if read.protocol == TCP && !read.opens() => return Err(Reason::NoFlow),
            _ => {
                let rule = service.rule(read.source.ip());
                let dealt = self.dealt.get(&(service.wanted.name.clone(), rule));
                let dealt = dealt.copied().unwrap_or(0);
                let port = read.destination.port();
                let endpoint = service.select(&self.keys, (read.source, port), dealt)?;
                let hash = service.hash(&self.keys, (read.source, port));
                let mut address = endpoint.address;
                if address.port() == 0 {
                    address.set_port(port);
                }
                let flow = Flow {
                    owner: service.owner,
                    endpoint: address,
                    source: endpoint.source,
                    node_port: None,
                    carry: Carry::to(&service.wanted, &endpoint, hash),
                    life: Life::new(read.protocol == UDP, &service.idle, now),
                };
                *effect = Effect::Admit(tuple, flow);
                flow
            }
        };
        if let Some(carry) = flow.carry {
            return Ok(Goal::Carry(carry));
        }
        Ok(Goal::Turn((
            SocketAddr::new(flow.source, flow.node_port.unwrap_or(UNKNOWN)),
            flow.endpoint,
        )))
    }

    fn to_client(&self, read: &Read, now: u32, effect: &mut Effect) -> Result<Turn, Reason> {
        let node_port = read.destination.port();
        let back = Back {
            endpoint: read.source,
            protocol: read.protocol,
            node_port,
        };
        let (tuple, flow) = self
            .find_back(&back, read.destination.ip(), now)
            .ok_or(Reason::NotForService)?;
        let service = self.service(tuple.service, tuple.protocol);
        let idle = &service.ok_or(Reason::Inconsistent)?.idle;
        *effect = Effect::Follow(tuple, flow.life.after_endpoint(read, idle, now));
        if read.hops <= 1 {
            return Err(Reason::Expiring);
        }
        Ok((tuple.service, tuple.client))
    }

    /// The live flow of an endpoint's packet to this address of the node.
    pub(super) fn find_back(&self, back: &Back, node: IpAddr, now: u32) -> Option<(Tuple, Flow)> {
        let tuple = *self.backs.get(back)?;
        let flow = self.flows[&tuple];
        (self.lives(&flow, now) && flow.source == node).then_some((tuple, flow))
    }

    pub(super) fn forward(
        &self,
        frame: &[u8],
        turned: Turned,
        ingress: u32,
    ) -> Result<(Reason, u32, Sent), Reason> {
        let to = turned.destination().ok_or(Reason::Inconsistent)?;
        match (self.route)(to) {
            Route::None => Err(Reason::NoRoute),
            Route::Unresolved => {
                let destination_mac = match turned.carry() {
                    Some(Carry {
                        mode: Mode::Dsr, ..
                    }) => record::hand_over_to(0),
                    _ => record::HAND_OVER_MAC,
                };
                let sent = Sent {
                    turned,
                    source_mac: Some(record::HAND_OVER_MAC),
                    destination_mac: Some(destination_mac),
                };
                Ok((Reason::HandedOver, XDP_PASS, sent))
            }
            Route::Out { mtu, .. } if turned.length() > mtu => {
                tell(frame, &turned, mtu - turned.overhead())
            }
            Route::Out {
                interface,
                source,
                destination,
                ..
            } => {
                let (reason, action) = if interface == ingress {
                    (Reason::Transmitted, XDP_TX)
                } else {
                    (Reason::Redirected, XDP_REDIRECT)
                };
                let sent = Sent {
                    turned,
                    source_mac: Some(source),
                    destination_mac: Some(destination),
                };
                Ok((reason, action, sent))
            }
        }
    }
}

/// No larger frame lies in one buffer: a page has room for this beside what the kernel keeps there. Frames
/// of nearly this length may lie in one or in two, by version.
pub const ONE_BUFFER: usize = 3400;

/// The sender of a packet is told, if the frame has what is quoted; of a fragment if it is the first one, and
/// not turned yet.
fn tell(frame: &[u8], turned: &Turned, mtu: u32) -> Result<(Reason, u32, Sent), Reason> {
    let Turned::Packet(packet, goal) = turned else {
        return Err(Reason::TooBig);
    };
    let is_whole = read(frame).is_ok();
    let is_turned = !is_whole && matches!(goal, Goal::Turn(_));
    if is_turned || frame.len() < packet.network + 128 {
        return Err(Reason::TooBig);
    }
    let is_in_pieces = frame.len() > ONE_BUFFER;
    let sent = Sent {
        turned: Turned::Told(mtu),
        source_mac: None,
        destination_mac: is_in_pieces.then_some(record::HAND_OVER_CUT),
    };
    // Where a frame lies in several buffers, the kernel cuts off what is not quoted.
    let action = if is_in_pieces { XDP_PASS } else { XDP_TX };
    Ok((Reason::TooBigTold, action, sent))
}

impl Turned {
    /// Where the kernel is asked the way to.
    fn destination(&self) -> Option<IpAddr> {
        match self {
            Self::Packet(_, Goal::Turn(to)) | Self::Error(_, to) => Some(to.1.ip()),
            Self::Packet(_, Goal::Carry(carry)) | Self::Carried(_, carry) => Some(carry.to),
            Self::Later(_, (_, destination)) => Some(*destination),
            Self::Echo(part) => Some(part.source),
            Self::Told(_) => None,
        }
    }

    /// Bytes that are to be sent.
    fn length(&self) -> u32 {
        let length = match self {
            Self::Packet(read, _) => read.length,
            Self::Error(error, _) => error.message.length,
            Self::Later(part, _) | Self::Echo(part) | Self::Carried(part, _) => part.length,
            Self::Told(_) => 0,
        };
        u32::from(length) + self.overhead()
    }

    fn carry(&self) -> Option<&Carry> {
        match self {
            Self::Packet(_, Goal::Carry(carry)) | Self::Carried(_, carry) => Some(carry),
            _ => None,
        }
    }

    fn overhead(&self) -> u32 {
        self.carry().map_or(0, Carry::overhead)
    }
}

impl Service {
    /// The endpoint of a new flow to a port; `dealt` flows were dealt out before it.
    fn select(
        &self,
        keys: &[u64; hash::KEYS],
        (client, port): (SocketAddr, u16),
        dealt: usize,
    ) -> Result<desired::Endpoint, Reason> {
        let slots = match self.rule(client.ip()) {
            Some(rule) => &self.rules[rule],
            None => &self.slots,
        };
        let slot = match (
            self.wanted.selection.scheduling,
            self.wanted.selection.affinity,
        ) {
            (Scheduling::Exact, _) => dealt % slots.len(),
            (Scheduling::Hash, Affinity::Flow) => self.slot(keys, (client, port), slots.len()),
            // As if the network itself were a client, with ports 0.
            (Scheduling::Hash, Affinity::Client(bits)) => {
                let network = SocketAddr::new(network(client.ip(), bits), 0);
                self.slot(keys, (network, 0), slots.len())
            }
        };
        slots.get(slot).copied().ok_or(Reason::EmptySlot)
    }

    /// The rule of a client: of all that name it, the one with the longest prefix.
    pub(super) fn rule(&self, client: IpAddr) -> Option<usize> {
        let rules = self.wanted.selection.rules.iter().enumerate();
        let all = rules.flat_map(|(number, rule)| rule.from.iter().map(move |it| (it, number)));
        let of_client = all.filter(|(prefix, _)| prefix.contains(client));
        of_client
            .max_by_key(|(prefix, _)| prefix.length)
            .map(|(_, number)| number)
    }

    fn slot(&self, keys: &[u64; hash::KEYS], tuple: (SocketAddr, u16), slots: usize) -> usize {
        hash::slot(self.hash(keys, tuple), slots as u32 - 1) as usize
    }

    /// Of a client's flow to a port.
    fn hash(&self, keys: &[u64; hash::KEYS], (client, port): (SocketAddr, u16)) -> u64 {
        let ports = (client.port(), port);
        match client.ip() {
            IpAddr::V4(v4) => hash::flow(keys, self.basis, V4::from_bytes(v4.octets()), ports),
            IpAddr::V6(v6) => hash::flow(keys, self.basis, V6::from_bytes(v6.octets()), ports),
        }
    }
}

/// The address with only its first bits.
fn network(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let rest = 32 - u32::from(bits);
            Ipv4Addr::from((u64::from(v4.to_bits()) >> rest << rest) as u32).into()
        }
        IpAddr::V6(v6) => {
            let rest = 128 - u32::from(bits);
            Ipv6Addr::from(v6.to_bits() >> rest << rest).into()
        }
    }
}
