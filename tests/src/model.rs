//! What the kernel program should do with any frame, said the naive way: maps instead of tables,
//! slices instead of pointers, every checksum from full sums.
//!
//! Shared with the balancer are only the things both must agree on by definition: which slot a flow's
//! hash names, and which endpoint a slot names. The one thing that is the program's choice is a new
//! flow's node port: [`Model::confirm`] reads it from the program's output, checks that it was free,
//! and adopts it.

mod clamp;
mod decide;
mod fragment;
mod life;
mod message;
mod part;
mod read;
mod too_big;
mod turn;
mod wrap;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use anyhow::{Context as _, Result, ensure};
use lb_common::address::{V4, V6};
use lb_common::verdict::{Reason, Verdict};
use lb_common::{hash, record};
use lb_userspace::desired::{self, Ports, Protocol, Scheduling};
use lb_userspace::plan::places;
use lb_userspace::table::{self, SlotCount, Table};
use lb_userspace::weights::Weight;

use crate::packet::{Mac, TCP, UDP};
use clamp::clamp;
pub use decide::ONE_BUFFER;
use fragment::Fragments;
pub use life::Idle;
use life::Life;
use message::Error;
use part::Part;
pub use read::{Read, read};
use too_big::told_of;
pub use too_big::too_big;
use turn::turn;
pub use wrap::Carry;
use wrap::wrap;

/// Ticks between those in which a packet may have been seen, at most.
pub const MOST_LATER: u32 = 8;

/// Stands for a node port that the program has yet to tell.
const UNKNOWN: u16 = 0;

/// XDP actions.
pub const XDP_DROP: u32 = 1;
/// See [`XDP_DROP`].
pub const XDP_PASS: u32 = 2;
/// See [`XDP_DROP`].
pub const XDP_TX: u32 = 3;
/// See [`XDP_DROP`].
pub const XDP_REDIRECT: u32 = 4;

/// Where frames to a destination go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Out of an interface with these MAC addresses, in IP packets of at most `mtu` bytes.
    Out {
        /// Interface index.
        interface: u32,
        /// Source MAC.
        source: Mac,
        /// Destination MAC.
        destination: Mac,
        /// Bytes.
        mtu: u32,
    },
    /// The kernel knows the way but not yet the neighbour.
    Unresolved,
    /// There is none.
    None,
}

/// What the program should answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Whose counter goes up by one.
    pub reason: Reason,
    /// XDP action.
    pub action: u32,
    now: u32,
    before: Vec<u8>,
    /// The largest segment its TCP options may announce.
    most: Option<u16>,
    sent: Option<Sent>,
    effect: Effect,
    remembered: Remembered,
}

/// What is made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Turned {
    /// Of one with ports.
    Packet(Read, Goal),
    /// Of a later fragment: other addresses.
    Later(Part, (IpAddr, IpAddr)),
    /// Of an error: as of the packet that answers the quoted one.
    Error(Error, Turn),
    /// Of a later fragment, or an error, to an endpoint that gets it as it is.
    Carried(Part, Carry),
    /// Of an echo request: the reply.
    Echo(Part),
    /// The answer that so many bytes would have fitted.
    Told(u32),
}

/// What becomes of a frame that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    turned: Turned,
    /// Unchanged if not said.
    source_mac: Option<Mac>,
    destination_mac: Option<Mac>,
}

/// What a packet with ports becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// One with another source and destination.
    Turn(Turn),
    /// The same, one hop on, alone or in a tunnel.
    Carry(Carry),
}

/// What a packet changes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    Follow(Tuple, Life),
    Admit(Tuple, Flow),
}

/// What becomes of later fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Onward {
    /// Other addresses.
    Turn((IpAddr, IpAddr)),
    /// The same, one hop on.
    Carry(Carry),
}

/// A first fragment that was seen, and what becomes of later ones.
type Remembered = Option<(Fragments, Onward)>;

/// A flow's client side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// The client.
    pub client: SocketAddr,
    /// The service.
    pub service: SocketAddr,
    /// IP protocol number.
    pub protocol: u8,
}

/// A flow's endpoint side, where it is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Back {
    endpoint: SocketAddr,
    protocol: u8,
    node_port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    /// Place among the model's owners.
    owner: usize,
    endpoint: SocketAddr,
    source: IpAddr,
    /// Unknown while no packet of the flow was sent on, and of one that is carried.
    node_port: Option<u16>,
    /// Of a flow that is not translated.
    carry: Option<Carry>,
    life: Life,
}

/// A service that is there or has been, and as its flows' endpoints know it last.
#[derive(Debug)]
struct Owner {
    /// Its address with its lowest port, whether that is the only one, its protocol.
    name: (SocketAddr, bool, Protocol),
    mss: Option<u16>,
}

struct Service {
    /// Place among the model's owners.
    owner: usize,
    slots: Vec<desired::Endpoint>,
    /// Table of each rule.
    rules: Vec<Vec<desired::Endpoint>>,
    basis: u64,
    idle: Idle,
    wanted: desired::Service,
}

/// Service and rule that deal out flows.
type Turns = (String, Option<usize>);

/// The model: services, flows, routes.
pub struct Model {
    keys: [u64; hash::KEYS],
    seed: u64,
    ports: RangeInclusive<u16>,
    services: Vec<Service>,
    /// Also those that have left: their flows go on.
    owners: Vec<Owner>,
    /// Flows each service, or a rule of it, has dealt out.
    dealt: HashMap<Turns, usize>,
    flows: HashMap<Tuple, Flow>,
    backs: HashMap<Back, Tuple>,
    echo: HashSet<IpAddr>,
    /// What becomes of later fragments, and the tick of the first one.
    fragments: HashMap<Fragments, (Onward, u32)>,
    route: Box<dyn Fn(IpAddr) -> Route + Send>,
    /// What was asked last cannot be known.
    doubt: Cell<bool>,
}

impl Model {
    /// A model without services. `route` says where the kernel sends what.
    pub fn new(
        seed: u64,
        ports: RangeInclusive<u16>,
        route: impl Fn(IpAddr) -> Route + Send + 'static,
    ) -> Self {
        Self {
            keys: hash::keys(seed),
            seed,
            ports,
            services: Vec::new(),
            owners: Vec::new(),
            dealt: HashMap::new(),
            flows: HashMap::new(),
            backs: HashMap::new(),
            echo: HashSet::new(),
            fragments: HashMap::new(),
            route: Box::new(route),
            doubt: Cell::new(false),
        }
    }

    /// Follows what is wanted from now on. Flows stay.
    ///
    /// # Errors
    /// If a table cannot be built.
    pub fn apply(&mut self, services: &[desired::Service]) -> Result<()> {
        self.services.clear();
        let answering = services.iter().filter(|service| service.echo);
        self.echo = answering.map(|service| service.address.ip()).collect();
        for service in services {
            let protocol = protocol_number(service.protocol);
            let basis = match service.address.ip() {
                IpAddr::V4(v4) => {
                    let address = V4::from_bytes(v4.octets());
                    hash::service_basis(&self.keys, address, protocol)
                }
                IpAddr::V6(v6) => {
                    let address = V6::from_bytes(v6.octets());
                    hash::service_basis(&self.keys, address, protocol)
                }
            };
            let shares = service
                .backends
                .iter()
                .map(|it| it.weight)
                .collect::<Vec<_>>();
            let slots = self.slots(service, &shares, service.slots)?;
            let rules = service.selection.rules.iter();
            let rules = rules.map(|rule| self.slots(service, &rule.weights, rule.slots(service)));
            let rules = rules.collect::<Result<_>>()?;
            let idle = Idle::of(&service.idle);
            let wanted = service.clone();
            let known = Service {
                owner: self.owner(service),
                slots,
                rules,
                basis,
                idle,
                wanted,
            };
            self.services.push(known);
        }
        Ok(())
    }

    /// Where a service stands among the owners, who is told what it asks for now.
    fn owner(&mut self, service: &desired::Service) -> usize {
        let (name, mss) = (
            (
                service.address,
                service.ports == Ports::One,
                service.protocol,
            ),
            service.delivery.mss,
        );
        if let Some(place) = self.owners.iter().position(|it| it.name == name) {
            self.owners[place].mss = mss;
            return place;
        }
        self.owners.push(Owner { name, mss });
        self.owners.len() - 1
    }

    /// The service that a packet to this address is for: the one with this port alone, else with it in a range.
    fn service(&self, address: SocketAddr, protocol: u8) -> Option<&Service> {
        let services = self.services.iter();
        let has = |it: &&Service| {
            it.wanted.has(address) && protocol_number(it.wanted.protocol) == protocol
        };
        services
            .filter(has)
            .min_by_key(|it| it.wanted.ports != Ports::One)
    }

    fn slots(
        &self,
        service: &desired::Service,
        shares: &[Weight],
        slots: u32,
    ) -> Result<Vec<desired::Endpoint>> {
        if let (1, Some(at)) = (slots, shares.iter().position(|it| *it == Weight::ALL)) {
            return Ok(service.backends[at].endpoints.to_vec());
        }
        let mut all = Vec::new();
        let mut backends = Vec::new();
        for (backend, &weight) in service.backends.iter().zip(shares) {
            let mut endpoints = Vec::new();
            for (endpoint, address) in backend.endpoints.iter().zip(places(&backend.endpoints)) {
                all.push(*endpoint);
                endpoints.push(table::Endpoint {
                    address,
                    id: all.len() as u16,
                });
            }
            let name = backend.name.clone();
            backends.push(table::Backend {
                name,
                weight,
                endpoints,
            });
        }
        let slots = SlotCount::try_from(slots)?;
        let table = match service.selection.scheduling {
            Scheduling::Hash => Table::build(self.seed, slots, &backends)?,
            Scheduling::Exact => Table::deal(slots, &backends)?,
        };
        Ok(table
            .slots()
            .iter()
            .map(|&id| all[usize::from(id) - 1])
            .collect())
    }

    fn lives(&self, flow: &Flow, now: u32) -> bool {
        let lives = flow.life.is_live(now);
        self.doubt.set(self.doubt.get() | lives.is_none());
        lives.unwrap_or(false)
    }

    /// What is so if both are; in doubt if one is.
    fn surely(&self, one: bool, other: bool) -> bool {
        self.doubt.set(self.doubt.get() | (one != other));
        one && other
    }

    /// What the program should do with a frame that comes in at tick `now` on interface `ingress`; nothing if
    /// that cannot be known, because a flow may be over or not.
    #[must_use]
    pub fn predict(&self, frame: &[u8], ingress: u32, now: u32) -> Option<Prediction> {
        self.doubt.set(false);
        let (mut effect, mut remembered) = (Effect::Nothing, None);
        let decided = self
            .decide(frame, now, &mut effect, &mut remembered)
            .and_then(|turned| self.forward(frame, turned, ingress));
        let (reason, action, sent) = match decided {
            Ok((reason, action, sent)) => (reason, action, Some(sent)),
            Err(reason) if reason.verdict() == Verdict::Drop => (reason, XDP_DROP, None),
            Err(reason) => (reason, XDP_PASS, None),
        };
        let prediction = Prediction {
            reason,
            action,
            now,
            before: frame.to_owned(),
            most: self.most(frame, &effect),
            sent,
            effect,
            remembered,
        };
        (!self.doubt.get()).then_some(prediction)
    }

    /// Compares a prediction with what the program made of the frame, and lets it come true. Tells the
    /// flow whose node port is still unknown because its first packet got no further, if there is one.
    ///
    /// # Errors
    /// What differs.
    pub fn confirm(
        &mut self,
        prediction: &Prediction,
        action: u32,
        frame: &[u8],
    ) -> Result<Option<Tuple>> {
        ensure!(
            action == prediction.action,
            "action {action}, expected {}",
            prediction.action
        );
        let mut prediction = prediction.clone();
        let given = prediction.adopt_node_port(frame);
        prediction.adopt_endpoint_id(frame);
        // What is dropped may have been turned before.
        if action != XDP_DROP {
            ensure!(frame == prediction.frame(), "the frame differs");
        }
        if let Some((fragments, onward)) = prediction.remembered {
            self.fragments.insert(fragments, (onward, prediction.now));
        }
        match prediction.effect {
            Effect::Nothing => {}
            Effect::Follow(tuple, life) => {
                let flow = self
                    .flows
                    .get_mut(&tuple)
                    .context("a flow that was predicted")?;
                flow.life = life;
                flow.node_port = flow.node_port.or(given);
                let flow = *flow;
                if given.is_some() {
                    self.name_back(tuple, flow, prediction.now)?;
                }
            }
            Effect::Admit(tuple, flow) => {
                if let Some(service) = self.service(tuple.service, tuple.protocol) {
                    let rule = service.rule(tuple.client.ip());
                    let turns = (service.wanted.name.clone(), rule);
                    *self.dealt.entry(turns).or_default() += 1;
                }
                let flow = Flow {
                    node_port: given,
                    ..flow
                };
                if let Some(earlier) = self.flows.insert(tuple, flow)
                    && let Some(back) = earlier.back(tuple.protocol)
                    && self.backs.get(&back) == Some(&tuple)
                {
                    self.backs.remove(&back);
                }
                self.name_back(tuple, flow, prediction.now)?;
                let is_unknown = given.is_none() && flow.carry.is_none();
                return Ok(is_unknown.then_some(tuple));
            }
        }
        Ok(None)
    }

    /// The largest segment that a whole packet may announce: of a client's, one that opens; of an endpoint's,
    /// any with SYN.
    fn most(&self, frame: &[u8], effect: &Effect) -> Option<u16> {
        let (Effect::Follow(tuple, _) | Effect::Admit(tuple, _)) = effect else {
            return None;
        };
        let read = read(frame).ok()?;
        if read.destination == tuple.service {
            let service = self.service(tuple.service, tuple.protocol)?;
            return service.wanted.delivery.mss.filter(|_| read.opens());
        }
        // An endpoint's packet: its own service's, whoever has the port now.
        let flow = self.flows.get(tuple)?;
        self.owners[flow.owner].mss.filter(|_| read.has_syn())
    }

    /// Makes a flow findable by its node port, which no other live flow to the endpoint may have.
    fn name_back(&mut self, tuple: Tuple, flow: Flow, now: u32) -> Result<()> {
        let Some(back) = flow.back(tuple.protocol) else {
            return Ok(());
        };
        ensure!(
            self.ports.contains(&back.node_port),
            "node port {} given",
            back.node_port
        );
        if let Some(other) = self.backs.insert(back, tuple) {
            let is_live = self.flows[&other].life.is_live(now);
            ensure!(
                is_live != Some(true),
                "node port {} is that of {other:?}",
                back.node_port
            );
        }
        Ok(())
    }

    /// Forgets every flow.
    pub fn forget_flows(&mut self) {
        self.flows.clear();
        self.backs.clear();
        self.fragments.clear();
    }

    /// Flows the model has known, dead ones included.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.len()
    }
}

/// Source and destination a packet gets.
type Turn = (SocketAddr, SocketAddr);

impl Prediction {
    /// Whether nothing but the time differs, and that makes no difference.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        let this = Self {
            now: other.now,
            ..self.clone()
        };
        this == *other && self.remembered.is_none()
    }

    /// Takes the node port out of the program's output if it could not be predicted, and tells it.
    fn adopt_node_port(&mut self, out: &[u8]) -> Option<u16> {
        let Turned::Packet(read, Goal::Turn((source, _))) = &mut self.sent.as_mut()?.turned else {
            return None;
        };
        if source.port() != UNKNOWN {
            return None;
        }
        let at = read.transport;
        let node_port = u16::from_be_bytes([*out.get(at)?, *out.get(at + 1)?]);
        source.set_port(node_port);
        Some(node_port)
    }

    /// A packet that the kernel shall carry to a neighbour names the endpoint's id, which is the
    /// program's choice.
    fn adopt_endpoint_id(&mut self, out: &[u8]) {
        let mac = self
            .sent
            .as_mut()
            .and_then(|it| it.destination_mac.as_mut());
        if let (Some(mac), Some(id)) = (mac, out.get(4..6))
            && mac[..4] == record::HAND_OVER_TO
        {
            mac[4..].copy_from_slice(id);
        }
    }

    /// This or another one, if they come to the same but for the tick in which the flow ends.
    #[must_use]
    pub fn or(&self, other: &Self) -> Option<Self> {
        let effect = match (&self.effect, &other.effect) {
            (Effect::Nothing, Effect::Nothing) => Effect::Nothing,
            (Effect::Follow(tuple, one), Effect::Follow(_, other)) => {
                Effect::Follow(*tuple, one.or(other))
            }
            (Effect::Admit(tuple, flow), Effect::Admit(_, other)) => {
                let life = flow.life.or(&other.life);
                Effect::Admit(*tuple, Flow { life, ..*flow })
            }
            _ => return None,
        };
        let seen = |it: &Self| (it.reason, it.action, it.sent.clone(), it.remembered);
        (seen(self) == seen(other)).then_some(Self {
            effect,
            ..self.clone()
        })
    }

    /// The frame afterwards; of a new flow with 0 for its node port.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let Some(sent) = &self.sent else {
            return self.before.clone();
        };
        // Before anything else, so that the answer to a SYN which is too big quotes the lower size.
        let before = match (self.most, read(&self.before)) {
            (Some(most), Ok(read)) => clamp(&self.before, &read, most),
            _ => self.before.clone(),
        };
        let mut frame = match &sent.turned {
            Turned::Packet(read, Goal::Turn(to)) => turn(&before, read, *to),
            Turned::Packet(read, Goal::Carry(carry)) => {
                wrap(&before, read.network, read.length, carry)
            }
            Turned::Carried(
                Part {
                    network, length, ..
                },
                carry,
            ) => wrap(&before, *network, *length, carry),
            Turned::Later(part, addresses) => fragment::turn(&before, part, *addresses),
            Turned::Error(error, to) => message::turn_error(&before, error, *to),
            Turned::Echo(part) => message::turn_echo(&before, part),
            Turned::Told(mtu) => {
                let mut told = too_big(&before, *mtu);
                if sent.destination_mac.is_some() {
                    told.extend(&before[told_of(&before)..]);
                }
                told
            }
        };
        if let Some(destination) = sent.destination_mac {
            frame[..6].copy_from_slice(&destination);
        }
        if let Some(source) = sent.source_mac {
            frame[6..12].copy_from_slice(&source);
        }
        frame
    }
}

impl Flow {
    fn back(&self, protocol: u8) -> Option<Back> {
        let node_port = self.node_port?;
        Some(Back {
            endpoint: self.endpoint,
            protocol,
            node_port,
        })
    }
}

fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    }
}
