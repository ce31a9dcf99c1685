//! What kind of maps are pinned: the version of their layout, and the constants flows depend on.

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, Map, MapData};
use lb_common::record::LAYOUT;

use super::object::Constants;
use std::path::Path;

/// The constants of the maps pinned in `pin_dir`, or nothing if none are.
///
/// # Errors
/// If they are of another layout than this program's.
pub fn pinned(pin_dir: &Path) -> Result<Option<Constants>> {
    let path = pin_dir.join("LAYOUT");
    if !path.exists() {
        return Ok(None);
    }
    let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
    let map = Map::from_map_data(data)?;
    let words: Array<_, u64> = Array::try_from(&map)?;
    if words.len() != 4 {
        bail!(other_layout(pin_dir, 0));
    }
    let [layout, seed, buckets, ports] = [
        words.get(&0, 0)?,
        words.get(&1, 0)?,
        words.get(&2, 0)?,
        words.get(&3, 0)?,
    ];
    match u32::try_from(layout) {
        // Made by a daemon that ended before it wrote this: nothing forwards yet.
        Ok(0) => Ok(None),
        Ok(LAYOUT) => Ok(Some(Constants {
            seed,
            buckets: buckets as u32,
            ports: ((ports >> 16) as u16, ports as u16),
        })),
        _ => bail!(other_layout(pin_dir, layout)),
    }
}

fn other_layout(pin_dir: &Path, found: u64) -> String {
    format!(
        "the maps in {} have layout {found}, this lbd has layout {LAYOUT}; they go on forwarding as \
         they are. To start afresh (live flows are lost), run `lbctl detach` of the other version, \
         or remove the directory",
        pin_dir.display()
    )
}

/// Writes what [`pinned`] reads.
///
/// # Errors
/// If the map cannot be written.
pub fn write(words: &mut Array<&mut MapData, u64>, constants: &Constants) -> Result<()> {
    let (first, last) = constants.ports;
    words.set(1, constants.seed, 0)?;
    words.set(2, u64::from(constants.buckets), 0)?;
    words.set(3, u64::from(first) << 16 | u64::from(last), 0)?;
    // The version last: what is not whole is not adopted.
    words.set(0, u64::from(LAYOUT), 0)?;
    Ok(())
}
