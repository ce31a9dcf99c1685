//! The counters, summed over processors.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use lb_common::record::EndpointCounters;
use lb_common::verdict::Reason;

use super::{Counters, ReasonCount};

/// What was counted of an endpoint.
///
/// # Errors
/// If the map cannot be read.
pub fn of_endpoint(ebpf: &Ebpf, id: u16) -> Result<Counters> {
    let map = ebpf
        .map("COUNTERS")
        .context("the object has no map COUNTERS")?;
    let map: PerCpuArray<&MapData, EndpointCounters> = map.try_into()?;
    let per_cpu = map
        .get(&u32::from(id), 0)
        .context("read an endpoint's counters")?;
    let sum = |of: fn(&EndpointCounters) -> u64| per_cpu.iter().map(of).sum();
    Ok(Counters {
        packets_in: sum(|c| c.packets_in),
        bytes_in: sum(|c| c.bytes_in),
        packets_out: sum(|c| c.packets_out),
        bytes_out: sum(|c| c.bytes_out),
        opened: sum(|c| c.opened),
        closed: sum(|c| c.closed),
        reset_by_endpoint: sum(|c| c.reset_by_endpoint),
        reset_by_client: sum(|c| c.reset_by_client),
        refused: sum(|c| c.refused),
    })
}

/// Zeroes the counters of an id that gets a new owner.
///
/// # Errors
/// If the map cannot be written.
pub fn reset(ebpf: &mut Ebpf, id: u16) -> Result<()> {
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
///
/// # Errors
/// If the map cannot be read.
pub fn reasons(ebpf: &Ebpf) -> Result<Vec<ReasonCount>> {
    let map = ebpf
        .map("REASONS")
        .context("the object has no map REASONS")?;
    let map: PerCpuArray<&MapData, u64> = map.try_into()?;
    Reason::ALL
        .iter()
        .map(|&reason| {
            let per_cpu = map.get(&(reason as u32), 0).context("read the reasons")?;
            Ok(ReasonCount {
                verdict: reason.verdict().name().to_owned(),
                reason: reason.name().to_owned(),
                meaning: reason.meaning().to_owned(),
                packets: per_cpu.iter().sum(),
            })
        })
        .collect()
}
