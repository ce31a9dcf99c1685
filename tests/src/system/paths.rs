//! Packets in all sizes and by all ways: from cold, large transfers, generic mode, what is not ours.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::dataplane::takes_frags;
use lb_userspace::lab::{Ask, Configuration, Family, Topology, Transport};
use libtest_mimic::Trial;

use super::scene::{SERVICES, Scene};
use super::trial::{in_both, trial};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = in_both(
        "a flow opens when no neighbour is known",
        neighbours_from_cold,
    );
    trials.extend(in_both("what is not for a service passes", others_pass));
    trials.extend(in_both("100 MB arrive unchanged both ways", |topology| {
        transfers(topology, "native")
    }));
    trials.extend(in_both(
        "100 MB arrive unchanged both ways in generic mode",
        |topology| transfers(topology, "generic"),
    ));
    trials.extend([
        trial("generic mode serves every kind of traffic", || {
            generic(&Topology::two_nets())
        }),
        trial(
            "generic mode takes packets whose checksums are left to the device",
            offloaded,
        ),
        trial(
            "generic mode takes packets that are left to the device to part",
            unsegmented,
        ),
        trial(
            "generic mode does not mind receive offload on the node",
            merged,
        ),
    ]);
    trials.extend(in_both("an MTU of 9000 is served in generic mode", |it| {
        jumbo(it, "generic")
    }));
    // Before Linux 5.18 there is no native mode for it.
    let is_native = takes_frags().unwrap_or(false);
    let native = in_both("an MTU of 9000 is served in native mode", |it| {
        jumbo(it, "native")
    });
    trials.extend(
        native
            .into_iter()
            .map(|it| it.with_ignored_flag(!is_native)),
    );
    trials
}

/// Port of the bulk servers.
const BULK: u16 = 9001;
const BYTES: u64 = 100_000_000;
const LIMIT: Duration = Duration::from_secs(60);

fn neighbours_from_cold(topology: &Topology) -> Result<()> {
    let scene = Scene::build(topology)?;
    for service in SERVICES {
        for (weights, name) in [(["old=1", "new=0"], "one"), (["old=0", "new=1"], "two")] {
            scene.set_weight(service, &weights)?;
            forget_neighbours(&scene)?;
            let counts = scene.ask(service, 1)?;
            ensure!(
                counts.of(name) == 1,
                "{}: {counts}\n{}",
                service.name,
                reasons(&scene)?
            );
            let many = scene.ask(service, 50)?;
            ensure!(
                many.of(name) == 50,
                "{}: {many}\n{}",
                service.name,
                reasons(&scene)?
            );
            eprintln!(
                "{} to {name} from cold: {:.1?}, warm: {:.1?} each",
                service.name,
                counts.elapsed,
                many.elapsed / 50
            );
        }
    }
    Ok(())
}

/// No host knows a neighbour any more.
fn forget_neighbours(scene: &Scene) -> Result<()> {
    let lab = scene.lab();
    for host in [lab.client(), lab.node()]
        .into_iter()
        .chain(lab.endpoints())
    {
        for family in ["-4", "-6"] {
            host.ip(&[family, "neighbour", "flush", "all"])?;
        }
        let mut show = Command::new("ip");
        show.args(["neighbour", "show", "nud", "reachable"]);
        let left = host.output(show, LIMIT)?;
        ensure!(
            left.stdout.is_empty(),
            "{}",
            String::from_utf8_lossy(&left.stdout)
        );
    }
    Ok(())
}

fn others_pass(topology: &Topology) -> Result<()> {
    let scene = Scene::build(topology)?;
    let (one, node) = (scene.lab().endpoint("one")?, scene.lab().node());
    let _echo = node.tcp_echo("node", 7000)?;
    for family in Family::BOTH {
        let own = Ask::new(
            Transport::Tcp,
            SocketAddr::new(node.address(family), 7000),
            20,
        );
        let counts = scene.lab().client().ask(own)?;
        ensure!(counts.of("node") == 20, "the node itself: {counts}");
    }
    for service in SERVICES {
        let ask = Ask::new(service.transport, service.at(one), 20);
        let counts = scene.lab().client().ask(ask)?;
        ensure!(counts.of("one") == 20, "an endpoint itself: {counts}");
    }
    Ok(())
}

fn generic(topology: &Topology) -> Result<()> {
    let mut scene = Scene::without_lbd(topology)?;
    let interfaces = scene.lab().node().interfaces();
    let configuration = scene.with_services(Configuration::in_mode(&interfaces, "generic"))?;
    scene.start(&configuration)?;
    let status = scene.json(&["status"])?;
    for interface in status["interfaces"].as_array().context("interfaces")? {
        ensure!(interface["mode"] == "generic", "{interface}");
    }
    for service in SERVICES {
        scene.set_weight(service, &["new=50"])?;
        scene.ask_for_share(service, 400, 0.5)?;
    }
    Ok(())
}

fn transfers(topology: &Topology, mode: &str) -> Result<()> {
    let mut scene = bulk(topology, Some(mode))?;
    transfer_all(&mut scene, BYTES, mode)
}

/// What a local socket sends has no checksum yet. In generic mode it is an skb that says so, and the
/// receiver believes it.
fn offloaded() -> Result<()> {
    let topology = Topology::two_nets().checksum_offload(true);
    let mut scene = bulk(&topology, Some("generic"))?;
    let lab = scene.lab();
    for host in [lab.client()].into_iter().chain(lab.endpoints()) {
        host.ethtool(&["-K", "eth0", "tso", "off", "gso", "off"])?;
    }
    transfer_all(&mut scene, BYTES, "generic, offloaded")
}

/// A local socket hands up to 64 KiB to a device that can part them. In generic mode the program sees
/// them whole.
fn unsegmented() -> Result<()> {
    let topology = Topology::two_nets().checksum_offload(true);
    let mut scene = bulk(&topology, Some("generic"))?;
    transfer_all(&mut scene, BYTES, "generic, unsegmented")
}

/// A network card would merge what it receives; the kernel leaves that out before a program of generic
/// mode, which could not send such packets.
fn merged() -> Result<()> {
    let mut scene = bulk(&Topology::two_nets(), Some("generic"))?;
    let node = scene.lab().node();
    for interface in node.interfaces() {
        node.ethtool(&["-K", &interface, "gro", "on"])?;
    }
    transfer_all(&mut scene, BYTES, "generic, merged")
}

/// Every full segment lies in several buffers.
fn jumbo(topology: &Topology, mode: &str) -> Result<()> {
    let mut scene = bulk(&topology.clone().mtu(9000), Some(mode))?;
    transfer_all(&mut scene, BYTES, &format!("{mode}, MTU 9000"))
}

/// A scene with a bulk service for each address family, lbd in this XDP mode.
pub(super) fn bulk(topology: &Topology, mode: Option<&str>) -> Result<Scene> {
    let mut scene = Scene::without_lbd(topology)?;
    let one = scene.lab().endpoint("one")?;
    let server = one.bulk("one", BULK)?;
    let interfaces = scene.lab().node().interfaces();
    let mut configuration = match mode {
        Some(mode) => Configuration::in_mode(&interfaces, mode),
        None => Configuration::on(&interfaces),
    };
    for (name, family) in [("bulk", Family::V4), ("bulk-v6", Family::V6)] {
        let endpoint = SocketAddr::new(one.address(family), BULK);
        configuration = configuration
            .service(name, Transport::Tcp, SocketAddr::new(family.vip(), BULK))
            .backend("old", 1, &[endpoint]);
    }
    scene.serve(vec![server]);
    scene.start(&configuration)?;
    Ok(scene)
}

/// Transfers so much down and up by each address family; it must arrive as it was sent.
pub(super) fn transfer_all(scene: &mut Scene, bytes: u64, what: &str) -> Result<()> {
    let client = scene.lab().client();
    for (family, seed) in Family::BOTH.into_iter().zip(1..) {
        let target = SocketAddr::new(family.vip(), BULK);
        let down = client.download(target, bytes, seed, LIMIT);
        let down = down.with_context(|| reasons(scene).unwrap_or_default())?;
        let up = client.upload(target, bytes, seed, LIMIT);
        let up = up.with_context(|| reasons(scene).unwrap_or_default())?;
        for transfer in [&down, &up] {
            ensure!(transfer.is_whole(), "{target}: {transfer:?}");
        }
        eprintln!(
            "{} MB {what} {family:?}: {:.2?} down, {:.2?} up",
            bytes / 1_000_000,
            down.elapsed,
            up.elapsed
        );
    }
    Ok(())
}

fn reasons(scene: &Scene) -> Result<String> {
    Ok(scene.lbctl(&["get", "reasons"])?.stdout)
}
