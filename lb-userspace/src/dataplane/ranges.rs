//! Services with several ports, in the kernel's hash of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{HashMap, MapData, MapError};
use lb_common::record::PortRanges;

/// The map, with values as words.
const MAP: &str = "PORT_RANGES";
type Words = [u64; 16];

/// What the map holds.
///
/// # Errors
/// If it cannot be read.
pub fn read(ebpf: &Ebpf) -> Result<BTreeMap<[u64; 3], PortRanges>> {
    let map = ebpf.map(MAP).context("the object has no map PORT_RANGES")?;
    let map: HashMap<&MapData, [u64; 3], Words> = map.try_into()?;
    map.iter()
        .map(|entry| {
            let (key, words) = entry.context("read the ranges of ports")?;
            Ok((key, bytemuck::cast(words)))
        })
        .collect()
}

/// Writes the ranges of a key, or removes it if there are none; tells whether any key is left.
///
/// # Errors
/// If the map is full.
pub fn write(ebpf: &mut Ebpf, key: [u64; 3], ranges: &PortRanges) -> Result<bool> {
    let map = ebpf
        .map_mut(MAP)
        .context("the object has no map PORT_RANGES")?;
    let mut map: HashMap<&mut MapData, [u64; 3], Words> = map.try_into()?;
    if *ranges == PortRanges::NONE {
        match map.remove(&key) {
            Ok(()) | Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error).context("remove ranges of ports"),
        }
    } else {
        let words: Words = bytemuck::cast(*ranges);
        map.insert(key, words, 0).context("write ranges of ports")?;
    }
    Ok(map.keys().next().is_some())
}
