//! What is in the maps, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use lb_common::hash::{self, KEYS};
use lb_common::limits::{PAGE_SLOTS, SERVICE_PROBES, SERVICES};
use lb_common::record::{Endpoint, PortRanges, Service, TableRef};

use super::pages::{Pages, Room};
use super::{EchoAddress, Identity, Numbers, Placed, Prefixes, Slots, Write};

/// The content of the maps that the daemon writes.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Service id → record.
    pub services: BTreeMap<u16, Service>,
    /// Endpoint id → record. Shared, because images are copied.
    pub endpoints: Arc<BTreeMap<u16, Endpoint>>,
    /// Backend index → name.
    pub backends: BTreeMap<u16, String>,
    /// First page → slots, of the tables in force and of those that were and are not overwritten yet.
    pub tables: BTreeMap<u32, Slots>,
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
    /// Service id → what the last plan knew of it, [`super::Plan::placed`]. It saves looking everything up
    /// again; with nothing in it, plans are the same.
    pub placed: Arc<BTreeMap<u16, Arc<Placed>>>,
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
                Arc::make_mut(&mut self.endpoints).insert(*id, *record);
            }
            Write::Pages(first, slots) => {
                let pages = pages_for(*first, slots.len());
                for first in self.tables_on(&pages) {
                    self.tables.remove(&first);
                }
                self.tables.insert(*first, slots.clone());
                self.room.written(&pages);
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
                Arc::make_mut(&mut self.endpoints).remove(id);
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
    pub(super) fn reserve(&mut self, id: u16, identity: &Identity) {
        let record = Service {
            address: identity.address,
            identity: identity.word,
            table: TableRef::NONE,
            ..Service::EMPTY
        };
        self.services.insert(id, record);
    }

    /// Where a service stands.
    pub fn find_service(&self, keys: &[u64; KEYS], identity: &Identity) -> Option<u16> {
        let is_it = |service: &Service| {
            Service::shown(service.identity) == identity.word && service.address == identity.address
        };
        places(keys, identity).find(|id| self.services.get(id).is_some_and(is_it))
    }

    /// Where a new service may stand: the first place on its way that no service has.
    pub fn free_place(&self, keys: &[u64; KEYS], identity: &Identity) -> Option<u16> {
        places(keys, identity).find(|id| !self.services.contains_key(id))
    }

    /// The endpoint id of each slot of a service's table in force; nothing if it takes no new flows.
    pub fn table(&self, service: u16) -> Option<Vec<u16>> {
        self.ids(self.services.get(&service)?.table)
    }

    /// The endpoint id of each slot of a table, as in a record; nothing if it is none.
    pub fn ids(&self, word: u64) -> Option<Vec<u16>> {
        let base = TableRef::from_word(word).base;
        let slots = self.slots(word)?;
        Some(slots.iter().map(|&slot| base.wrapping_add(slot)).collect())
    }

    /// The slots of a table, as in a record; nothing if it is none.
    pub fn slots(&self, word: u64) -> Option<&Slots> {
        if word == TableRef::NONE {
            return None;
        }
        self.tables.get(&TableRef::from_word(word).page)
    }

    /// First pages of the known tables that lie on some of these pages.
    fn tables_on(&self, pages: &Range<u32>) -> Vec<u32> {
        // Tables lie one behind the other.
        let before = self.tables.range(..pages.end).rev();
        before
            .take_while(|(first, slots)| pages_for(**first, slots.len()).end > pages.start)
            .map(|(&first, _)| first)
            .collect()
    }

    /// The first page of a table with these slots.
    pub(super) fn find_table(&self, slots: &Slots) -> Option<u32> {
        let mut tables = self.tables.iter();
        tables
            .find(|(_, known)| *known == slots)
            .map(|(&page, _)| page)
    }

    /// The endpoints that tables in force name.
    pub fn named_endpoints(&self) -> Numbers {
        let mut ids = Numbers::default();
        for word in self.words() {
            let base = TableRef::from_word(word).base;
            let named = self.slots(word).map_or(&[][..], |slots| slots.named());
            ids.extend(named.iter().map(|&(slot, _)| base.wrapping_add(slot)));
        }
        ids
    }

    /// Every table in force, as in a record: those of services, then those of rules. Several may lie on the
    /// same pages.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        let services = self.services.values().map(|service| service.table);
        let all = services.chain(self.rule_tables.values().copied());
        all.filter(|&word| word != TableRef::NONE)
    }

    /// Forgets what pages hold that no table in force lies on.
    pub fn forget_retired(&mut self) {
        let pages = self.words().map(|word| TableRef::from_word(word).page);
        let in_force: BTreeSet<u32> = pages.collect();
        self.tables.retain(|page, _| in_force.contains(page));
    }

    /// A table is in force no more, unless another service or rule has it.
    fn retire(&mut self, word: u64) {
        let page = |word| TableRef::from_word(word).page;
        if word != TableRef::NONE && !self.words().any(|other| page(other) == page(word)) {
            self.room.unsettled(pages_of(word));
        }
    }

    /// `count` pages in a row that are not `taken` and on which no table in force lies.
    pub(super) fn room(&self, count: u32, taken: &Numbers) -> Option<Room> {
        let mut in_force = taken.clone();
        let mut last = TableRef::NONE;
        for word in self.words() {
            // Services that share a table often follow each other.
            if pages_of(word) != pages_of(last) {
                in_force.insert_all(pages_of(word));
            }
            last = word;
        }
        self.room.find(count, &in_force)
    }
}

/// The places a service may stand at, the nearest first.
fn places(keys: &[u64; KEYS], identity: &Identity) -> impl Iterator<Item = u16> + use<> {
    let place = hash::place(keys, identity.address, identity.word) as u32;
    (0..SERVICE_PROBES).map(move |probe| (place.wrapping_add(probe) % SERVICES) as u16)
}

/// The pages a table lies on; `word` as in a record.
pub fn pages_of(word: u64) -> Range<u32> {
    if word == TableRef::NONE {
        return 0..0;
    }
    let table = TableRef::from_word(word);
    pages_for(table.page, usize::from(table.mask) + 1)
}

/// As many pages as so many slots take.
pub fn pages_for(first: u32, slots: usize) -> Range<u32> {
    first..first + slots.div_ceil(PAGE_SLOTS as usize) as u32
}
