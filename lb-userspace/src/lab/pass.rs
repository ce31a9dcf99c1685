//! The XDP program of the ends that receive what the node sends: it passes every frame.
//!
//! A veth takes a frame that its peer sends by XDP_REDIRECT once it polls by NAPI, which GRO is
//! enough for. For XDP_TX that is not so: `veth_xdp_flush` wakes the receiver only when it has an
//! XDP program of its own (seen in 6.18), and without one the frames wait in its ring for ever.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

use super::host::Host;

/// The section says what the program is: one that takes frames in parts, as with an MTU of 9000.
const IN_PARTS: &str = "xdp.frags";
/// One that takes them whole: all there is before Linux 5.18.
const WHOLE: &str = "xdp";

/// `r0 = XDP_PASS; exit`.
const PROGRAM: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// Writes the object files that [`load`] takes.
pub(super) fn write(directory: &Path) -> Result<()> {
    for section in [IN_PARTS, WHOLE] {
        let path = path(directory, section);
        fs::write(&path, object(section)?).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Loads the program on an interface, in the driver.
pub(super) fn load(host: &Host, interface: &str) -> Result<()> {
    let load = |section| {
        let path = path(host.directory(), section);
        let path = path.to_string_lossy();
        host.ip(&[
            "link", "set", "dev", interface, "xdpdrv", "obj", &path, "sec", section,
        ])
    };
    load(IN_PARTS).or_else(|_| load(WHOLE))
}

fn path(directory: &Path, section: &str) -> PathBuf {
    directory.join(format!("pass.{section}.o"))
}

fn object(section: &str) -> Result<Vec<u8>> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), section.into(), SectionKind::Text);
    object.append_section_data(section, &PROGRAM, 8);
    object.add_symbol(Symbol {
        name: b"pass".to_vec(),
        value: 0,
        size: PROGRAM.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    object.write().context("make the XDP program that passes")
}
