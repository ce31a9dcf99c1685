//! Which endpoint a packet's flow has. What is done once a flow and not once a packet is in `rare`.

use lb_common::{
    address::Address,
    flow::{Client, Flows, Found, State, find_by_client, find_by_endpoint, step},
    hash,
    parse::{Packet, Signals, UDP},
    phase::{Phase, Side},
    record::{Endpoint, Service, TableRef},
    rewrite::Tuple,
    verdict::Reason,
};

use crate::maps::{ENDPOINTS, FlowMap, SERVICES, SecretKeys, node_ports, table_word};
use crate::rare::{Given, Rare};

/// Where a client's packet goes.
pub struct ToEndpoint {
    /// Endpoint id.
    pub id: u16,
    /// Its record.
    pub endpoint: &'static Endpoint,
    /// Node port of the flow.
    pub node_port: u16,
    /// [`hash::flow`].
    pub hash: u64,
}

/// Where an endpoint's packet goes.
pub struct ToClient<A> {
    /// Endpoint id.
    pub id: u16,
    /// The flow's service: what the client knows.
    pub service: &'static Service,
    /// The client.
    pub client: A,
    /// Its port, host order.
    pub client_port: u16,
}

impl ToEndpoint {
    /// What the packet's addresses and ports become.
    #[inline(always)]
    pub fn tuple<A: Address>(&self) -> Tuple<A> {
        Tuple {
            source: A::from_wide(self.endpoint.source),
            destination: A::from_wide(self.endpoint.address),
            source_port: self.node_port,
            destination_port: self.endpoint.port,
        }
    }
}

impl<A: Address> ToClient<A> {
    /// What the packet's addresses and ports become.
    #[inline(always)]
    pub fn tuple(&self) -> Tuple<A> {
        Tuple {
            source: A::from_wide(self.service.address),
            destination: self.client,
            source_port: self.service.port(),
            destination_port: self.client_port,
        }
    }
}

/// The endpoint of a client's packet: its flow's, or a new flow's choice.
#[inline(always)]
pub fn of_client<A>(
    packet: &Packet<A>,
    (service_id, service): (u16, &'static Service),
    now: u32,
) -> Result<ToEndpoint, Reason>
where
    A: Client + Rare,
    FlowMap: Flows<A>,
{
    let hash = hash::flow(
        &SecretKeys,
        service.basis,
        packet.source,
        packet.source_port,
    );
    let key = packet.source.key(packet.source_port, service_id);
    let given = match find_by_client(&FlowMap, hash, key, now) {
        Some(found) if !starts_anew(found.state, packet.signals) => {
            follow::<A>(&found, Side::Client, packet.signals, service, now);
            Given {
                endpoint: found.state.endpoint(),
                node_port: found.state.node_port(),
            }
        }
        _ if packet.protocol != UDP && !packet.signals.has(Signals::SYN) => {
            return Err(without_flow(service));
        }
        _ => A::admit(key, hash, packet.protocol)?,
    };
    let endpoint = ENDPOINTS
        .get(given.endpoint as u32)
        .ok_or(Reason::Inconsistent)?;
    Ok(ToEndpoint {
        id: given.endpoint,
        endpoint,
        node_port: given.node_port,
        hash,
    })
}

/// As [`of_client`], of a flow there is, of which this packet tells nothing.
#[inline(always)]
pub fn known_of_client<A>(
    packet: &Packet<A>,
    (service_id, service): (u16, &'static Service),
    now: u32,
) -> Option<ToEndpoint>
where
    A: Client,
    FlowMap: Flows<A>,
{
    let hash = hash::flow(
        &SecretKeys,
        service.basis,
        packet.source,
        packet.source_port,
    );
    let key = packet.source.key(packet.source_port, service_id);
    let found = find_by_client(&FlowMap, hash, key, now)?;
    let id = found.state.endpoint();
    Some(ToEndpoint {
        id,
        endpoint: ENDPOINTS.get(id as u32)?,
        node_port: found.state.node_port(),
        hash,
    })
}

/// Why a packet goes nowhere that is of no flow and opens none.
#[inline(always)]
fn without_flow(service: &Service) -> Reason {
    if table_word(service) == TableRef::NONE {
        return Reason::NotForService;
    }
    Reason::NoFlow
}

/// A client opens again with a tuple whose flow is ending: port reuse.
#[inline(always)]
fn starts_anew(state: State, signals: Signals) -> bool {
    let phase = state.progress().phase();
    signals.has(Signals::SYN) && matches!(phase, Phase::Closing | Phase::Closed)
}

/// The client of an endpoint's packet; nothing if no flow has this endpoint and node port.
#[inline(always)]
pub fn of_endpoint<A>(packet: &Packet<A>, now: u32) -> Option<ToClient<A>>
where
    A: Client + Rare,
    FlowMap: Flows<A>,
{
    let (found, to) = known_of_endpoint(packet, now)?;
    follow::<A>(&found, Side::Endpoint, packet.signals, to.service, now);
    Some(to)
}

/// As [`of_endpoint`], of a packet that tells nothing of its flow. The flow, too.
#[inline(always)]
pub fn known_of_endpoint<A>(packet: &Packet<A>, now: u32) -> Option<(Found<A::Key>, ToClient<A>)>
where
    A: Client,
    FlowMap: Flows<A>,
{
    let ports = node_ports();
    if packet.destination_port.wrapping_sub(ports.first) >= ports.count {
        return None;
    }
    let basis = hash::endpoint_basis(
        &SecretKeys,
        packet.source,
        packet.source_port,
        packet.protocol,
    );
    let hash = hash::reply(&SecretKeys, basis, packet.destination_port);
    let found = find_by_endpoint(&FlowMap, hash, packet.destination_port, now)?;
    let id = found.state.endpoint();
    let endpoint = ENDPOINTS.get(id as u32)?;
    let is_from_it = endpoint.address == packet.source.wide()
        && endpoint.source == packet.destination.wide()
        && endpoint.port == packet.source_port
        && endpoint.protocol == packet.protocol;
    if !is_from_it {
        return None;
    }
    let (client, client_port, service) = A::from_key(found.key);
    let service = SERVICES.get(service as u32)?;
    let to = ToClient {
        id,
        service,
        client,
        client_port,
    };
    Some((found, to))
}

/// Notes one packet of a known flow.
#[inline(always)]
fn follow<A: Client + Rare>(
    found: &Found<A::Key>,
    side: Side,
    signals: Signals,
    service: &Service,
    now: u32,
) {
    if let Some(step) = step(found.state, side, signals, service.idle, now) {
        A::advance(found.key, found.state, step);
    }
}
