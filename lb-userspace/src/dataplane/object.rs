//! The kernel program as an object: embedded, given its constants, loaded.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{MapData, ProgramArray};
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use lb_common::hash;
use lb_common::record::ways;

use super::clock::Clock;
use super::hook::{DELIVER, LOCAL};
use super::{XdpMode, frags};

/// The object file, built by this crate's build script.
pub static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb.bpf.o"));

/// The program for every frame.
pub const XDP: &str = "lb";
/// The program that tells the tick it is.
pub const TICK: &str = "lb_tick";
/// The programs that [`XDP`] leaves packets to, in their places of [`WAYS`].
const ASIDE: [(u32, &str); ways::COUNT as usize] = [
    (ways::FRAGMENT, "lb_fragment"),
    (ways::NOT_PLAIN, "lb_not_plain"),
    (ways::MESSAGE, "lb_message"),
    (ways::TOO_BIG, "lb_too_big"),
];
/// The map of these programs. The kernel empties it when nobody but programs holds it, so it is pinned;
/// but it belongs to one loaded program, and the next daemon makes another.
pub const WAYS: &str = "WAYS";
/// Where the same map of [`Programs`] for generic mode is pinned.
pub const WAYS_OF_GENERIC: &str = "WAYS_OF_GENERIC";

/// Every map that outlives the daemon.
pub const MAPS: &[&str] = &[
    "SERVICES",
    "ENDPOINTS",
    "SLOTS",
    "DEALT",
    "PORT_RANGES",
    "SWITCHES",
    "RULES4",
    "RULES6",
    "RULE_TABLES",
    "FLOWS4",
    "FLOWS6",
    "EGRESS",
    "ECHO",
    "COUNTERS",
    "CPUS",
    "BACKENDS",
    "LAYOUT",
];

/// What the program is loaded with. Kept in the pinned maps, because flows depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constants {
    /// Key of the hashes.
    pub seed: u64,
    /// Buckets of the flow table of each family: a power of two.
    pub buckets: u32,
    /// First and last node port.
    pub ports: (u16, u16),
}

/// How the program is loaded, whatever flows there are.
#[derive(Clone, Copy, Debug)]
pub struct Loading {
    /// It takes frames in several buffers, see [`frags::are_taken`].
    pub frags: bool,
    /// It tells of every refused packet.
    pub log_packets: bool,
}

/// Loads the programs; maps that are pinned in `pin_dir` are used, others made and pinned there.
///
/// # Errors
/// If the kernel refuses a map or program; with the verifier's words if it was the verifier.
pub fn load(pin_dir: &Path, constants: &Constants, loading: Loading) -> Result<Ebpf> {
    let keys = hash::keys(constants.seed);
    let mask = constants.buckets - 1;
    let (first, last) = constants.ports;
    let count = (last - first).saturating_add(1);
    // aya_log_common::Level: 0 is off, 3 is info.
    let log_level: u8 = if loading.log_packets { 3 } else { 0 };
    let cpus = nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
    let cpus = u32::try_from(cpus)?;
    let clock = Clock::read()?;
    let mut loader = EbpfLoader::new();
    for map in MAPS {
        loader.map_pin_path(map, pin_dir.join(map));
    }
    let mut ebpf = loader
        .map_max_entries("FLOWS4", constants.buckets)
        .map_max_entries("FLOWS6", constants.buckets)
        .map_max_entries("CPUS", cpus)
        .override_global("HASH_KEYS", &keys[..], true)
        .override_global("FLOW_MASK", &mask, true)
        .override_global("FIRST_NODE_PORT", &first, true)
        .override_global("NODE_PORT_COUNT", &count, true)
        .override_global("CLOCK_INTERVAL", &clock.interval, true)
        .override_global("CLOCK_OFFSET", &clock.offset, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .override_global("FRAGS", &u8::from(loading.frags), true)
        .load(&frags::object(OBJECT, loading.frags))
        .context("load the kernel program's maps")?;
    xdp(&mut ebpf)?
        .load()
        .map_err(|error| refused(XDP, &error))?;
    for (place, name) in ASIDE {
        load_aside(&mut ebpf, place, name)?;
    }
    deliver(&mut ebpf)?
        .load()
        .map_err(|error| refused(DELIVER.program, &error))?;
    Ok(ebpf)
}

fn load_aside(ebpf: &mut Ebpf, place: u32, name: &str) -> Result<()> {
    let program = named(ebpf, name)?;
    program.load().map_err(|error| refused(name, &error))?;
    let program = program.fd()?.try_clone()?;
    let map = ebpf.map_mut(WAYS).context("the object has no map WAYS")?;
    let mut ways: ProgramArray<&mut MapData> = map.try_into()?;
    ways.set(place, &program, 0)
        .with_context(|| format!("put {name} into its place"))
}

/// The programs for both modes.
///
/// In generic mode the kernel gives a program that takes frames in several buffers all frames as copies that
/// lack the length of their link-layer header, without which no program at the ingress hook finds its way in
/// them (seen in 6.18). So there the program is one that does not: it gets every frame whole.
pub struct Programs<'a> {
    native: &'a mut Ebpf,
    generic: Option<Ebpf>,
    /// Loads those for generic mode, if they are not the same.
    load: Option<&'a dyn Fn() -> Result<Ebpf>>,
}

impl<'a> Programs<'a> {
    /// Those for native mode are loaded; `load` loads the others, if they are not the same.
    pub fn new(native: &'a mut Ebpf, load: Option<&'a dyn Fn() -> Result<Ebpf>>) -> Self {
        Self {
            native,
            generic: None,
            load,
        }
    }

    /// The XDP program for a mode that is not `Auto`.
    ///
    /// # Errors
    /// If the kernel refuses to load it.
    pub fn xdp(&mut self, mode: XdpMode) -> Result<&mut Xdp> {
        match (mode, self.load) {
            (XdpMode::Generic, Some(load)) => {
                let loaded = match self.generic.take() {
                    Some(loaded) => loaded,
                    None => load()?,
                };
                xdp(self.generic.insert(loaded))
            }
            _ => xdp(self.native),
        }
    }

    /// The program at the kernel's ingress hook.
    ///
    /// # Errors
    /// If the object has none.
    pub fn deliver(&mut self) -> Result<&mut SchedClassifier> {
        deliver(self.native)
    }

    /// Keeps the programs that the attached ones leave packets to, instead of those that earlier ones
    /// did: to be called when those are attached no more.
    ///
    /// # Errors
    /// If a map cannot be pinned.
    pub fn keep_aside(&mut self, pin_dir: &Path) -> Result<()> {
        keep_aside(self.native, &pin_dir.join(WAYS))?;
        let path = pin_dir.join(WAYS_OF_GENERIC);
        match &mut self.generic {
            Some(generic) => keep_aside(generic, &path),
            None => unpin(&path),
        }
    }
}

/// Removes a pin, if it is there.
///
/// # Errors
/// If it cannot be removed.
pub fn unpin(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("unpin {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn keep_aside(ebpf: &mut Ebpf, path: &Path) -> Result<()> {
    unpin(path)?;
    let map = ebpf.map_mut(WAYS).context("the object has no map WAYS")?;
    let ways: ProgramArray<&mut MapData> = map.try_into()?;
    ways.pin(path)
        .with_context(|| format!("pin {}", path.display()))
}

/// The XDP program.
///
/// # Errors
/// If the object has none.
pub fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    named(ebpf, XDP)
}

/// An XDP program.
///
/// # Errors
/// If the object has none of this name.
pub fn named<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the object has no program `{name}`"))?;
    Ok(program.try_into()?)
}

/// The program that sends what XDP could not.
///
/// # Errors
/// If the object has none.
pub fn deliver(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier> {
    classifier(ebpf, DELIVER.program)
}

/// The program that turns replies of endpoints on this node. Loaded when it is first asked for: most nodes
/// have no use for it.
///
/// # Errors
/// If the object has none, or the kernel refuses it; with the verifier's words if it was the verifier.
pub fn local(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier> {
    let program = classifier(ebpf, LOCAL.program)?;
    if program.fd().is_err() {
        program
            .load()
            .map_err(|error| refused(LOCAL.program, &error))?;
    }
    Ok(program)
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the object has no program `{name}`"))?;
    Ok(program.try_into()?)
}

fn refused(program: &str, error: &ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            anyhow!("the kernel refuses program {program}: {io_error}\n{verifier_log}")
        }
        other => anyhow!("load program {program}: {other}"),
    }
}
