//! The way of one frame: from what it says to where it goes.

use std::net::{IpAddr, SocketAddr};

use lb_common::address::{V4, V6};
use lb_common::verdict::Reason;
use lb_common::{hash, record};
use lb_userspace::desired;

use super::life::Life;
use super::read::{Read, read};
use super::{
    Back, Effect, Flow, Model, Remembered, Route, Sent, Service, Tuple, Turn, Turned, UNKNOWN,
    XDP_PASS, XDP_REDIRECT, XDP_TX,
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
    ) -> Result<Turn, Reason> {
        match self.services.get(&(read.destination, read.protocol)) {
            Some(service) => self.to_endpoint(read, service, now, effect),
            None => self.to_client(read, now, effect),
        }
    }

    fn to_endpoint(
        &self,
        read: &Read,
        service: &Service,
        now: u32,
        effect: &mut Effect,
    ) -> Result<Turn, Reason> {
        if read.hops <= 1 {
            return Err(Reason::Expiring);
        }
        let tuple = Tuple {
            client: read.source,
            service: read.destination,
            protocol: read.protocol,
        };
        let known = self.flows.get(&tuple).filter(|flow| flow.life.is_live(now));
        let flow = match known {
            Some(flow) if !(read.opens() && flow.life.is_ending()) => {
                *effect = Effect::Follow(tuple, flow.life.after_client(read, &service.idle, now));
                *flow
            }
            _ if read.protocol == TCP && !read.opens() => return Err(Reason::NoFlow),
            _ => {
                let endpoint = service.slot(&self.keys, read.source)?;
                let flow = Flow {
                    endpoint: endpoint.address,
                    source: endpoint.source,
                    node_port: None,
                    life: Life::new(read.protocol == UDP, &service.idle, now),
                };
                *effect = Effect::Admit(tuple, flow);
                flow
            }
        };
        Ok((
            SocketAddr::new(flow.source, flow.node_port.unwrap_or(UNKNOWN)),
            flow.endpoint,
        ))
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
        let idle = &self
            .services
            .get(&(tuple.service, tuple.protocol))
            .ok_or(Reason::Inconsistent)?
            .idle;
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
        (flow.life.is_live(now) && flow.source == node).then_some((tuple, flow))
    }

    pub(super) fn forward(
        &self,
        turned: Turned,
        ingress: u32,
    ) -> Result<(Reason, u32, Sent), Reason> {
        match (self.route)(turned.destination()) {
            Route::None => Err(Reason::NoRoute),
            Route::Unresolved => {
                let destination_mac = record::HAND_OVER_MAC;
                let sent = Sent {
                    turned,
                    source_mac: None,
                    destination_mac,
                };
                Ok((Reason::HandedOver, XDP_PASS, sent))
            }
            Route::Out { mtu, .. } if u32::from(turned.length()) > mtu => Err(Reason::TooBig),
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
                    destination_mac: destination,
                };
                Ok((reason, action, sent))
            }
        }
    }
}

impl Turned {
    fn destination(&self) -> IpAddr {
        match self {
            Self::Packet(_, to) | Self::Error(_, to) => to.1.ip(),
            Self::Later(_, (_, destination)) => *destination,
            Self::Echo(part) => part.source,
        }
    }

    fn length(&self) -> u16 {
        match self {
            Self::Packet(read, _) => read.length,
            Self::Error(error, _) => error.message.length,
            Self::Later(part, _) | Self::Echo(part) => part.length,
        }
    }
}

impl Service {
    fn slot(
        &self,
        keys: &[u64; hash::KEYS],
        client: SocketAddr,
    ) -> Result<desired::Endpoint, Reason> {
        let port = client.port();
        let hash = match client.ip() {
            IpAddr::V4(v4) => hash::flow(keys, self.basis, V4::from_bytes(v4.octets()), port),
            IpAddr::V6(v6) => hash::flow(keys, self.basis, V6::from_bytes(v6.octets()), port),
        };
        let slot = hash::slot(hash, self.slots.len() as u32 - 1);
        self.slots
            .get(slot as usize)
            .copied()
            .ok_or(Reason::EmptySlot)
    }
}
