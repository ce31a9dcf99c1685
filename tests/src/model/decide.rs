//! The way of one frame: from what it says to where it goes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::address::{V4, V6};
use lb_common::verdict::Reason;
use lb_common::{hash, record};
use lb_userspace::desired::{self, Affinity, Scheduling};

use super::life::Life;
use super::read::{Read, read};
use super::{
    Back, Effect, Flow, Model, Route, Sent, Service, Tuple, Turn, UNKNOWN, XDP_PASS, XDP_REDIRECT,
    XDP_TX,
};
use crate::packet::{TCP, UDP};

impl Model {
    /// Where a frame goes. What it does to its flow stands in `effect`, also if it then gets no further.
    pub(super) fn decide(
        &self,
        frame: &[u8],
        now: u32,
        effect: &mut Effect,
    ) -> Result<(Read, Turn), Reason> {
        let read = read(frame)?;
        let to = match self.services.get(&(read.destination, read.protocol)) {
            Some(service) => self.to_endpoint(&read, service, now, effect)?,
            None => self.to_client(&read, now, effect)?,
        };
        Ok((read, to))
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
                let rule = service.rule(read.source.ip());
                let dealt = self.dealt.get(&(read.destination, read.protocol, rule));
                let dealt = dealt.copied().unwrap_or(0);
                let endpoint = service.select(&self.keys, read.source, dealt)?;
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
        let tuple = *self.backs.get(&back).ok_or(Reason::NotForService)?;
        let flow = &self.flows[&tuple];
        if !flow.life.is_live(now) || flow.source != read.destination.ip() {
            return Err(Reason::NotForService);
        }
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

    pub(super) fn forward(
        &self,
        read: Read,
        to: Turn,
        ingress: u32,
    ) -> Result<(Reason, u32, Sent), Reason> {
        match (self.route)(to.1.ip()) {
            Route::None => Err(Reason::NoRoute),
            Route::Unresolved => {
                let destination_mac = record::HAND_OVER_MAC;
                let sent = Sent {
                    read,
                    to,
                    source_mac: None,
                    destination_mac,
                };
                Ok((Reason::HandedOver, XDP_PASS, sent))
            }
            Route::Out { mtu, .. } if u32::from(read.length) > mtu => Err(Reason::TooBig),
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
                    read,
                    to,
                    source_mac: Some(source),
                    destination_mac: destination,
                };
                Ok((reason, action, sent))
            }
        }
    }
}

impl Service {
    /// The endpoint of a new flow; `dealt` flows were dealt out before it.
    fn select(
        &self,
        keys: &[u64; hash::KEYS],
        client: SocketAddr,
        dealt: usize,
    ) -> Result<desired::Endpoint, Reason> {
        let slots = match self.rule(client.ip()) {
            Some(rule) => &self.rules[rule],
            None => &self.slots,
        };
        let slot = match (self.selection.scheduling, self.selection.affinity) {
            (Scheduling::Exact, _) => dealt % slots.len(),
            (Scheduling::Hash, Affinity::Flow) => self.slot(keys, client, slots.len()),
            // As if the network itself were a client, with port 0.
            (Scheduling::Hash, Affinity::Client(bits)) => {
                let network = SocketAddr::new(network(client.ip(), bits), 0);
                self.slot(keys, network, slots.len())
            }
        };
        slots.get(slot).copied().ok_or(Reason::EmptySlot)
    }

    /// The rule of a client: of all that name it, the one with the longest prefix.
    pub(super) fn rule(&self, client: IpAddr) -> Option<usize> {
        let rules = self.selection.rules.iter().enumerate();
        let all = rules.flat_map(|(number, rule)| rule.from.iter().map(move |it| (it, number)));
        let of_client = all.filter(|(prefix, _)| prefix.contains(client));
        of_client
            .max_by_key(|(prefix, _)| prefix.length)
            .map(|(_, number)| number)
    }

    fn slot(&self, keys: &[u64; hash::KEYS], client: SocketAddr, slots: usize) -> usize {
        let port = client.port();
        let hash = match client.ip() {
            IpAddr::V4(v4) => hash::flow(keys, self.basis, V4::from_bytes(v4.octets()), port),
            IpAddr::V6(v6) => hash::flow(keys, self.basis, V6::from_bytes(v6.octets()), port),
        };
        hash::slot(hash, slots as u32 - 1) as usize
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
