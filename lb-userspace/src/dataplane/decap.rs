//! The endpoints' end of tunnels, on hosts whose kernel has no tunnel devices.
//!
//! The program stays attached by its pinned link, `PIN_DIR/xdp-MODE-IFACE`; nothing of ours need run.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::maps::{HashMap, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{Xdp, XdpMode as Attach};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use lb_common::address::wide;

use super::attach::{refuse_foreign, unpin};
use super::{XdpMode, bpffs, frags, interface};

pub(super) static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/decap.bpf.o"));

/// What to unpack, and where.
#[derive(Clone, Debug)]
pub struct Decap {
    /// Directory of the pin, on a BPF file system.
    pub pin_dir: PathBuf,
    /// Where tunnels come in.
    pub interface: String,
    /// UDP port of the tunnels of mode `gue`.
    pub port: u16,
    /// Where the packets in them go: addresses of this host.
    pub addresses: Vec<IpAddr>,
}

/// Attaches the program, or puts it in the place of an earlier one; returns the mode it runs in.
///
/// # Errors
/// If the interface does not exist, somebody else's program runs there, or the kernel refuses.
pub fn attach(wanted: &Decap) -> Result<XdpMode> {
    if interface::index(&wanted.interface).is_none() {
        bail!(
            "interface {} does not exist; `ip link` lists those that do",
            wanted.interface
        );
    }
    bpffs::prepare(&wanted.pin_dir)?;
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let path = pin(&wanted.pin_dir, mode, &wanted.interface);
        if !path.exists() {
            continue;
        }
        let mut ebpf = load(wanted, mode)?;
        let program = program(&mut ebpf)?;
        let link = FdLink::from(PinnedLink::from_pin(&path)?);
        if let Ok(link) = program.attach_to_link(link.try_into()?) {
            drop(program.take_link(link)?);
            return Ok(mode);
        }
        // The interface the link was made for is gone; this one only has its name.
        unpin(&path, &wanted.interface)?;
    }
    refuse_foreign(&wanted.interface)?;
    let mut refusal = None;
    for (mode, how) in [
        (XdpMode::Native, Attach::Driver),
        (XdpMode::Generic, Attach::Skb),
    ] {
        let mut ebpf = load(wanted, mode)?;
        let program = program(&mut ebpf)?;
        match program.attach(&wanted.interface, how) {
            Ok(link) => {
                let link: FdLink = program.take_link(link)?.try_into()?;
                link.pin(pin(&wanted.pin_dir, mode, &wanted.interface))?;
                return Ok(mode);
            }
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(error) => Err(error).with_context(|| format!("attach to {}", wanted.interface)),
        None => bail!("no XDP mode to try"),
    }
}

/// Takes the program off an interface; false if it was not there.
///
/// # Errors
/// If the pin cannot be removed.
pub fn detach(pin_dir: &Path, interface: &str) -> Result<bool> {
    let mut was_there = false;
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let path = pin(pin_dir, mode, interface);
        if path.exists() {
            unpin(&path, interface)?;
            was_there = true;
        }
    }
    Ok(was_there)
}

/// Loads the program: for generic mode one that takes frames whole, see [`super::object::Programs`].
fn load(wanted: &Decap, mode: XdpMode) -> Result<Ebpf> {
    let takes_frags = mode == XdpMode::Native && frags::are_taken()?;
    let mut ebpf = EbpfLoader::new()
        .override_global("TUNNEL_PORT", &wanted.port, true)
        .load(&frags::object(OBJECT, takes_frags))
        .context("load the maps of the program that unpacks")?;
    program(&mut ebpf)?
        .load()
        .context("load the program that unpacks")?;
    let map = ebpf
        .map_mut("ADDRESSES")
        .context("the object has no map ADDRESSES")?;
    let mut addresses: HashMap<&mut MapData, [u64; 3], u32> = map.try_into()?;
    for address in &wanted.addresses {
        let (family, [a, b]) = wide(*address);
        addresses
            .insert([u64::from(family), a, b], 1, 0)
            .with_context(|| format!("note {address}"))?;
    }
    Ok(ebpf)
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let program = ebpf
        .program_mut("decap")
        .context("the object has no program `decap`")?;
    Ok(program.try_into()?)
}

fn pin(pin_dir: &Path, mode: XdpMode, interface: &str) -> PathBuf {
    let mode = if mode == XdpMode::Generic {
        "generic"
    } else {
        "native"
    };
    // `unpin` waits for a program that is called xdp to be gone.
    pin_dir.join(bpffs::name(&format!("xdp-{mode}-"), interface))
}
