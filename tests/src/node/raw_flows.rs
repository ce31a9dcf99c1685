//! The flow table past the daemon: emptied at once.

use std::path::Path;

use anyhow::{Result, bail};
use aya::Pod;
use aya::maps::{Array, Map, MapData};

/// Empties the flow tables.
pub(super) fn forget(pins: &Path) -> Result<()> {
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
