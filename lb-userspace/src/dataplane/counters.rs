//! The counters, summed over processors.

use std::mem::offset_of;
use std::ops::Add;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use lb_common::cpu::{Cpu, Lane};
use lb_common::record::{Endpoint, EndpointCounters};
use lb_common::verdict::Reason;

use super::mapped::Mapped;
use super::{Counters, Dataplane, ReasonCount};
use crate::desired::Service;

/// An endpoint whose id the next [`Dataplane::apply`] may give back.
#[derive(Debug)]
pub struct Tally {
    id: u16,
    record: Endpoint,
    backend: String,
    counters: Counters,
}

/// What was counted of an endpoint whose id was given back.
#[derive(Debug)]
pub struct Departed<'a> {
    /// Its service, which is still there.
    pub service: &'a Service,
    /// Name of its backend.
    pub backend: &'a str,
    /// Its counters to the end.
    pub counters: Counters,
}

impl Dataplane {
    /// What is counted of the endpoints whose ids the next [`Dataplane::apply`] may give back: those
    /// without a slot, if any is there that is not wanted.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn tally(&self) -> Result<Vec<Tally>> {
        let is_wanted = |id| self.ids.endpoints.contains(id);
        if self.image.endpoints.keys().all(is_wanted) {
            return Ok(Vec::new());
        }
        let named = self.image.named_endpoints();
        let may_go = self
            .image
            .endpoints
            .iter()
            .filter(|(id, _)| !named.contains(id));
        may_go
            .map(|(&id, record)| {
                let backend = self.image.backends.get(&record.backend);
                Ok(Tally {
                    id,
                    record: *record,
                    backend: backend.cloned().unwrap_or_default(),
                    counters: of_endpoint(&self.ebpf, self.maps.cpus(), id)?,
                })
            })
            .collect()
    }

    /// Those of `before` whose ids were given back since. Those of a service that is gone, too, are
    /// left out.
    pub fn departed<'a>(&'a self, before: &'a [Tally]) -> impl Iterator<Item = Departed<'a>> {
        before
            .iter()
            .filter(|it| self.image.endpoints.get(&it.id) != Some(&it.record))
            .filter_map(|it| {
                let index = *self.ids.services.get(&it.record.service)?;
                Some(Departed {
                    service: self.desired.services.get(index)?,
                    backend: &it.backend,
                    counters: it.counters,
                })
            })
    }
}

impl Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        // Saturating, because one side may come from a file.
        Self {
            packets_in: self.packets_in.saturating_add(other.packets_in),
            bytes_in: self.bytes_in.saturating_add(other.bytes_in),
            packets_out: self.packets_out.saturating_add(other.packets_out),
            bytes_out: self.bytes_out.saturating_add(other.bytes_out),
            opened: self.opened.saturating_add(other.opened),
            closed: self.closed.saturating_add(other.closed),
            reset_by_endpoint: self
                .reset_by_endpoint
                .saturating_add(other.reset_by_endpoint),
            reset_by_client: self.reset_by_client.saturating_add(other.reset_by_client),
            refused: self.refused.saturating_add(other.refused),
        }
    }
}

/// What was counted of an endpoint.
///
/// # Errors
/// If the map cannot be read.
pub fn of_endpoint(ebpf: &Ebpf, cpus: &Mapped, id: u16) -> Result<Counters> {
    let map = ebpf
        .map("COUNTERS")
        .context("the object has no map COUNTERS")?;
    let map: PerCpuArray<&MapData, EndpointCounters> = map.try_into()?;
    let per_cpu = map
        .get(&u32::from(id), 0)
        .context("read an endpoint's counters")?;
    let sum = |of: fn(&EndpointCounters) -> u64| per_cpu.iter().map(of).sum();
    let packets = |field| sum_of(cpus, lane(id) + field / WORD);
    Ok(Counters {
        packets_in: packets(offset_of!(Lane, packets_in)),
        bytes_in: packets(offset_of!(Lane, bytes_in)),
        packets_out: packets(offset_of!(Lane, packets_out)),
        bytes_out: packets(offset_of!(Lane, bytes_out)),
        opened: sum(|c| c.opened),
        closed: sum(|c| c.closed),
        reset_by_endpoint: sum(|c| c.reset_by_endpoint),
        reset_by_client: sum(|c| c.reset_by_client),
        refused: sum(|c| c.refused),
    })
}

/// Zeroes the counters of an id that gets a new owner, and forgets the way to the earlier one.
///
/// # Errors
/// If the map cannot be written.
pub fn reset(ebpf: &mut Ebpf, cpus: &Mapped, id: u16) -> Result<()> {
    for cpu in 0..cpus.len() {
        for word in 0..size_of::<Lane>() / WORD {
            cpus.store(cpu, lane(id) + word, 0);
        }
    }
    let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
    let zero = PerCpuValues::try_from(vec![EndpointCounters::default(); cpus])?;
    let map = ebpf
        .map_mut("COUNTERS")
        .context("the object has no map COUNTERS")?;
    let mut map: PerCpuArray<&mut MapData, EndpointCounters> = map.try_into()?;
    map.set(u32::from(id), zero, 0)
        .context("reset an endpoint's counters")
}

/// Every reason with its count.
pub fn reasons(cpus: &Mapped) -> Vec<ReasonCount> {
    Reason::ALL
        .iter()
        .map(|&reason| ReasonCount {
            verdict: reason.verdict().name().to_owned(),
            reason: reason.name().to_owned(),
            meaning: reason.meaning().to_owned(),
            packets: sum_of(cpus, offset_of!(Cpu, reasons) / WORD + reason as usize),
        })
        .collect()
}

/// Bytes of a word of a map in memory.
const WORD: usize = size_of::<u64>();

/// First word of an endpoint's lane.
const fn lane(id: u16) -> usize {
    (offset_of!(Cpu, lanes) + id as usize * size_of::<Lane>()) / WORD
}

/// A word of each processor's own, added up.
fn sum_of(cpus: &Mapped, word: usize) -> u64 {
    (0..cpus.len()).map(|cpu| cpus.load(cpu, word)).sum()
}
