//! Which endpoint a packet's flow has. What is done once a flow and not once a packet is in `rare`.

use lb_common::{
    address::Address,
    flow::{Client, Flows, Found, State, find_by_client, find_by_endpoint, step},
    hash,
    limits::ENDPOINTS as IDS,
    parse::{Packet, Signals, UDP},
    phase::{Phase, Side},
    record::{Endpoint, Service, TableRef},
    rewrite::Tuple,
    verdict::Reason,
};

use crate::maps::{ENDPOINTS, FlowMap, SERVICES, SecretKeys, node_ports, table_word};
use crate::rare::{Given, Rare};

/// Endpoint ids.
const LANES: usize = IDS as usize;

/// Where a client's packet goes.
pub struct ToEndpoint {
    /// Endpoint id.
    pub id: u16,
    /// Its record.
    pub endpoint: &'static Endpoint,
    /// Node port of the flow.
    pub node_port: u16,
    /// Where its packets go, host order.
    pub port: u16,
    /// [`hash::flow`].
    pub hash: u64,
}

/// Where an endpoint's packet goes.
pub struct ToClient<A> {
    /// Endpoint id.
    pub id: u16,
    /// The flow's service: what the client knows.
    pub service: &'static Service,
    /// The port of it that the client talks to, host order.
    pub port: u16,
    /// The client.
    pub client: A,
    /// Its port, host order.
    pub client_port: u16,
    /// [`lb_common::rewrite::base`] of the endpoint.
    pub base: u16,
}

impl ToEndpoint {
    /// Its lane. A mask, which the verifier understands.
    #[inline(always)]
    pub const fn lane(&self) -> usize {
        self.id as usize % LANES
    }

    /// What the packet's addresses and ports become.
    #[inline(always)]
    pub fn tuple<A: Address>(&self) -> Tuple<A> {
        Tuple {
            source: A::from_wide(self.endpoint.source),
            destination: A::from_wide(self.endpoint.address),
            source_port: self.node_port,
            destination_port: self.port,
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
            source_port: self.port,
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
    let ports = (packet.source_port, packet.destination_port);
    let hash = hash::flow(&SecretKeys, service.basis, packet.source, ports);
    let key = packet.source.key(ports.0, ports.1);
    let (given, endpoint) = match find::<A>(key, hash, service_id, now) {
        Some((found, endpoint)) if !starts_anew(found.state, packet.signals) => {
            follow::<A>(&found, Side::Client, packet.signals, service, now);
            (Given::of(found.state), endpoint)
        }
        _ if packet.protocol != UDP && !packet.signals.opens() => {
            return Err(without_flow(service));
        }
        _ => {
            let given = A::admit(key, hash, service_id, packet.protocol)?;
            let endpoint = ENDPOINTS.get(given.endpoint as u32);
            (given, endpoint.ok_or(Reason::Inconsistent)?)
        }
    };
    Ok(ToEndpoint {
        id: given.endpoint,
        endpoint,
        node_port: given.node_port,
        port: endpoint.port_for(packet.destination_port),
        hash,
    })
}

/// A client's flow to a service, and its endpoint.
#[inline(always)]
fn find<A>(
    key: A::Key,
    hash: u64,
    service: u16,
    now: u32,
) -> Option<(Found<A::Key>, &'static Endpoint)>
where
    A: Client + Rare,
    FlowMap: Flows<A>,
{
    let found = find_by_client(&FlowMap, hash, key, now)?;
    let endpoint = ENDPOINTS.get(found.state.endpoint() as u32)?;
    if endpoint.service == service {
        return Some((found, endpoint));
    }
    // The same client's flow from the same port to the same one, at another virtual address; or it has
    // been this service's port only since.
    let state = A::find(key, hash, service, now)?;
    Some((
        Found { key, state },
        ENDPOINTS.get(state.endpoint() as u32)?,
    ))
}

/// As [`of_client`], of a flow there is, of which this packet tells nothing.
#[inline(always)]
pub fn known_of_client<A>(
    packet: &Packet<A>,
    (service_id, service): (u16, &'static Service),
    now: u32,
) -> Option<ToEndpoint>
where
    A: Client + Rare,
    FlowMap: Flows<A>,
{
    let ports = (packet.source_port, packet.destination_port);
    let hash = hash::flow(&SecretKeys, service.basis, packet.source, ports);
    let key = packet.source.key(ports.0, ports.1);
    let (found, endpoint) = find::<A>(key, hash, service_id, now)?;
    Some(ToEndpoint {
        id: found.state.endpoint(),
        endpoint,
        node_port: found.state.node_port(),
        port: endpoint.port_for(packet.destination_port),
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
    if !signals.opens() {
        return false;
    }
    matches!(state.progress().phase(), Phase::Closing | Phase::Closed)
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
    let (client, client_port, port) = A::from_key(found.key);
    let is_from_it = endpoint.address == packet.source.wide()
        && endpoint.source == packet.destination.wide()
        && endpoint.port_for(port) == packet.source_port
        && endpoint.protocol == packet.protocol;
    if !is_from_it {
        return None;
    }
    let service = SERVICES.get(endpoint.service as u32)?;
    let to = ToClient {
        id,
        service,
        port,
        client,
        client_port,
        base: endpoint.base as u16,
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
