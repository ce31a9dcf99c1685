//! The maps the daemon writes, and how a planned write is carried out.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::record::{BackendName, Endpoint, LAYOUT, Service, TableRef, turns_of_rule};

use super::flows::FlowTables;
use super::mapped::{Mapped, barrier};
use super::object::Constants;
use super::{Interface, XdpMode, counters, interface, layout, ranges, trie};
use crate::plan::{EchoAddress, Image, Write, pages_of};

// Words of a service record, by its layout.
const IDENTITY: usize = 2;
const TABLE: usize = 4;
const IDLE: usize = 5;
const TRAITS: usize = 6;

/// The maps that are memory to the daemon.
pub struct Maps {
    services: Mapped,
    endpoints: Mapped,
    slots: Mapped,
    dealt: Mapped,
    rules: Mapped,
    switches: Mapped,
    backends: Mapped,
    flows4: Mapped,
    flows6: Mapped,
    cpus: Mapped,
}

impl Maps {
    /// Maps them into memory.
    ///
    /// # Errors
    /// If the object has not got them, or the kernel refuses.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let map = |name| Mapped::new(array(ebpf, name)?, name);
        Ok(Self {
            services: map("SERVICES")?,
            endpoints: map("ENDPOINTS")?,
            slots: map("SLOTS")?,
            dealt: map("DEALT")?,
            rules: map("RULE_TABLES")?,
            switches: map("SWITCHES")?,
            backends: map("BACKENDS")?,
            flows4: map("FLOWS4")?,
            flows6: map("FLOWS6")?,
            cpus: map("CPUS")?,
        })
    }

    /// The flow tables.
    pub fn flows(&self) -> FlowTables<'_> {
        FlowTables {
            v4: &self.flows4,
            v6: &self.flows6,
        }
    }

    /// What each processor counts.
    pub const fn cpus(&self) -> &Mapped {
        &self.cpus
    }

    /// What the maps hold: after a fresh start nothing, else what an earlier daemon left.
    ///
    /// # Errors
    /// If a name is not text, or a map cannot be read.
    pub fn image(&self, ebpf: &mut Ebpf) -> Result<Image> {
        let mut image = Image::default();
        image.echo = echo(ebpf)?.keys().collect::<Result<_, _>>()?;
        for id in 0..self.services.len() as u16 {
            let record: Service = self.services.read(usize::from(id));
            if !matches!(record.identity, 0 | Service::REMOVED) {
                image.services.insert(id, record);
            }
        }
        for id in 1..self.endpoints.len() as u16 {
            let record: Endpoint = self.endpoints.read(usize::from(id));
            if record.family != 0 {
                image.endpoints.insert(id, record);
            }
        }
        let used: BTreeSet<u16> = image
            .endpoints
            .values()
            .map(|record| record.backend)
            .collect();
        for index in used {
            let BackendName { name } = self.backends.read(usize::from(index));
            let name = String::from_utf8(name.into_iter().take_while(|&b| b != 0).collect())
                .with_context(|| format!("name of backend {index}"))?;
            image.backends.insert(index, name);
        }
        image.prefixes = trie::read(ebpf)?;
        image.port_ranges = ranges::read(ebpf)?;
        for number in image.prefixes.values().flat_map(|it| it.rules()) {
            let table = self.rules.load(number as usize, 0);
            if table != TableRef::NONE {
                image.rule_tables.insert(number, table);
            }
        }
        for table in image.tables().collect::<BTreeSet<u64>>() {
            for page in pages_of(table) {
                let words = (0..lb_common::limits::PAGE_SLOTS as usize / 4)
                    .map(|word| self.slots.load(page as usize, word))
                    .collect::<Vec<u64>>();
                image
                    .pages
                    .insert(page, bytemuck::cast_slice(&words).into());
            }
        }
        Ok(image)
    }

    /// Carries out a write.
    ///
    /// # Errors
    /// If a counter cannot be reset, a map not be written, or the kernel has no barrier.
    pub fn write(&self, ebpf: &mut Ebpf, write: &Write) -> Result<()> {
        match write {
            Write::Barrier => barrier()?,
            Write::Backend(index, name) => {
                let mut record = BackendName { name: [0; 64] };
                for (place, byte) in record.name.iter_mut().zip(name.bytes()) {
                    *place = byte;
                }
                self.backends.write(usize::from(*index), &record);
            }
            Write::Endpoint(id, record) => {
                counters::reset(ebpf, &self.cpus, *id)?;
                self.endpoints.write(usize::from(*id), record);
            }
            Write::Page(page, slots) => {
                for (word, slots) in slots.chunks(4).enumerate() {
                    let word_of = slots
                        .iter()
                        .rev()
                        .fold(0, |w, &slot| w << 16 | u64::from(slot));
                    self.slots.store(*page as usize, word, word_of);
                }
            }
            Write::AddService(id, record) => {
                self.dealt.store(usize::from(*id), 0, 0);
                let hidden = Service {
                    identity: Service::REMOVED,
                    ..*record
                };
                self.services.write(usize::from(*id), &hidden);
                self.services
                    .store(usize::from(*id), IDENTITY, record.identity);
            }
            Write::Table(id, table) => {
                self.services.store(usize::from(*id), TABLE, table.word());
            }
            Write::Close(id) => {
                self.services.store(usize::from(*id), TABLE, TableRef::NONE);
            }
            Write::Hide(id) => self.identify(*id, Service::hidden),
            Write::Show(id) => self.identify(*id, Service::shown),
            Write::Idle(id, idle) => {
                self.services
                    .store(usize::from(*id), IDLE, bytemuck::cast(*idle));
            }
            Write::PortRanges(key, ranges) => {
                let any = ranges::write(ebpf, *key, ranges)?;
                self.switches.store(0, 0, any.into());
            }
            Write::Rule(number, table) => {
                let number = *number as usize;
                if self.rules.load(number, 0) == TableRef::NONE {
                    let turns = turns_of_rule(number as u32) as usize;
                    self.dealt.store(turns, 0, 0);
                }
                self.rules.store(number, 0, *table);
            }
            Write::Prefixes(id, change) => trie::change(ebpf, *id, change)?,
            Write::FreeRule(number) => self.rules.store(*number as usize, 0, TableRef::NONE),
            Write::Traits(id, traits) => {
                self.services.store(usize::from(*id), TRAITS, traits.word());
            }
            Write::RemoveService(id) => {
                self.services
                    .store(usize::from(*id), IDENTITY, Service::REMOVED);
            }
            Write::FreeEndpoint(id) => {
                self.endpoints.write(usize::from(*id), &Endpoint::FREE);
            }
            Write::FreeBackend(index) => {
                self.backends
                    .write(usize::from(*index), &BackendName { name: [0; 64] });
            }
            Write::AnswerEcho(address) => echo(ebpf)?.insert(address, 1, 0)?,
            Write::IgnoreEcho(address) => echo(ebpf)?.remove(address)?,
        }
        Ok(())
    }

    /// Changes by what packets find a service.
    fn identify(&self, id: u16, change: impl Fn(u64) -> u64) {
        let id = usize::from(id);
        let before = self.services.load(id, IDENTITY);
        self.services.store(id, IDENTITY, change(before));
    }

    /// Says which layout the maps have, for the next daemon.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn write_layout(&self, ebpf: &mut Ebpf, constants: &Constants) -> Result<()> {
        let map = ebpf
            .map_mut("LAYOUT")
            .context("the object has no map LAYOUT")?;
        let mut words: Array<&mut MapData, u64> = map.try_into()?;
        layout::write(&mut words, constants).with_context(|| format!("write layout {LAYOUT}"))
    }

    /// Tells the program what XDP can do on each interface there is.
    ///
    /// # Errors
    /// If the kernel cannot be asked, or the map not be written.
    pub fn write_egress(&self, ebpf: &mut Ebpf, running: &[Interface]) -> Result<()> {
        let map = ebpf
            .map_mut("EGRESS")
            .context("the object has no map EGRESS")?;
        let mut egress: HashMap<&mut MapData, u32, u32> = map.try_into()?;
        let features = interface::xdp_features_of_all()?;
        let links = interface::links()?;
        let mut there = BTreeSet::new();
        for (index, name) in interface::all()? {
            let is_generic = running
                .iter()
                .any(|one| one.name == name && one.mode == XdpMode::Generic);
            let of_this = features
                .as_ref()
                .map(|all| all.get(&index).copied().unwrap_or(0));
            let Some(link) = links.get(&index) else {
                continue;
            };
            let bits = interface::egress_bits(link, of_this, is_generic);
            there.insert(index);
            if egress.get(&index, 0).ok() != Some(bits) {
                egress
                    .insert(index, bits, 0)
                    .with_context(|| format!("egress of {name}"))?;
            }
        }
        let gone: Vec<u32> = egress
            .keys()
            .flatten()
            .filter(|i| !there.contains(i))
            .collect();
        for index in gone {
            egress.remove(&index)?;
        }
        Ok(())
    }
}

/// The addresses whose echo requests are answered.
fn echo(ebpf: &mut Ebpf) -> Result<HashMap<&mut MapData, EchoAddress, u8>> {
    let map = ebpf.map_mut("ECHO").context("the object has no map ECHO")?;
    Ok(map.try_into()?)
}

fn array<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapData> {
    match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => anyhow::bail!("the object has no array map {name}"),
    }
}
