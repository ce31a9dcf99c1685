//! Which interfaces run the programs, and how that outlives the daemon.
//!
//! | object | lives as long as |
//! |---|---|
//! | map | a pin, a program that uses it, or an open file |
//! | program | a link that runs it |
//! | link | its pin: `PIN_DIR/xdp-MODE-IFACE`, `PIN_DIR/tcx-IFACE`, `PIN_DIR/local-IFACE` (see `hook`) |
//!
//! The daemon holds none of them alone. A new daemon puts its program into the links that are pinned:
//! the kernel exchanges it between two frames.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aya::programs::XdpMode as Attach;
use aya::programs::links::{FdLink, PinnedLink};

use super::hook::DELIVER;
use super::object::Programs;
use super::{Interface, XdpMode, bpffs, hook, interface};

/// How long the kernel may take to take a program off, and how often it is asked.
const GONE_LIMIT: Duration = Duration::from_secs(2);
const GONE_POLL: Duration = Duration::from_millis(1);

/// Attaches the programs to `wanted`, taking over links that are pinned, and takes them off every other
/// interface. Returns what each interface runs; `notes` gets what an operator should know.
///
/// # Errors
/// If an interface does not exist or the kernel refuses. Interfaces that ran a program before still
/// do.
pub fn attach(
    programs: &mut Programs<'_>,
    pin_dir: &Path,
    wanted: &[Interface],
    notes: &mut Vec<String>,
) -> Result<Vec<Interface>> {
    for one in wanted {
        if interface::index(&one.name).is_none() {
            bail!(
                "interface {} does not exist; `ip link` lists those that do",
                one.name
            );
        }
    }
    let mut running = Vec::new();
    for one in wanted {
        // First the program that takes what the other hands over.
        hook::attach(DELIVER, programs.deliver()?, pin_dir, &one.name, notes)
            .with_context(|| format!("attach to the ingress hook of {}", one.name))?;
        let mode = attach_xdp(programs, pin_dir, one, notes)
            .with_context(|| format!("attach XDP to {}", one.name))?;
        running.push(Interface {
            name: one.name.clone(),
            mode,
        });
    }
    for (path, name) in pins(pin_dir)? {
        if !wanted.iter().any(|one| one.name == name) {
            unpin(&path, &name)?;
            hook::detach_filter(DELIVER, &name);
            notes.push(format!(
                "{name} is not in the configuration any more: detached from it"
            ));
        }
    }
    notes.dedup();
    Ok(running)
}

/// Takes the programs off every interface.
///
/// # Errors
/// If a pin cannot be removed.
pub fn detach(pin_dir: &Path) -> Result<()> {
    // XDP first: without it nothing is handed over.
    let mut pins = pins(pin_dir)?;
    pins.sort_by_key(|(path, _)| !is_xdp(path));
    for (path, name) in pins {
        unpin(&path, &name)?;
        hook::detach_filter(DELIVER, &name);
    }
    Ok(())
}

/// Removes the pin of a link, and waits until the kernel has taken the program off: it does so a moment
/// after the last pin is gone.
pub(super) fn unpin(path: &Path, name: &str) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("unpin {}", path.display()))?;
    let deadline = Instant::now() + GONE_LIMIT;
    while is_xdp(path) && runs_xdp(name) && Instant::now() < deadline {
        sleep(GONE_POLL);
    }
    Ok(())
}

fn runs_xdp(name: &str) -> bool {
    let index = interface::index(name);
    index.is_some_and(|index| matches!(interface::xdp_attached(index), Ok(Some(_))))
}

fn attach_xdp(
    programs: &mut Programs<'_>,
    pin_dir: &Path,
    wanted: &Interface,
    notes: &mut Vec<String>,
) -> Result<XdpMode> {
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let path = xdp_pin(pin_dir, mode, &wanted.name);
        if !path.exists() {
            continue;
        }
        if wanted.mode == XdpMode::Auto || wanted.mode == mode {
            let program = programs.xdp(mode)?;
            let link = FdLink::from(PinnedLink::from_pin(&path)?);
            match program.attach_to_link(link.try_into()?) {
                Ok(link) => {
                    drop(program.take_link(link)?);
                    return Ok(mode);
                }
                // The interface the link was made for is gone; this one only has its name.
                Err(error) => notes.push(format!(
                    "the pinned link of {} could not be taken over ({error}): attached anew",
                    wanted.name
                )),
            }
        }
        unpin(&path, &wanted.name)?;
    }
    let modes: &[XdpMode] = match wanted.mode {
        XdpMode::Auto => &[XdpMode::Native, XdpMode::Generic],
        XdpMode::Native => &[XdpMode::Native],
        XdpMode::Generic => &[XdpMode::Generic],
    };
    refuse_foreign(&wanted.name)?;
    for (left, mode) in (0..modes.len()).rev().zip(modes) {
        let how = if *mode == XdpMode::Native {
            Attach::Driver
        } else {
            Attach::Skb
        };
        let program = programs.xdp(*mode)?;
        match program.attach(&wanted.name, how) {
            Ok(link) => {
                let link: FdLink = program.take_link(link)?.try_into()?;
                link.pin(xdp_pin(pin_dir, *mode, &wanted.name))?;
                return Ok(*mode);
            }
            Err(error) if left > 0 => notes.push(format!(
                "{} refuses native XDP ({error}): generic XDP is used, which is slower",
                wanted.name
            )),
            Err(error) => return Err(error.into()),
        }
    }
    bail!("no XDP mode to try")
}

/// Never pushes a program aside that somebody else attached.
pub(super) fn refuse_foreign(name: &str) -> Result<()> {
    let attached = interface::index(name)
        .map(interface::xdp_attached)
        .transpose()?
        .flatten();
    if let Some(attached) = attached {
        bail!(
            "an XDP program that is not lb's runs there already (program id {}); \
             `bpftool prog show id {0}` tells whose it is, `ip link set dev {name} xdp off` ends it",
            attached.program_id
        );
    }
    Ok(())
}

fn xdp_pin(pin_dir: &Path, mode: XdpMode, interface: &str) -> PathBuf {
    let mode = if mode == XdpMode::Native {
        "native"
    } else {
        "generic"
    };
    pin_dir.join(bpffs::name(&format!("xdp-{mode}-"), interface))
}

fn is_xdp(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("xdp-"))
}

/// Every pinned link and its interface's name.
fn pins(pin_dir: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut pins = Vec::new();
    for entry in fs::read_dir(pin_dir).with_context(|| format!("list {}", pin_dir.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let interface = ["xdp-native-", "xdp-generic-", "tcx-"]
            .iter()
            .find_map(|beginning| bpffs::interface(&name, beginning));
        if let Some(interface) = interface {
            pins.push((path.clone(), interface));
        }
    }
    Ok(pins)
}
