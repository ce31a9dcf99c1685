//! Flows stay where they are.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::{Configuration, Topology, Transport};
use libtest_mimic::Trial;

use super::changes::Changes;
use super::scene::{ECHO, PORT, SERVICES, Scene, require_unbroken};
use super::trial::{in_both, trial_alone};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = in_both(
        "no flow breaks or moves through a hundred changes of weights with data flowing",
        a_hundred_changes,
    );
    trials.extend(in_both(
        "a drained backend gets no new flow and keeps its old ones",
        drain,
    ));
    trials.push(trial_alone(
        "connections one after another need no more node ports than there are",
        more_connections_than_ports,
    ));
    trials.push(trial_alone(
        "ten thousand live connections stay through a thousand changes of weights",
        ten_thousand,
    ));
    trials
}

fn a_hundred_changes(topology: &Topology) -> Result<()> {
    let mut scene = Scene::without_lbd(topology)?;
    // A small flow table: the answer to a change counts the live flows in it.
    let on_node = Configuration::on(&scene.lab().node().interfaces()).setting("flows = 16384");
    let configuration = scene.with_services(on_node)?;
    scene.start(&configuration)?;
    for service in SERVICES {
        scene.set_weight(service, &["new=50"])?;
    }
    let held = scene.hold_all(40, Duration::from_millis(40))?;
    let mut changes = Changes::of(&scene)?;
    let start = Instant::now();
    for number in 0..25 {
        let old = [100, 0, 37, 99, 1][number % 5];
        for service in SERVICES {
            changes.set(service, &[format!("old={old}%")])?;
        }
        // New flows meanwhile: they take table entries and node ports beside the held ones.
        if number % 5 == 0 {
            let counts = scene.ask(SERVICES[number / 5 % 4], 50)?;
            ensure!(counts.failed() == 0, "{counts}");
        }
    }
    // Two seconds at least, so that every conversation has talked through some of the changes.
    sleep(Duration::from_secs(2).saturating_sub(start.elapsed()));
    for held in held {
        let outcome = require_unbroken(held, 40)?;
        ensure!(outcome.held.echoed > 10 * 40, "{outcome:?}");
        ensure!(outcome.by_name.len() == 2, "all on one side: {outcome:?}");
    }
    changes.tell("100 changes of weights");
    Ok(())
}

fn drain(topology: &Topology) -> Result<()> {
    let scene = Scene::build(topology)?;
    for service in SERVICES {
        let held = scene.hold(service, 50, Duration::from_millis(20))?;
        let answer = scene.set_weight(service, &["old=0"])?;
        ensure!(
            answer["service"]["backends"][0]["live_flows"] == 50,
            "{answer}"
        );
        scene.ask_for_share(service, 300, 1.0)?;
        let before = held.held().echoed;
        sleep(Duration::from_millis(500));
        ensure!(held.held().echoed >= before + 50, "{:?}", held.held());
        let outcome = require_unbroken(held, 50)?;
        ensure!(outcome.by_name.get("one") == Some(&50), "{outcome:?}");
    }
    Ok(())
}

/// A connection that is over gives its node port back at once.
fn more_connections_than_ports() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let on_node = Configuration::on(&scene.lab().node().interfaces());
    let configuration = scene.with_services(on_node.setting("node-ports = \"20000-20999\""))?;
    scene.start(&configuration)?;
    let held = scene.hold(ECHO, 100, Duration::from_millis(100))?;
    let counts = scene.ask(ECHO, 5000)?;
    eprintln!(
        "5000 connections by 1000 node ports in {:.1?}; live then: {}",
        counts.elapsed,
        scene.json(&["status"])?["live"]
    );
    ensure!(
        counts.of("one") == 5000,
        "{counts}\n{}",
        scene.lbctl(&["get", "reasons"])?.stdout
    );
    require_unbroken(held, 100)?;
    Ok(())
}

fn ten_thousand() -> Result<()> {
    const COUNT: usize = 10_000;
    const CHANGES: usize = 1000;
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let (one, two) = (scene.lab().endpoint("one")?, scene.lab().endpoint("two")?);
    let configuration = Configuration::on(&scene.lab().node().interfaces())
        .service(ECHO.name, Transport::Tcp, ECHO.address())
        .backend("old", 1, &[ECHO.at(one)])
        .backend("new", 1, &[ECHO.at(two)]);
    scene.serve(Vec::new());
    let servers = scene
        .lab()
        .endpoints()
        .iter()
        .map(|host| host.tcp_echo_apart(host.name(), PORT))
        .collect::<Result<_>>()?;
    scene.serve(servers);
    scene.start(&configuration)?;
    let start = Instant::now();
    let held = scene.hold(ECHO, COUNT, Duration::from_secs(1))?;
    eprintln!("{COUNT} connections open after {:.1?}", start.elapsed());
    let mut changes = Changes::of(&scene)?;
    let start = Instant::now();
    for number in 0..CHANGES {
        let old = [100, 0, 50, 90, 10][number % 5];
        changes.set(ECHO, &[format!("old={old}%")])?;
    }
    // So that every conversation has talked through some of the changes.
    sleep(Duration::from_secs(3).saturating_sub(start.elapsed()));
    let status = scene.json(&["status"])?;
    let live = status["live"]["open"].as_u64().context("open flows")?;
    ensure!(live >= COUNT as u64, "{}", status["live"]);
    let outcome = require_unbroken(held, COUNT)?;
    ensure!(outcome.held.echoed >= 2 * COUNT, "{outcome:?}");
    changes.tell("1000 changes of weights with 10 000 live connections");
    Ok(())
}
