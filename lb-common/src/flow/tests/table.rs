//! A flow table on the heap, with numbered clients, services and endpoints.

use core::mem::MaybeUninit;

use crate::address::{V4, V6};
use crate::flow::*;
use crate::hash::{self, KEYS};
use crate::parse::Signals;
use crate::phase::{Ending, Phase, Progress, Side};
use crate::verdict::Reason;

/// Idle limits: TCP opening, open, closing; UDP.
pub const IDLE: [u16; 4] = [30, 3600, 10, 30];
/// The same in ticks.
pub const LIMITS: [u32; 4] = [30 << 4, 3600 << 4, 10 << 4, 30 << 4];
/// Endpoints of a service are 1..=ENDPOINTS. Above are those that come later, at the same addresses.
pub const ENDPOINTS: u16 = 8;
/// The endpoint that packets reach by the port they came for, at an address of its own.
pub const KEEPING: u16 = 2 * ENDPOINTS + 1;
/// Service ids are 0..SERVICES. Those after each other have another address, those after the next another port.
pub const SERVICES: u16 = 4;
/// Where endpoints listen.
const ENDPOINT_PORT: u16 = 8080;
/// Endpoint ids of a service.
const IDS: u16 = 32;

/// The node ports unless a test says otherwise.
pub const PORTS: NodePorts = NodePorts {
    first: 10_240,
    count: 19_760,
};

/// A family whose addresses can be numbered.
pub trait Numbered: Client {
    fn number(number: u16) -> Self;
}

impl Numbered for V4 {
    fn number(number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        Self::from_bytes([10, 64, high, low])
    }
}

impl Numbered for V6 {
    fn number(number: u16) -> Self {
        Self([0x64fd, u64::from(number) << 48])
    }
}

/// The table of one family.
pub struct Table<A: Client> {
    buckets: Vec<Bucket<A::Key>>,
    keys: [u64; KEYS],
    ports: NodePorts,
    /// Endpoint ids that were given back, after which a record says nothing.
    freed: Vec<u16>,
}

/// Who opens a flow, and to which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opener {
    pub client: u16,
    pub port: u16,
    pub service: u16,
}

impl Opener {
    /// The `number`-th client, by one port to one service.
    pub fn number(number: u16) -> Self {
        Self {
            client: number,
            port: 40_000,
            service: 1,
        }
    }
}

/// What both sides know of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    pub endpoint: u16,
    pub node_port: u16,
}

impl<A: Numbered> Table<A> {
    /// A table of `buckets` (a power of two) that gives out the node ports `ports`.
    pub fn new(buckets: usize, ports: NodePorts) -> Self {
        assert!(buckets.is_power_of_two());
        // SAFETY: an entry is made of atomic words, for which zero is a value: the empty entry.
        let empty = || unsafe { MaybeUninit::zeroed().assume_init() };
        let buckets = (0..buckets).map(|_| empty()).collect();
        Self {
            buckets,
            keys: hash::keys(7),
            ports,
            freed: Vec::new(),
        }
    }

    /// A table with room and ports for whatever a test does.
    pub fn roomy() -> Self {
        Self::new(256, PORTS)
    }

    /// Gives an endpoint's id back. The address may be another id's from now on.
    pub fn free(&mut self, endpoint: u16) {
        self.freed.push(endpoint);
    }

    pub fn key(&self, opener: Opener) -> A::Key {
        A::number(opener.client).key(opener.port, opener.virtual_port())
    }

    /// Admits a TCP flow to an endpoint of its own choosing, as its first SYN does.
    pub fn open(&self, opener: Opener, endpoint: u16, now: u32) -> Result<u16, Reason> {
        self.admit(opener, endpoint, Progress::TCP, now)
    }

    pub fn admit(
        &self,
        opener: Opener,
        endpoint: u16,
        progress: Progress,
        now: u32,
    ) -> Result<u16, Reason> {
        let hash = self.hash(opener);
        let basis = self.basis(endpoint, opener.virtual_port());
        let idle_ticks = progress.idle_ticks(IDLE);
        let arrival = Arrival { now, idle_ticks };
        let node_port = choose(self, hash, basis, self.ports, arrival)?;
        let entrant = Entrant {
            endpoint: id(endpoint, opener.service),
            node_port,
            is_one_sided: false,
            progress,
            idle_ticks,
        };
        let key = self.key(opener);
        forget_earlier(self, key, hash, opener.service);
        match enter(self, &self.keys, (key, hash), entrant, now) {
            true => Ok(node_port),
            false => Err(Reason::FlowTableFull),
        }
    }

    /// Enters a TCP flow whose endpoint answers past the node.
    pub fn open_one_sided(&self, opener: Opener, endpoint: u16, now: u32) -> bool {
        let entrant = Entrant {
            endpoint: id(endpoint, opener.service),
            node_port: opener.virtual_port(),
            is_one_sided: true,
            progress: Progress::TCP,
            idle_ticks: Progress::TCP.idle_ticks(IDLE),
        };
        let (key, hash) = (self.key(opener), self.hash(opener));
        forget_earlier(self, key, hash, opener.service);
        enter(self, &self.keys, (key, hash), entrant, now)
    }

    /// Admits a flow and brings it to its open phase.
    pub fn establish(&self, opener: Opener, endpoint: u16, now: u32) -> Result<u16, Reason> {
        let node_port = self.open(opener, endpoint, now)?;
        self.after_client(opener, Signals::NONE, now);
        assert_eq!(self.phase(opener, now), Some(Phase::Open));
        Ok(node_port)
    }

    /// A client's packet of a known flow: what became of the flow.
    pub fn after_client(&self, opener: Opener, signals: Signals, now: u32) -> Option<Ending> {
        let found = self.of_client(opener, now)?;
        let step = step(found.state, Side::Client, signals, IDLE, now)?;
        advance(self, &self.keys, found.key, found.state, step)
    }

    /// An endpoint's packet of a known flow: what became of the flow.
    pub fn after_endpoint(&self, given: Given, signals: Signals, now: u32) -> Option<Ending> {
        let found = self.of_endpoint(given, now)?;
        let step = step(found.state, Side::Endpoint, signals, IDLE, now)?;
        advance(self, &self.keys, found.key, found.state, step)
    }

    /// The flow as the client's packets find it.
    pub fn of_client(&self, opener: Opener, now: u32) -> Option<Found<A::Key>> {
        let (hash, key) = (self.hash(opener), self.key(opener));
        let found = find_by_client(self, hash, key, now)?;
        if service_of(found.state.endpoint()) == opener.service {
            return Some(found);
        }
        find_to_service(self, hash, key, opener.service, now)
    }

    /// The flow of a client's packet that is for another service with the opener's port.
    pub fn to_service(&self, opener: Opener, service: u16, now: u32) -> Option<Found<A::Key>> {
        find_to_service(self, self.hash(opener), self.key(opener), service, now)
    }

    /// The flow as the endpoint's packets find it.
    pub fn of_endpoint(&self, given: Given, now: u32) -> Option<Found<A::Key>> {
        self.of_endpoint_at(given, ENDPOINT_PORT, now)
    }

    /// The flow as the endpoint's packets from a port find it.
    pub fn of_endpoint_at(&self, given: Given, port: u16, now: u32) -> Option<Found<A::Key>> {
        let basis = self.basis(given.endpoint, port);
        let hash = hash::reply(&self.keys, basis, given.node_port);
        find_by_endpoint(self, hash, given.node_port, now)
            .filter(|found| Given::of(found.state).endpoint == given.endpoint)
    }

    /// Takes the flow out, as if its packet came from `side`.
    pub fn end(&self, opener: Opener, side: Side, now: u32) {
        let found = self.of_client(opener, now).expect("a live flow");
        let given = Given::of(found.state);
        let state = match side {
            Side::Client => found.state,
            Side::Endpoint => {
                self.of_endpoint(given, now)
                    .expect("its endpoint entry")
                    .state
            }
        };
        end(self, &self.keys, found.key, state);
    }

    pub fn given(&self, opener: Opener, now: u32) -> Option<Given> {
        self.of_client(opener, now)
            .map(|found| Given::of(found.state))
    }

    pub fn phase(&self, opener: Opener, now: u32) -> Option<Phase> {
        self.of_client(opener, now)
            .map(|found| found.state.progress().phase())
    }

    /// Found from both sides, with equal words.
    pub fn is_whole(&self, opener: Opener, now: u32) -> bool {
        let Some(found) = self.of_client(opener, now) else {
            return false;
        };
        let Some(back) = self.of_endpoint(Given::of(found.state), now) else {
            return false;
        };
        back.key == found.key
            && Given::of(back.state) == Given::of(found.state)
            && back.state.progress() == found.state.progress()
            && back.state.remaining(now) == found.state.remaining(now)
    }

    /// Entries that are not empty, live or not.
    pub fn used(&self) -> usize {
        let entries = self.buckets.iter().flat_map(|bucket| &bucket.entries);
        entries
            .filter(|entry| entry.state() != State::EMPTY)
            .count()
    }

    fn hash(&self, opener: Opener) -> u64 {
        let basis = service_basis::<A>(&self.keys, opener.service);
        let ports = (opener.port, opener.virtual_port());
        hash::flow(&self.keys, basis, A::number(opener.client), ports)
    }

    /// Of flows to a virtual port.
    fn basis(&self, endpoint: u16, port: u16) -> u64 {
        if self.freed.contains(&endpoint) {
            return 0;
        }
        if endpoint == KEEPING {
            return hash::endpoint_basis(&self.keys, A::number(2000), port, 6);
        }
        let endpoint = (endpoint - 1) % ENDPOINTS;
        hash::endpoint_basis(&self.keys, A::number(1000 + endpoint), ENDPOINT_PORT, 6)
    }
}

impl Opener {
    /// The port of the service.
    pub fn virtual_port(self) -> u16 {
        9000 + self.service / 2
    }
}

impl Given {
    pub fn of(state: State) -> Self {
        Self {
            endpoint: state.endpoint() % IDS,
            node_port: state.node_port(),
        }
    }
}

/// The id of a service's endpoint.
fn id(endpoint: u16, service: u16) -> u16 {
    service * IDS + endpoint
}

fn service_of(id: u16) -> u16 {
    id / IDS
}

/// Whose address and protocol it has: two services have the same.
fn address_of(service: u16) -> u16 {
    service % 2
}

fn service_basis<A: Numbered>(keys: &[u64; KEYS], service: u16) -> u64 {
    hash::service_basis(keys, A::number(3000 + address_of(service)), 6)
}

impl<A: Numbered> Flows<A> for Table<A> {
    fn bucket(&self, number: u32) -> Option<&Bucket<A::Key>> {
        self.buckets.get(number as usize & (self.buckets.len() - 1))
    }

    fn is_to(&self, endpoint: u16, service: u16) -> bool {
        address_of(service_of(endpoint)) == address_of(service)
    }

    fn service_basis(&self, endpoint: u16) -> Option<u64> {
        let service = service_of(endpoint);
        (service < SERVICES).then(|| service_basis::<A>(&self.keys, service))
    }

    fn endpoint_basis(&self, endpoint: u16, port: u16) -> Option<u64> {
        (1..=KEEPING)
            .contains(&(endpoint % IDS))
            .then(|| self.basis(endpoint % IDS, port))
    }
}

impl<A: Numbered> Steps<A> for Table<A> {
    fn offer(&self, flow: u64, endpoint_basis: u64, step: u32, arrival: Arrival) -> Offer {
        let of = (flow, endpoint_basis);
        offer(self, &self.keys, of, (self.ports, step), arrival)
    }

    fn probe(&self, hash: u64, node_port: u16, arrival: Arrival) -> Probe {
        probe(self, hash, node_port, arrival)
    }

    fn forget_partner(&self, key: A::Key, state: State) {
        forget_partner(self, &self.keys, key, state);
    }
}
