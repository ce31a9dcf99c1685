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
mod image;
mod pages;
mod ranges;
mod rules;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use lb_common::hash::{self, KEYS};
use lb_common::limits;
use lb_common::record::{Endpoint, PortRanges, Service, TableRef};
use lb_common::{address, parse};

use crate::desired::{self, Desired, Ports, Protocol};
pub use delivery::Traits;
pub use image::{Image, Page, Slots, pages_of};
pub use rules::{PrefixChange, Prefixes};
pub use tables::{Built, Tables};

/// One change of the maps. Each is seen whole by the kernel program, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Waits until no packet is under way that could have seen a table before the writes so far.
    Barrier,
    /// Names a backend, for the next daemon.
    Backend(u16, String),
    /// Fills a record that nothing names yet, and zeroes its counters.
    Endpoint(u16, Endpoint),
    /// Fills a page that no table in force lies on.
    Page(u32, Page),
    /// Makes a service visible, its table and all.
    AddService(u16, Service),
    /// Puts another table in force.
    Table(u16, TableRef),
    /// Changes a service's idle limits, in ticks.
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Service id → index into the wanted services.
    pub services: BTreeMap<u16, usize>,
    /// Endpoints that are wanted; others are kept for their flows.
    pub endpoints: BTreeSet<u16>,
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
}

impl Plan {
    /// Plans the way from `image` to `desired`. `on_flows` holds the endpoints that live flows are on.
    ///
    /// # Errors
    /// If there is no room for it, or a table cannot be built; says which service.
    pub fn between(
        image: &Image,
        desired: &Desired,
        on_flows: &BTreeSet<u16>,
        tables: &mut Tables,
    ) -> Result<Self> {
        let mut planner = Planner {
            image: image.clone(),
            keys: hash::keys(desired.seed),
            plan: Self::default(),
            known: HashMap::new(),
            next_id: 1,
            taken: BTreeSet::new(),
            taken_rules: BTreeSet::new(),
        };
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
        planner.free(desired, on_flows);
        planner.known = planner
            .image
            .endpoints
            .iter()
            .map(|(&id, &record)| (record, id))
            .collect();
        let mut visible = Vec::new();
        for (index, service) in desired.services.iter().enumerate() {
            let last = planner
                .service(index, service, desired.seed, tables)
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
    keys: [u64; KEYS],
    plan: Plan,
    /// Ids of the records there are.
    known: HashMap<Endpoint, u16>,
    /// No id below is free.
    next_id: u16,
    /// Pages of tables that this plan puts in force later.
    taken: BTreeSet<u32>,
    /// Numbers of rules that this plan puts in force later.
    taken_rules: BTreeSet<u32>,
}

impl Planner {
    fn write(&mut self, write: Write) {
        self.image.write(&write);
        self.plan.writes.push(write);
    }

    /// Frees what an earlier plan left for its flows, and what nothing names any more.
    fn free(&mut self, desired: &Desired, on_flows: &BTreeSet<u16>) {
        let (named, keys) = (self.image.named_endpoints(), self.keys);
        let wanted = |image: &Image, record: &Endpoint| {
            desired.services.iter().any(|service| {
                let place = image.find_service(&identity(service));
                let backend = image.backends.get(&record.backend);
                place == Some(record.service)
                    && service.backends.iter().any(|b| {
                        Some(&b.name) == backend
                            && b.endpoints
                                .iter()
                                .any(|e| is_record_of(record, service, e, &keys))
                    })
            })
        };
        let freed: Vec<u16> = self
            .image
            .endpoints
            .iter()
            .filter(|(id, record)| {
                !named.contains(id) && !on_flows.contains(id) && !wanted(&self.image, record)
            })
            .map(|(&id, _)| id)
            .collect();
        for id in freed {
            self.write(Write::FreeEndpoint(id));
        }
        let used: BTreeSet<u16> = self.image.endpoints.values().map(|e| e.backend).collect();
        let unused: Vec<u16> = self
            .image
            .backends
            .keys()
            .copied()
            .filter(|index| !used.contains(index))
            .collect();
        for index in unused {
            self.write(Write::FreeBackend(index));
        }
    }

    /// Writes what a service needs, and returns the writes that make it visible.
    fn service(
        &mut self,
        index: usize,
        service: &desired::Service,
        seed: u64,
        tables: &mut Tables,
    ) -> Result<Vec<Write>> {
        let identity = identity(service);
        let found = self.image.find_service(&identity);
        let id = match found {
            Some(id) => id,
            None => self.image.free_place(&self.keys, &identity).context(
                "no place in the service map: too many services whose hashes are close; \
                 remove a service",
            )?,
        };
        let mut ids = Vec::new();
        for backend in &service.backends {
            for endpoint in &backend.endpoints {
                ids.push(self.endpoint(id, service, &backend.name, endpoint)?);
            }
        }
        self.plan.ids.services.insert(id, index);
        self.plan.ids.endpoints.extend(&ids);

        let before = found.and_then(|id| self.image.table(id));
        let built = tables.build(seed, service, &ids, before.as_ref(), &self.image)?;
        let idle = ticks(&service.idle);
        let traits = Traits::of(service);
        let mut visible = Vec::new();
        let table = match before {
            Some(slots) if slots == built.slots => None,
            _ => Some(self.pages(&built.slots)?),
        };
        let rules = self.rules(id, service, seed, &ids, tables)?;
        match (found, table) {
            (None, table) => {
                let record = Service {
                    address: identity.address,
                    identity: identity.word,
                    basis: identity.basis(&self.keys),
                    table: table.context("a new service without a table")?.word(),
                    idle,
                    ..traits.within(Service::EMPTY)
                };
                // The place is taken in the image, so that the next service finds another; the kernel
                // hears of it last.
                self.image.reserve(id, record);
                visible.extend(rules);
                visible.push(Write::AddService(id, record));
            }
            (Some(_), table) => {
                if Service::is_hidden(self.image.services[&id].identity) {
                    visible.push(Write::Show(id));
                }
                if self.image.services[&id].idle != idle {
                    visible.push(Write::Idle(id, idle));
                }
                visible.extend(table.map(|table| Write::Table(id, table)));
                visible.extend(rules);
                // Rules are looked at once they are there.
                if traits.within(self.image.services[&id]) != self.image.services[&id] {
                    visible.push(Write::Traits(id, traits));
                }
            }
        }
        self.plan.built.push(built);
        Ok(visible)
    }

    /// The id of an endpoint: the one it has, or a new one.
    fn endpoint(
        &mut self,
        service_id: u16,
        service: &desired::Service,
        backend: &str,
        endpoint: &desired::Endpoint,
    ) -> Result<u16> {
        let backend = self.backend(backend)?;
        let record = Endpoint {
            service: service_id,
            backend,
            ..record_of(service, endpoint, &self.keys)
        };
        if let Some(&id) = self.known.get(&record) {
            return Ok(id);
        }
        let id = (self.next_id..limits::ENDPOINTS as u16)
            .find(|id| !self.image.endpoints.contains_key(id))
            .with_context(|| {
                format!(
                    "all {} endpoint ids are taken; remove endpoints",
                    limits::ENDPOINTS - 1
                )
            })?;
        self.next_id = id + 1;
        self.known.insert(record, id);
        self.write(Write::Endpoint(id, record));
        Ok(id)
    }

    fn backend(&mut self, name: &str) -> Result<u16> {
        if let Some((&index, _)) = self.image.backends.iter().find(|(_, n)| *n == name) {
            return Ok(index);
        }
        let index = (0..limits::ENDPOINTS as u16)
            .find(|index| !self.image.backends.contains_key(index))
            .context("too many backends")?;
        self.write(Write::Backend(index, name.to_owned()));
        Ok(index)
    }

    /// Writes a table where no table in force lies.
    fn pages(&mut self, slots: &[u16]) -> Result<TableRef> {
        let count = slots.len().div_ceil(limits::PAGE_SLOTS as usize) as u32;
        let Some(room) = self.image.room(count, &self.taken) else {
            bail!("no room for another table in the slot map; use fewer slots for some services")
        };
        if room.needs_barrier {
            self.write(Write::Barrier);
        }
        for (page, slots) in (room.first..).zip(slots.chunks(limits::PAGE_SLOTS as usize)) {
            self.write(Write::Page(page, slots.into()));
            self.taken.insert(page);
        }
        Ok(TableRef {
            page: room.first,
            mask: slots.len() as u32 - 1,
        })
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
        let with_flows: BTreeSet<u16> = self.image.endpoints.values().map(|e| e.service).collect();
        let closed = self.gone().filter(|(_, it)| it.table == TableRef::NONE);
        closed
            .map(|(id, _)| id)
            .filter(|id| !with_flows.contains(id))
            .collect()
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

fn is_record_of(
    record: &Endpoint,
    service: &desired::Service,
    endpoint: &desired::Endpoint,
    keys: &[u64; KEYS],
) -> bool {
    let wanted = Endpoint {
        service: record.service,
        backend: record.backend,
        ..record_of(service, endpoint, keys)
    };
    *record == wanted
}

/// Idle limits as the record holds them. A limit is rounded up and one tick longer, because the first
/// tick has begun already; it is bounded by the record's 16 bits.
fn ticks(idle: &desired::Idle) -> [u16; 4] {
    [idle.opening, idle.open, idle.closing, idle.udp].map(|limit| {
        let ticks = limit.as_nanos().div_ceil(1 << limits::TICK_SHIFT) + 1;
        ticks.min(u128::from(limits::MAX_IDLE_TICKS)) as u16
    })
}
