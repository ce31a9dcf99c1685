//! What is in the maps, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_common::hash::{self, KEYS};
use lb_common::limits::{PAGE_SLOTS, SERVICE_PROBES, SERVICES};
use lb_common::record::{Endpoint, PortRanges, Service, TableRef};

use super::pages::{Pages, Room};
use super::{EchoAddress, Identity, Prefixes, Write};

/// The slots of one table.
pub type Slots = Vec<u16>;

/// A page's slots; shared, because images are copied.
pub type Page = Arc<[u16]>;

/// The content of the maps that the daemon writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Service id → record.
    pub services: BTreeMap<u16, Service>,
    /// Endpoint id → record.
    pub endpoints: BTreeMap<u16, Endpoint>,
    /// Backend index → name.
    pub backends: BTreeMap<u16, String>,
    /// Page → slots, of the tables in force.
    pub pages: BTreeMap<u32, Page>,
    /// Address, family and protocol → services with several ports.
    pub port_ranges: BTreeMap<[u64; 3], PortRanges>,
    /// Rule → its table, as in a service's record.
    pub rule_tables: BTreeMap<u32, u64>,
    /// Service id → its prefixes. Shared, because images are copied and there may be a million.
    pub prefixes: BTreeMap<u16, Arc<Prefixes>>,
    /// Rules that were given back since the last barrier: a packet under way may mean them still.
    pub(super) unsettled_rules: BTreeSet<u32>,
    /// Addresses whose echo requests are answered.
    pub echo: BTreeSet<EchoAddress>,
    /// Where the next table may go.
    room: Pages,
}

impl Image {
    /// The image after a write.
    pub fn write(&mut self, write: &Write) {
        match write {
            Write::Barrier => {
                self.room.settle();
                self.unsettled_rules.clear();
            }
            Write::Backend(index, name) => {
                self.backends.insert(*index, name.clone());
            }
            Write::Endpoint(id, record) => {
                self.endpoints.insert(*id, *record);
            }
            Write::Page(page, slots) => {
                self.pages.insert(*page, slots.clone());
                self.room.written(*page);
            }
            Write::AddService(id, record) => {
                self.services.insert(*id, *record);
            }
            Write::Table(id, table) => {
                if let Some(service) = self.services.get_mut(id) {
                    let before = std::mem::replace(&mut service.table, table.word());
                    self.retire(before);
                }
            }
            Write::Close(id) => {
                if let Some(service) = self.services.get_mut(id) {
                    let before = std::mem::replace(&mut service.table, TableRef::NONE);
                    self.retire(before);
                }
            }
            Write::Hide(id) => {
                if let Some(service) = self.services.get_mut(id) {
                    service.identity = Service::hidden(service.identity);
                }
            }
            Write::Show(id) => {
                if let Some(service) = self.services.get_mut(id) {
                    service.identity = Service::shown(service.identity);
                }
            }
            Write::Idle(id, idle) => {
                if let Some(service) = self.services.get_mut(id) {
                    service.idle = *idle;
                }
            }
            Write::PortRanges(key, PortRanges::NONE) => {
                self.port_ranges.remove(key);
            }
            Write::PortRanges(key, ranges) => {
                self.port_ranges.insert(*key, *ranges);
            }
            Write::Rule(number, table) => {
                let before = self.rule_tables.insert(*number, *table);
                self.retire(before.unwrap_or(TableRef::NONE));
            }
            Write::Prefixes(id, change) => {
                self.prefixes.insert(*id, change.after.clone());
            }
            Write::FreeRule(number) => {
                let before = self.rule_tables.remove(number);
                self.unsettled_rules.insert(*number);
                self.retire(before.unwrap_or(TableRef::NONE));
            }
            Write::Traits(id, traits) => {
                if let Some(service) = self.services.get_mut(id) {
                    *service = traits.within(*service);
                }
            }
            Write::RemoveService(id) => {
                if let Some(service) = self.services.remove(id) {
                    self.retire(service.table);
                }
            }
            Write::FreeEndpoint(id) => {
                self.endpoints.remove(id);
            }
            Write::FreeBackend(index) => {
                self.backends.remove(index);
            }
            Write::AnswerEcho(address) => {
                self.echo.insert(*address);
            }
            Write::IgnoreEcho(address) => {
                self.echo.remove(address);
            }
        }
    }

    /// Takes a place for a service that will be added later.
    pub(super) fn reserve(&mut self, id: u16, record: Service) {
        self.services.insert(id, record);
    }

    /// Where a service stands.
    pub fn find_service(&self, identity: &Identity) -> Option<u16> {
        let is_it = |service: &Service| {
            Service::shown(service.identity) == identity.word && service.address == identity.address
        };
        let mut services = self.services.iter();
        services.find(|(_, it)| is_it(it)).map(|(&id, _)| id)
    }

    /// Where a new service may stand: the first place on its way that no service has.
    pub fn free_place(&self, keys: &[u64; KEYS], identity: &Identity) -> Option<u16> {
        let place = hash::place(keys, identity.address, identity.word) as u32;
        (0..SERVICE_PROBES)
            .map(|probe| (place.wrapping_add(probe) % SERVICES) as u16)
            .find(|id| !self.services.contains_key(id))
    }

    /// The table in force of a service; nothing if it takes no new flows.
    pub fn table(&self, service: u16) -> Option<Slots> {
        self.slots(self.services.get(&service)?.table)
    }

    /// The slots of a table in force, as in a record; nothing if it is none.
    pub fn slots(&self, word: u64) -> Option<Slots> {
        if word == TableRef::NONE {
            return None;
        }
        let table = TableRef::from_word(word);
        let mut slots = Vec::with_capacity(table.mask as usize + 1);
        for page in pages_of(word) {
            slots.extend_from_slice(self.pages.get(&page)?);
        }
        slots.truncate(table.mask as usize + 1);
        Some(slots)
    }

    /// The endpoints that tables in force name.
    pub fn named_endpoints(&self) -> BTreeSet<u16> {
        let mut is_named = vec![false; usize::from(u16::MAX) + 1];
        for table in self.tables() {
            for page in pages_of(table) {
                for &id in self.pages.get(&page).map_or(&[][..], |page| page) {
                    is_named[usize::from(id)] = true;
                }
            }
        }
        (1..=u16::MAX)
            .filter(|&id| is_named[usize::from(id)])
            .collect()
    }

    /// Every table in force: those of services, then those of rules, which may share one.
    pub fn tables(&self) -> impl Iterator<Item = u64> {
        let services = self.services.values().map(|service| service.table);
        services.chain(self.rule_tables.values().copied())
    }

    /// A table is in force no more, unless another rule has it.
    fn retire(&mut self, table: u64) {
        if self.tables().any(|other| other == table) {
            return;
        }
        for page in pages_of(table) {
            self.pages.remove(&page);
        }
        self.room.unsettled(pages_of(table));
    }

    /// `count` pages in a row that are not `taken` and on which no table in force lies.
    pub(super) fn room(&self, count: u32, taken: &BTreeSet<u32>) -> Option<Room> {
        let mut in_force = taken.clone();
        for table in self.tables() {
            in_force.extend(pages_of(table));
        }
        self.room.find(count, &in_force)
    }
}

/// The pages a table lies on; `table` as in the record.
pub fn pages_of(table: u64) -> std::ops::Range<u32> {
    if table == TableRef::NONE {
        return 0..0;
    }
    let table = TableRef::from_word(table);
    table.page..table.page + (table.mask + 1).div_ceil(PAGE_SLOTS)
}
