//! Maps past the daemon: one counter at a time, and a flow table emptied at once.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::Pod;
use aya::maps::{Array, Map, MapData, PerCpuArray};
use lb_common::verdict::Reason;

/// How often each reason was met.
pub struct Reasons(PerCpuArray<MapData, u64>);

impl Reasons {
    /// From the pinned map.
    pub(super) fn open(pins: &Path) -> Result<Self> {
        let map = MapData::from_pin(pins.join("REASONS"))?;
        Ok(Self(Map::PerCpuArray(map).try_into()?))
    }

    /// How often this one was.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn count(&self, reason: Reason) -> Result<u64> {
        let counts = self.0.get(&(reason as u32), 0).context("a counter")?;
        Ok(counts.iter().sum())
    }
}

/// Empties the flow tables.
pub(super) fn forget_flows(pins: &Path) -> Result<()> {
    for name in ["FLOWS4", "FLOWS6"] {
        let map = MapData::from_pin(pins.join(name))?;
        match map.info()?.value_size() {
            64 => clear::<[u64; 8]>(map),
            128 => clear::<[u64; 16]>(map),
            bytes => bail!("a bucket of {bytes} bytes"),
        }?;
    }
    Ok(())
}

fn clear<T: Pod + Default>(map: MapData) -> Result<()> {
    let mut buckets = Array::<_, T>::try_from(Map::Array(map))?;
    for bucket in 0..buckets.len() {
        buckets.set(bucket, T::default(), 0)?;
    }
    Ok(())
}
