//! Trials of the lab itself, with no balancer in it: they need root, so a test that has it calls
//! them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Ask, Family, Hold, Lab, LongLived, Topology, Transport};

/// Port of the echo servers.
const ECHO: u16 = 9000;
/// Port of the bulk servers.
const BULK: u16 = 9001;

/// Every endpoint answers the client at its own address, by TCP and UDP, IPv4 and IPv6, from cold:
/// no neighbour is known beforehand.
///
/// # Errors
/// The first conversation that failed or was answered by another endpoint.
pub fn reaches_endpoints(topology: &Topology) -> Result<()> {
    let lab = topology.build()?;
    for host in lab.endpoints() {
        let _tcp = host.tcp_echo(host.name(), ECHO)?;
        let _udp = host.udp_echo(host.name(), ECHO)?;
        for (family, transport) in everything() {
            let target = SocketAddr::new(host.address(family), ECHO);
            let counts = lab.client().ask(Ask::new(transport, target, 100))?;
            ensure!(
                counts.of(host.name()) == 100 && counts.failed() == 0,
                "{transport} to {target}: {counts}"
            );
        }
    }
    Ok(())
}

/// Nothing answers at the virtual addresses: a test of the balancer cannot pass without it.
///
/// # Errors
/// When something answered.
pub fn vip_is_silent(topology: &Topology) -> Result<()> {
    let lab = topology.build()?;
    for (family, transport) in everything() {
        let target = SocketAddr::new(family.vip(), ECHO);
        let counts = lab.client().ask(Ask::new(transport, target, 1))?;
        ensure!(counts.answered() == 0, "{transport} to {target}: {counts}");
    }
    Ok(())
}

/// `count` conversations stay open and talk for `duration`; none breaks, none moves, and they break
/// when the server goes. The server is a process of its own: `main` must begin with
/// [`serve_if_asked`](super::serve_if_asked).
///
/// # Errors
/// What happened instead.
pub fn holds(topology: &Topology, count: usize, duration: Duration) -> Result<()> {
    let lab = topology.build()?;
    let host = lab.endpoints().first().context("a lab without endpoints")?;
    let server = host.tcp_echo_apart(host.name(), ECHO)?;
    let target = SocketAddr::new(host.address(Family::V4), ECHO);
    let hold = Hold::new(Transport::Tcp, target, count, Duration::from_secs(1));

    let held = LongLived::open(lab.client(), hold)?;
    held.wait_open(Duration::from_secs(60))?;
    std::thread::sleep(duration);
    let outcome = held.stop()?;
    ensure!(
        outcome.held.broken == 0 && outcome.held.moved == 0 && outcome.held.echoed >= count,
        "{outcome:?}"
    );
    ensure!(
        outcome.by_name.get(host.name()) == Some(&count),
        "{outcome:?}"
    );

    let held = LongLived::open(lab.client(), Hold { count: 10, ..hold })?;
    held.wait_open(Duration::from_secs(10))?;
    drop(server);
    std::thread::sleep(hold.interval * 2);
    let outcome = held.stop()?;
    ensure!(outcome.held.broken == 10, "the server is gone: {outcome:?}");
    Ok(())
}

/// `bytes` pass whole in both directions, by IPv4 and IPv6.
///
/// # Errors
/// The first transfer that failed or arrived changed.
pub fn carries(topology: &Topology, bytes: u64) -> Result<()> {
    let lab = topology.build()?;
    let host = lab.endpoints().first().context("a lab without endpoints")?;
    let _bulk = host.bulk(host.name(), BULK)?;
    let limit = Duration::from_secs(60);
    for (family, seed) in Family::BOTH.into_iter().zip(1..) {
        let target = SocketAddr::new(host.address(family), BULK);
        for transfer in [
            lab.client().download(target, bytes, seed, limit)?,
            lab.client().upload(target, bytes, seed, limit)?,
        ] {
            ensure!(transfer.is_whole(), "{target}: {transfer:?}");
        }
    }
    Ok(())
}

/// Two labs with the same addresses do not see each other.
///
/// # Errors
/// When a question was answered in the other lab.
pub fn stands_side_by_side(topology: &Topology) -> Result<()> {
    let labs = [topology.build()?, topology.build()?];
    let serve = |lab: &Lab, name: &str| {
        let host = lab.endpoints().first().context("a lab without endpoints")?;
        let target = SocketAddr::new(host.address(Family::V6), ECHO);
        Ok::<_, anyhow::Error>((host.tcp_echo(name, ECHO)?, target))
    };
    let (_first, target) = serve(&labs[0], "first")?;
    let (_second, _) = serve(&labs[1], "second")?;
    for (lab, name) in labs.iter().zip(["first", "second"]) {
        let counts = lab.client().ask(Ask::new(Transport::Tcp, target, 10))?;
        ensure!(counts.of(name) == 10, "lab {name}: {counts}");
    }
    Ok(())
}

/// Nothing of a lab is left after a panic in the middle of its use.
///
/// # Errors
/// What was left.
pub fn leaves_nothing_after_a_panic(topology: &Topology) -> Result<()> {
    let lab = topology.build()?;
    let directory = lab.directory().to_owned();
    let names: Vec<_> = [lab.client(), lab.node()]
        .into_iter()
        .chain(lab.endpoints())
        .map(|host| Path::new("/run/netns").join(host.namespace()))
        .collect();
    let panicked = std::thread::spawn(move || {
        let _lab = lab;
        // Without the hook: nobody needs to read about a panic on purpose.
        std::panic::resume_unwind(Box::new("on purpose"))
    })
    .join();
    ensure!(panicked.is_err(), "the panic was lost");
    for path in names.iter().chain([&directory]) {
        ensure!(!path.exists(), "{} is left", path.display());
    }
    Ok(())
}

fn everything() -> impl Iterator<Item = (Family, Transport)> {
    Family::BOTH
        .into_iter()
        .flat_map(|family| Transport::BOTH.map(|transport| (family, transport)))
}
