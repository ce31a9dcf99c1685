//! Commands and memory with ten thousand endpoints, a thousand services, a million flows.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{ProgramFd, loaded_programs};
use lb_userspace::lab::{Balancer, Configuration, Family, Lab, Transport};

use super::command::{self, Effect};
use super::figures::Samples;
use super::rig::{Rig, Stretch};
use super::stage;
use super::traffic::{self, Kind, Service, endpoint, headers, length, vip};

/// Flows that are open while commands are measured.
const FLOWS: u32 = 1 << 20;
/// Services, and backends of a large one.
const SERVICES: u16 = 1000;
const BACKENDS: u16 = 100;
/// Endpoints of all of these.
const ENDPOINTS: u16 = 10_000;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Milliseconds of changes.
    pub changes: Vec<Effect>,
    /// Milliseconds of other things, with their names.
    pub others: Vec<(String, Samples)>,
    /// Kernel memory in bytes, with what it is for.
    pub memory: Vec<(String, u64)>,
}

/// Measures one configuration after the other.
pub fn measure(objects: &Path, programs: &Path, rounds: usize) -> Result<Scale> {
    let mut scale = Scale {
        changes: Vec::new(),
        others: Vec::new(),
        memory: Vec::new(),
    };
    large_service(objects, programs, rounds, &mut scale)?;
    many_services(programs, rounds, &mut scale)?;
    Ok(scale)
}

/// One service with a hundred backends of a hundred endpoints, without flows and with a million.
fn large_service(objects: &Path, programs: &Path, rounds: usize, scale: &mut Scale) -> Result<()> {
    let lab = stage::build()?;
    let of = |backend: u16| -> Vec<_> {
        let each = ENDPOINTS / BACKENDS;
        let numbers = backend * each..(backend + 1) * each;
        numbers.map(|number| endpoint(Family::V4, number)).collect()
    };
    let configuration = Configuration::on(&lab.node().interfaces())
        .setting(&format!("flows = {FLOWS}"))
        .service("echo", Transport::Tcp, vip(Family::V4));
    let configuration = (0..BACKENDS).fold(configuration, |text, backend| {
        text.backend(&format!("b{backend:02}"), 10, &of(backend))
    });
    let _balancer = Balancer::start(&lab, &programs.join("lbd"), configuration.text())?;
    let size = "100 × 100 endpoints".to_owned();
    let of = ("echo", "b50");
    let changes = command::change(&lab, programs, size.clone(), of, rounds)?;
    scale.changes.push(changes);
    let (pins, node) = (lab.pins(), lab.node());
    let opened = node.run(|| open(objects, &pins, &lab))??;
    ensure!(opened > FLOWS / 100 * 99, "{opened} flows are open");
    let size = format!("{size}, a million flows");
    let changes = command::change(&lab, programs, size, of, rounds)?;
    scale.changes.push(changes);
    for (name, words) in [
        ("lbctl status", &["status"][..]),
        ("lbctl get backends", &["get", "backends"]),
    ] {
        let name = format!("`{name}`, 10 000 endpoints, a million flows");
        scale
            .others
            .push((name, times(&lab, programs, words, rounds)?));
    }
    for map in ["FLOWS4", "FLOWS6"] {
        let name = format!("{map}, `flows = {FLOWS}`");
        scale.memory.push((name, memory(&lab.pins().join(map))?));
    }
    Ok(())
}

/// A thousand services on ports of their own, with the same ten hosts behind each.
fn many_services(programs: &Path, rounds: usize, scale: &mut Scale) -> Result<()> {
    let lab = stage::build()?;
    let hosts = |first: u16, port: u16| -> Vec<_> {
        let mut hosts: Vec<_> = (first..first + 5)
            .map(|number| endpoint(Family::V4, number))
            .collect();
        hosts.iter_mut().for_each(|host| host.set_port(port));
        hosts
    };
    let configuration = Configuration::on(&lab.node().interfaces());
    let configuration = (0..SERVICES).fold(configuration, |text, number| {
        let port = 20_000 + number;
        let mut address = vip(Family::V4);
        address.set_port(port);
        text.service(&format!("s{number:03}"), Transport::Tcp, address)
            .backend("old", 90, &hosts(0, port))
            .backend("new", 10, &hosts(5, port))
    });
    let start = Instant::now();
    let balancer = Balancer::start(&lab, &programs.join("lbd"), configuration.text())?;
    let mut started = Samples::default();
    started.add(start.elapsed().as_secs_f64() * 1e3);
    let size = "1000 services × 10 endpoints";
    scale
        .others
        .push((format!("start of `lbd`, {size}"), started));
    let changes = command::change(&lab, programs, size.to_owned(), ("s500", "new"), rounds)?;
    scale.changes.push(changes);
    for (name, words) in [
        ("lbctl status", &["status"][..]),
        ("lbctl get backends", &["get", "backends"]),
    ] {
        let name = format!("`{name}`, {size}");
        scale
            .others
            .push((name, times(&lab, programs, words, rounds)?));
    }
    let mut rest = 0;
    for entry in fs::read_dir(lab.pins())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.chars().any(char::is_lowercase) || name == "WAYS" {
            continue;
        }
        let bytes = memory(&path)?;
        match &*name {
            "SLOTS" => scale
                .memory
                .push(("SLOTS, room for 256 tables of 65 536 slots".into(), bytes)),
            "COUNTERS" => scale.memory.push(("COUNTERS, all CPUs".into(), bytes)),
            "FLOWS4" | "FLOWS6" => {}
            _ => rest += bytes,
        }
    }
    scale
        .memory
        .push(("all other pinned maps".to_owned(), rest));
    drop(balancer);
    Ok(())
}

fn times(lab: &Lab, programs: &Path, words: &[&str], rounds: usize) -> Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..rounds {
        samples.add(command::command(lab, programs, words)?);
    }
    Ok(samples)
}

/// Opens flows in the program that `lbd` has attached; returns how many. To be called on the node.
fn open(objects: &Path, pins: &Path, lab: &Lab) -> Result<u32> {
    let program = attached(pins)?;
    let mut rig = Rig::load(objects, FLOWS, stage::interface()?)?;
    let requests: Vec<_> = (0..FLOWS)
        .map(|flow| traffic::request(Family::V4, flow))
        .collect();
    rig.lay(0, &requests)?;
    rig.test(&program)?;
    let stretch = Stretch {
        start: 0,
        flows: Some(FLOWS),
    };
    let node = lab.node().address(Family::V4);
    let headers = headers(Family::V4, Service::Nat, Kind::Open, node);
    rig.aim(&headers, stretch, 0, None)?;
    let mut out = vec![0; length(Family::V4)];
    let mut opened = 0;
    for _ in 0..FLOWS {
        opened += u32::from(rig.run_once(&mut out)? == super::rig::TX);
    }
    Ok(opened)
}

/// The program behind the pinned link.
fn attached(pins: &Path) -> Result<ProgramFd> {
    let mut entries = fs::read_dir(pins)?.filter_map(Result::ok);
    let link = entries
        .find(|entry| entry.file_name().to_string_lossy().starts_with("xdp-"))
        .context("no link is pinned")?;
    let id = FdLink::from(PinnedLink::from_pin(link.path())?)
        .info()?
        .program_id();
    let mut all = loaded_programs().filter_map(Result::ok);
    let program = all.find(|program| program.id() == id);
    Ok(program.context("the linked program is gone")?.fd()?)
}

/// What a pinned map takes of the kernel's memory.
fn memory(pin: &Path) -> Result<u64> {
    let map = MapData::from_pin(pin).with_context(|| format!("open {}", pin.display()))?;
    let info = fs::read_to_string(format!(
        "/proc/self/fdinfo/{}",
        map.fd().as_fd().as_raw_fd()
    ))?;
    let bytes = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    let bytes = bytes.context("the kernel does not tell what a map takes")?;
    Ok(bytes.trim().parse()?)
}
