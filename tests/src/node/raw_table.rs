//! A table as it lies in the maps, past the daemon: to look at it, and to spoil it.

use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use lb_common::address::{V4, V6};
use lb_common::hash;
use lb_common::limits::PAGE_SLOTS;
use lb_common::record::{self, TableRef};

use super::SEED;

/// Endpoint ids of a page's slots; 0 is none.
pub type Page = [u16; PAGE_SLOTS as usize];

// Words of `lb_common::record::Service`.
const IDENTITY: usize = 2;
const BASIS: usize = 3;
const TABLE: usize = 4;

/// The table of the only service.
pub struct RawTable {
    /// Index of the service's record.
    place: u32,
    services: Array<MapData, [u64; 8]>,
    slots: Array<MapData, Page>,
}

impl RawTable {
    /// From the pinned maps.
    pub(super) fn open(pins: &Path) -> Result<Self> {
        let map = |name: &str| MapData::from_pin(pins.join(name)).map(Map::Array);
        let services = Array::<_, [u64; 8]>::try_from(map("SERVICES")?)?;
        let is_service = |words: [u64; 8]| {
            words[IDENTITY] > record::Service::REMOVED && words[TABLE] != TableRef::NONE
        };
        let place = services
            .iter()
            .position(|words| words.is_ok_and(is_service))
            .context("there is no service")?;
        Ok(Self {
            place: place as u32,
            services,
            slots: Array::try_from(map("SLOTS")?)?,
        })
    }

    /// The table in force.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn in_force(&self) -> Result<TableRef> {
        let words = self.services.get(&self.place, 0)?;
        Ok(TableRef::from_word(words[TABLE]))
    }

    /// Puts another table in force.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn put_in_force(&mut self, table: TableRef) -> Result<()> {
        let mut words = self.services.get(&self.place, 0)?;
        words[TABLE] = table.word();
        Ok(self.services.set(self.place, words, 0)?)
    }

    /// The slots of a page, as the table in force understands them.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn page(&self, page: u32) -> Result<Page> {
        let table = self.in_force()?;
        let slots = self.slots.get(&page, 0)?;
        Ok(slots.map(|slot| table.endpoint(slot).unwrap_or(0)))
    }

    /// Fills pages with one endpoint id; 0 is none.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn fill(&mut self, pages: Range<u32>, id: u16) -> Result<()> {
        let slot = slot_of(self.in_force()?, id);
        for page in pages {
            self.slots.set(page, [slot; PAGE_SLOTS as usize], 0)?;
        }
        Ok(())
    }

    /// Fills every slot of the table in force with one endpoint id, but the slot of a client's flow between
    /// these ports. What was there, for [`RawTable::restore`].
    ///
    /// # Errors
    /// If the maps cannot be read or written.
    pub fn fill_all_slots_but_one_of(
        &mut self,
        client: IpAddr,
        ports: (u16, u16),
        id: u16,
    ) -> Result<Vec<(u32, Page)>> {
        let basis = self.services.get(&self.place, 0)?[BASIS];
        let keys = hash::keys(SEED);
        let hash = match client {
            IpAddr::V4(v4) => hash::flow(&keys, basis, V4::from_bytes(v4.octets()), ports),
            IpAddr::V6(v6) => hash::flow(&keys, basis, V6::from_bytes(v6.octets()), ports),
        };
        let table = self.in_force()?;
        let (page, place) = table.locate(hash::slot(hash, table.mask.into()));
        let mut spared = [slot_of(table, id); PAGE_SLOTS as usize];
        spared[place] = self.slots.get(&page, 0)?[place];
        let before = pages_of(table)
            .map(|page| Ok((page, self.slots.get(&page, 0)?)))
            .collect::<Result<_>>()?;
        self.fill(pages_of(table), id)?;
        self.slots.set(page, spared, 0)?;
        Ok(before)
    }

    /// Writes slots back as they were: the daemon takes them for what it wrote, also for other services that share
    /// them.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn restore(&mut self, before: Vec<(u32, Page)>) -> Result<()> {
        for (page, slots) in before {
            self.slots.set(page, slots, 0)?;
        }
        Ok(())
    }
}

/// The pages that a table lies on.
#[must_use]
pub fn pages_of(table: TableRef) -> Range<u32> {
    table.page..table.page + (u32::from(table.mask) + 1).div_ceil(PAGE_SLOTS)
}

/// What stands in a slot for an endpoint id; 0 is none.
const fn slot_of(table: TableRef, id: u16) -> u16 {
    match id {
        0 => 0,
        id => id.wrapping_sub(table.base),
    }
}
