//! Endpoints on the node itself: pods behind veths with routes, and on a bridge. What they send has checksums
//! that are left to the device, and is larger than a packet; what the client receives is checked by it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::Topology;
use libtest_mimic::Trial;

use super::paths::{bulk, transfer_all};
use super::scene::{ECHO, SERVICES, Scene, require_unbroken};
use super::trial::trial;

pub(super) fn trials() -> Vec<Trial> {
    [
        in_both("replies of pods are turned back", answer),
        in_both("100 MB from and to pods arrive unchanged", transfer),
        in_both("lbd started again takes over the interfaces of pods", started_again),
        in_both("detach takes the program off the interfaces of pods", detach),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const HELD: usize = 30;
const INTERVAL: Duration = Duration::from_millis(20);
const BYTES: u64 = 100_000_000;

/// The same trial with both kinds of pods.
fn in_both(name: &str, body: fn(&Topology) -> Result<()>) -> Vec<Trial> {
    vec![
        trial(format!("{name}, by routes"), move || {
            body(&Topology::routed_pods())
        }),
        trial(format!("{name}, by a bridge"), move || {
            body(&Topology::bridged_pods())
        }),
    ]
}

fn answer(topology: &Topology) -> Result<()> {
    let scene = Scene::build(topology)?;
    for service in SERVICES {
        scene.ask_for_share(service, 400, 0.0)?;
        scene.set_weight(service, &["new=50"])?;
        scene.ask_for_share(service, 600, 0.5)?;
    }
    let counted = scene.json(&["get", "backends"])?;
    for backend in counted["backends"].as_array().context("backends")? {
        let counters = &backend["counters"];
        let number = |name: &str| counters[name].as_u64().unwrap_or_default();
        ensure!(
            number("packets_out") > 0 && number("packets_out") * 2 > number("packets_in"),
            "{backend}"
        );
    }
    Ok(())
}

fn transfer(topology: &Topology) -> Result<()> {
    let mut scene = bulk(topology, None)?;
    transfer_all(&mut scene, BYTES, "with pods")?;
    let counted = scene.json(&["get", "backends"])?;
    for backend in counted["backends"].as_array().context("backends")? {
        let bytes = backend["counters"]["bytes_out"].as_u64().unwrap_or_default();
        let packets = backend["counters"]["packets_out"].as_u64().unwrap_or_default();
        // Packets as they are on the wire, whatever they came in: headers and not more than the MTU.
        ensure!(
            bytes > BYTES && bytes < BYTES * 11 / 10 && bytes.div_ceil(packets) <= 1500,
            "{backend}"
        );
    }
    Ok(())
}

fn started_again(topology: &Topology) -> Result<()> {
    let mut scene = Scene::build(topology)?;
    let held = scene.hold_all(HELD, INTERVAL)?;
    let before = endpoint_interfaces(&scene)?;
    scene.take_balancer()?.kill()?;
    for service in SERVICES {
        scene.ask_for_share(service, 50, 0.0)?;
    }
    scene.start_again()?;
    let after = endpoint_interfaces(&scene)?;
    ensure!(!after.is_empty() && before == after, "{before:?} {after:?}");
    for service in SERVICES {
        scene.ask_for_share(service, 50, 0.0)?;
    }
    for held in held {
        require_unbroken(held, HELD)?;
    }
    Ok(())
}

fn detach(topology: &Topology) -> Result<()> {
    let scene = Scene::build(topology)?;
    scene.ask_for_share(ECHO, 50, 0.0)?;
    let said = scene.lbctl(&["detach", "--yes"])?;
    ensure!(said.code == Some(0), "{}", said.stderr);
    ensure!(!scene.lab().pins().exists(), "pins are left");
    Ok(())
}

/// Names of the interfaces that the program is on, beside XDP.
fn endpoint_interfaces(scene: &Scene) -> Result<Vec<String>> {
    let status = scene.json(&["status"])?;
    let list = status["endpoint_interfaces"].as_array().context("no list")?;
    Ok(list
        .iter()
        .map(|it| format!("{} {}", it["name"], it["hook"]))
        .collect())
}
