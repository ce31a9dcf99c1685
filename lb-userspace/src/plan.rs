//! From what is in the maps to what is wanted: the map writes, in their order.
//!
//! Pure: [`Plan::between`] looks at an [`Image`] of the maps and makes a list of [`Write`]s; `dataplane`
//! carries them out. The order is such that after each write every packet still finds an endpoint:
//!
//! 1. records and pages that nobody names yet;
//! 2. one store for each service that makes its new table, or the service itself, visible;
//! 3. services that are gone.
//!
//! Endpoints that are wanted no more keep their records: flows may still be on them. They are freed by
//! a later plan, once no table names them and no live flow is on them.

mod delivery;
mod ids;
mod image;
mod numbers;
mod pages;
mod ranges;
mod rules;
mod seats;
mod shape;
mod slots;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use lb_common::hash::{self, KEYS};
use lb_common::limits;
use lb_common::record::{Endpoint, PortRanges, Service, TableRef};
use lb_common::{address, parse};

use crate::desired::{self, Desired, Ports, Protocol};
pub use delivery::Traits;
pub use image::{Image, pages_for, pages_of};
pub use numbers::Numbers;
pub use rules::{PrefixChange, Prefixes};
use seats::Seat;
pub use shape::places;
use shape::{Groups, Shape};
pub use slots::Slots;
pub use tables::{Built, Content, Tables};

/// One change of the maps. Each is seen whole by the kernel program, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Waits until no packet is under way that could have seen a table before the writes so far.
    Barrier,
    /// Names a backend, for the next daemon.
    Backend(u16, String),
    /// Fills a record that nothing names yet, and zeroes its counters.
    Endpoint(u16, Endpoint),
    /// Fills the pages of a table, from this one on, that no table in force lies on.
    Pages(u32, Slots),
    /// Makes a service visible, its table and all.
    AddService(u16, Service),
    /// Puts another table in force.
    Table(u16, TableRef),
    /// Changes a service's idle limits, in seconds of [`limits::SECOND_SHIFT`].
    Idle(u16, [u16; 4]),
    /// Changes what a service asks for of new flows.
    Traits(u16, Traits),
    /// Gives a rule a table, as [`TableRef::word`]; a rule that was none begins at its first turn.
    Rule(u32, u64),
    /// Changes which clients of a service have which rule. Each prefix is seen whole, or not at all.
    Prefixes(u16, Arc<PrefixChange>),
    /// Gives the number of a rule back.
    FreeRule(u32),
    /// Lets a service take no new flows; those it has go on.
    Close(u16),
    /// Leaves the port of a service to another that has it in a range.
    Hide(u16),
    /// Gives it back.
    Show(u16),
    /// Says which services have several ports of an address and protocol; with none, nothing of them is
    /// left. Seen whole.
    PortRanges([u64; 3], PortRanges),
    /// Makes a service invisible, which has no flows.
    RemoveService(u16),
    /// Gives an endpoint id back.
    FreeEndpoint(u16),
    /// Gives a backend's index back.
    FreeBackend(u16),
    /// Lets echo requests to an address be answered.
    AnswerEcho(EchoAddress),
    /// Lets them pass again.
    IgnoreEcho(EchoAddress),
}

/// Which kernel ids the wanted things have.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    /// Service id → index into the wanted services.
    pub services: BTreeMap<u16, usize>,
    /// Endpoints that are wanted; others are kept for their flows.
    pub endpoints: Numbers,
}

/// The way from an image to what is wanted.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What to write, in this order.
    pub writes: Vec<Write>,
    /// Who is who afterwards.
    pub ids: Ids,
    /// What was built for each wanted service, in their order.
    pub built: Vec<Built>,
    /// What [`Image::placed`] is once the writes are carried out.
    pub placed: BTreeMap<u16, Arc<Placed>>,
}

/// What is known of a service that was planned.
#[derive(Debug)]
pub struct Placed {
    seed: u64,
    service: desired::Service,
    endpoints: Arc<Placing>,
    built: Built,
}

/// The ids of a service's endpoints, and what its tables are built of.
#[derive(Debug)]
struct Placing {
    /// As they are listed, through all backends.
    ids: Vec<u16>,
    shape: Shape,
    groups: Groups,
}

impl Plan {
    /// Plans the way from `image` to `desired`. `on_flows` holds the endpoints that live flows are on.
    ///
    /// # Errors
    /// If there is no room for it, or a table cannot be built; says which service.
    pub fn between(
        image: &Image,
        desired: &Desired,
        on_flows: &Numbers,
        tables: &mut Tables,
    ) -> Result<Self> {
        let of = |service: &desired::Service| -> usize {
            let rules = service.selection.rules.iter();
            rules.map(|rule| rule.from.len()).sum()
        };
        let prefixes: usize = desired.services.iter().map(of).sum();
        if prefixes > limits::RULE_PREFIXES as usize {
            bail!(
                "{prefixes} prefixes in all rules; there is room for {}",
                limits::RULE_PREFIXES
            );
        }
        let mut planner = Planner {
            image: image.clone(),
            seed: desired.seed,
            keys: hash::keys(desired.seed),
            plan: Self::default(),
            taken: Numbers::default(),
            taken_rules: BTreeSet::new(),
        };
        let seats = planner.seats(desired, on_flows)?;
        let mut visible = Vec::new();
        for ((index, service), seat) in desired.services.iter().enumerate().zip(seats) {
            let last = planner
                .service(index, service, seat, tables)
                .with_context(|| format!("service {}", service.name))?;
            visible.extend(last);
        }
        for write in visible {
            planner.write(write);
        }
        planner.echo(desired);
        // Ranges come before the services whose ports they take over go.
        planner.port_ranges(desired)?;
        planner.hide_services(desired);
        planner.remove_services();
        Ok(planner.plan)
    }
}

/// A plan in the making: the image is kept as it will be after the writes so far.
struct Planner {
    image: Image,
    seed: u64,
    keys: [u64; KEYS],
    plan: Plan,
    /// Pages of tables that this plan puts in force later.
    taken: Numbers,
    /// Numbers of rules that this plan puts in force later.
    taken_rules: BTreeSet<u32>,
}

impl Planner {
    fn write(&mut self, write: Write) {
        self.image.write(&write);
        self.plan.writes.push(write);
    }

    /// Writes what a service needs, and returns the writes that make it visible.
    fn service(
        &mut self,
        index: usize,
        service: &desired::Service,
        seat: Seat,
        tables: &mut Tables,
    ) -> Result<Vec<Write>> {
        let Seat { id, is_new, .. } = seat;
        self.plan.ids.services.insert(id, index);
        let (placing, placed) = (seat.placing, seat.placed);
        self.plan.ids.endpoints.extend(placing.ids.iter().copied());
        if let Some(placed) = placed.filter(|it| it.service == *service) {
            self.plan.built.push(Built {
                moved: 0,
                ..placed.built.clone()
            });
            self.plan.placed.insert(id, placed);
            return Ok(Vec::new());
        }
        let endpoints = (&placing.shape, &placing.groups);
        let before = self
            .image
            .services
            .get(&id)
            .map_or(TableRef::NONE, |s| s.table);
        let built = tables.build(self.seed, service, endpoints, before, &self.image)?;
        let idle = seconds(&service.idle);
        let traits = Traits::of(service);
        let mut visible = Vec::new();
        let table = self.lay(before, &built.table.slots, built.base)?;
        let rules = self.rules(id, service, self.seed, endpoints, tables)?;
        if is_new {
            let identity = identity(service);
            visible.extend(rules);
            // The place is taken in the image; the kernel hears of it last.
            visible.push(Write::AddService(
                id,
                Service {
                    address: identity.address,
                    identity: identity.word,
                    basis: identity.basis(&self.keys),
                    table: table.word(),
                    idle,
                    ..traits.within(Service::EMPTY)
                },
            ));
        } else {
            if Service::is_hidden(self.image.services[&id].identity) {
                visible.push(Write::Show(id));
            }
            if self.image.services[&id].idle != idle {
                visible.push(Write::Idle(id, idle));
            }
            if table.word() != before {
                visible.push(Write::Table(id, table));
            }
            visible.extend(rules);
            // Rules are looked at once they are there.
            if traits.within(self.image.services[&id]) != self.image.services[&id] {
                visible.push(Write::Traits(id, traits));
            }
        }
        self.plan.built.push(built.clone());
        let placed = Placed {
            seed: self.seed,
            service: service.clone(),
            endpoints: placing,
            built,
        };
        self.plan.placed.insert(id, Arc::new(placed));
        Ok(visible)
    }

    /// Where a table with these slots lies: where it lies already, or on pages on which no table in force
    /// lies. `before` is what is in force in its place.
    fn lay(&mut self, before: u64, slots: &Slots, base: u16) -> Result<TableRef> {
        let table = |page| TableRef {
            page,
            mask: (slots.len() - 1) as u16,
            base,
        };
        let same = table(TableRef::from_word(before).page);
        let found = if same.word() == before && self.image.slots(before) == Some(slots) {
            return Ok(same);
        } else {
            self.image.find_table(slots)
        };
        let pages = |first| pages_for(first, slots.len());
        if let Some(first) = found {
            self.taken.insert_all(pages(first));
            return Ok(table(first));
        }
        let Some(room) = self.image.room(pages(0).end, &self.taken) else {
            bail!("no room for another table in the slot map; use fewer slots for some services")
        };
        if room.needs_barrier {
            self.write(Write::Barrier);
        }
        self.write(Write::Pages(room.first, slots.clone()));
        self.taken.insert_all(pages(room.first));
        Ok(table(room.first))
    }

    /// Answers echo requests to the addresses whose services say so, and to no others.
    fn echo(&mut self, desired: &Desired) {
        let services = desired.services.iter().filter(|service| service.echo);
        let wanted: BTreeSet<EchoAddress> = services
            .map(|service| echo_address(service.address.ip()))
            .collect();
        let answered = self.image.echo.clone();
        for &address in wanted.difference(&answered) {
            self.write(Write::AnswerEcho(address));
        }
        for &address in answered.difference(&wanted) {
            self.write(Write::IgnoreEcho(address));
        }
    }

    /// Services that are not wanted.
    fn gone(&self) -> impl Iterator<Item = (u16, &Service)> {
        let services = self.image.services.iter().map(|(&id, it)| (id, it));
        services.filter(|(id, _)| !self.plan.ids.services.contains_key(id))
    }

    /// Those that were closed before and have no flows left: no endpoint was kept for one.
    fn done(&self) -> BTreeSet<u16> {
        let closed = self.gone().filter(|(_, it)| it.table == TableRef::NONE);
        let mut done: BTreeSet<u16> = closed.map(|(id, _)| id).collect();
        if !done.is_empty() {
            let endpoints = self.image.endpoints.values();
            let with_flows: Numbers = endpoints.map(|it| it.service).collect();
            done.retain(|&id| !with_flows.contains(id));
        }
        done
    }

    /// Closes the services that are not wanted, and removes those that are done.
    fn remove_services(&mut self) {
        let done = self.done();
        let mut writes: Vec<Write> = done.iter().map(|&id| Write::RemoveService(id)).collect();
        for (id, service) in self.gone() {
            if service.table != TableRef::NONE {
                writes.push(Write::Close(id));
                writes.extend(self.no_rules(id));
            }
        }
        for write in writes {
            self.write(write);
        }
    }
}

/// Key of map `ECHO`: the wide address, and the family's byte.
pub type EchoAddress = [u64; 3];

/// The key of an address.
pub fn echo_address(address: IpAddr) -> EchoAddress {
    let (family, [head, tail]) = address::wide(address);
    [head, tail, family.into()]
}

/// What names a service in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Virtual address, wide.
    pub address: [u64; 2],
    /// [`Service::identity_of`].
    pub word: u64,
    protocol: u8,
    family: u8,
}

impl Identity {
    fn basis(&self, keys: &[u64; KEYS]) -> u64 {
        use address::Address as _;
        match self.family {
            address::IPV4 => {
                hash::service_basis(keys, address::V4::from_wide(self.address), self.protocol)
            }
            _ => hash::service_basis(keys, address::V6::from_wide(self.address), self.protocol),
        }
    }
}

/// What names a service in the kernel.
pub fn identity(service: &desired::Service) -> Identity {
    let (family, address) = address::wide(service.address.ip());
    let (port, protocol) = (service.address.port(), protocol_number(service.protocol));
    let word = match service.ports {
        Ports::One => Service::identity_of(family, port, protocol),
        Ports::To(_) => Service::identity_of_range(family, port, protocol),
    };
    Identity {
        address,
        word,
        protocol,
        family,
    }
}

/// The IP protocol number.
pub const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => parse::TCP,
        Protocol::Udp => parse::UDP,
    }
}

fn basis<A: address::Address>(keys: &[u64; KEYS], wide: [u64; 2], port: u16, protocol: u8) -> u64 {
    hash::endpoint_basis(keys, A::from_wide(wide), port, protocol)
}

/// The record of an endpoint, but for the ids in it.
fn record_of(
    service: &desired::Service,
    endpoint: &desired::Endpoint,
    keys: &[u64; KEYS],
) -> Endpoint {
    let (family, address) = address::wide(endpoint.address.ip());
    let (_, source) = address::wide(endpoint.source);
    let protocol = protocol_number(service.protocol);
    let port = endpoint.address.port();
    let basis = match family {
        address::IPV4 => basis::<address::V4>(keys, address, port, protocol),
        _ => basis::<address::V6>(keys, address, port, protocol),
    };
    let record = Endpoint {
        address,
        source,
        basis,
        port,
        protocol,
        family,
        ..Endpoint::FREE
    };
    delivery::towards(record, service)
}

/// Idle limits as the record holds them. A limit is rounded up and one second longer, because the first tick
/// has begun already and the end of a flow that is renewed all the time may be a second old; it is bounded by
/// the record's 16 bits.
fn seconds(idle: &desired::Idle) -> [u16; 4] {
    const SHIFT: u32 = limits::TICK_SHIFT + limits::SECOND_SHIFT;
    [idle.opening, idle.open, idle.closing, idle.udp].map(|limit| {
        let seconds = limit.as_nanos().div_ceil(1 << SHIFT) + 1;
        seconds.min(u128::from(limits::MAX_IDLE_SECONDS)) as u16
    })
}
