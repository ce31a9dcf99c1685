//! Endpoints on the node itself: pods behind veths with routes, and on a bridge. What they send has checksums
//! that are left to the device, and is larger than a packet; what the client receives is checked by it.

use std::fs;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::{Configuration, Topology};
use libtest_mimic::Trial;

use super::aside::{closed_port, large_datagrams};
use super::modes::{services, unpack};
use super::paths::{bulk, transfer_all};
use super::scene::{ECHO, SERVICES, Scene, require_unbroken};
use super::trial::trial;

pub(super) fn trials() -> Vec<Trial> {
    [
        in_both("replies of pods are turned back", answer),
        in_both("100 MB from and to pods arrive unchanged", transfer),
        in_both(
            "pods send and take datagrams of 60 000 bytes",
            large_datagrams,
        ),
        in_both("a client hears that a port of a pod is closed", closed_port),
        in_both("generic mode serves pods", generic),
        vec![
            trial("a pod that comes is served at once", coming),
            trial("a pod that is made again is served again", made_again),
            trial("only interfaces that are named lead to pods", named),
            trial("mode dsr: pods answer the client themselves", || {
                carry("dsr")
            }),
            trial("mode ipip: pods unpack and answer themselves", || {
                carry("ipip")
            }),
            trial("mode gue: pods unpack and answer themselves", || {
                carry("gue")
            }),
        ],
        in_both(
            "lbd started again takes over the interfaces of pods",
            started_again,
        ),
        in_both(
            "detach takes the program off the interfaces of pods",
            detach,
        ),
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
        let bytes = backend["counters"]["bytes_out"]
            .as_u64()
            .unwrap_or_default();
        let packets = backend["counters"]["packets_out"]
            .as_u64()
            .unwrap_or_default();
        // Packets as they are on the wire, whatever they came in: headers and not more than the MTU.
        ensure!(
            bytes > BYTES && bytes < BYTES * 11 / 10 && bytes.div_ceil(packets) <= 1500,
            "{backend}"
        );
    }
    Ok(())
}

fn generic(topology: &Topology) -> Result<()> {
    let mut scene = bulk(topology, Some("generic"))?;
    transfer_all(&mut scene, BYTES / 4, "with pods, generic")
}

/// A pod that only the next configuration names: the program is there before its first reply is.
fn coming() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::routed_pods())?;
    let interfaces = scene.lab().node().interfaces();
    let with = |endpoints: &[SocketAddr]| {
        Configuration::on(&interfaces)
            .service(ECHO.name, ECHO.transport, ECHO.address())
            .backend("old", 1, endpoints)
    };
    let (one, two) = (scene.lab().endpoint("one")?, scene.lab().endpoint("two")?);
    let (one, two) = (ECHO.at(one), ECHO.at(two));
    scene.start(&with(&[one]))?;
    ensure!(endpoint_interfaces(&scene)?.len() == 1, "not one");
    scene.ask_for_share(ECHO, 50, 0.0)?;
    for endpoints in [&[one, two][..], &[two]] {
        fs::write(scene.lab().config(), with(endpoints).text())?;
        let file = scene.lab().config();
        let said = scene.lbctl(&["apply", "-f", &file.to_string_lossy()])?;
        ensure!(said.code == Some(0), "{}", said.stderr);
        scene.ask_for_share(ECHO, 200, 1.0 / endpoints.len() as f64)?;
    }
    ensure!(endpoint_interfaces(&scene)?.len() == 2, "not two");
    Ok(())
}

/// As when a pod is started again: another veth, the same addresses.
fn made_again() -> Result<()> {
    let scene = Scene::build(&Topology::routed_pods())?;
    let before = endpoint_interfaces(&scene)?;
    let before: [String; 2] = before.try_into().ok().context("not two")?;
    let (node, one) = (scene.lab().node(), scene.lab().endpoint("one")?);
    node.ip(&["link", "del", "one"])?;
    // A name as VLANs have it.
    let name = "one.7";
    node.ip(&[
        "link",
        "add",
        name,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        one.namespace(),
    ])?;
    node.ip(&["link", "set", name, "up"])?;
    one.ip(&["link", "set", "eth0", "up"])?;
    let (v4, v6) = (one.v4().to_string(), one.v6().to_string());
    one.ip(&["address", "add", &v4, "dev", "eth0"])?;
    one.ip(&["address", "add", &v6, "dev", "eth0", "nodad"])?;
    node.ip(&["address", "add", "fe80::1/64", "dev", name, "nodad"])?;
    let gateway = node.v4().to_string();
    one.ip(&[
        "route", "add", "default", "via", &gateway, "dev", "eth0", "onlink",
    ])?;
    one.ip(&[
        "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0",
    ])?;
    node.ip(&["route", "add", &v4, "dev", name])?;
    node.ip(&["-6", "route", "add", &v6, "dev", name])?;
    // Until lbd looks again.
    sleep(Duration::from_secs(3));
    for service in SERVICES {
        scene.ask_for_share(service, 50, 0.0)?;
    }
    let after = endpoint_interfaces(&scene)?;
    ensure!(
        after == before.map(|it| it.replace("\"one\"", "\"one.7\"")),
        "{after:?}"
    );
    Ok(())
}

fn named() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::routed_pods())?;
    let interfaces = scene.lab().node().interfaces();
    let configuration = Configuration::on(&interfaces).setting("endpoint-interfaces = [\"tw*\"]");
    let configuration = scene.with_services(configuration)?;
    scene.start(&configuration)?;
    let running = endpoint_interfaces(&scene)?;
    ensure!(
        running.len() == 1 && running[0].contains("two"),
        "{running:?}"
    );
    for service in SERVICES {
        scene.set_weight(service, &["new=100"])?;
        scene.ask_for_share(service, 50, 1.0)?;
    }
    Ok(())
}

/// The pods hold the virtual addresses; what they send to clients needs nothing of ours.
fn carry(mode: &str) -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::bridged_pods())?;
    for name in ["one", "two"] {
        let pod = scene.lab().endpoint(name)?;
        for (family, gateway) in [("-4", "10.64.1.1"), ("-6", "fd64:0:0:1::1")] {
            let vip = if family == "-4" {
                "10.99.0.1"
            } else {
                "fd99::1"
            };
            let length = if family == "-4" { 32 } else { 128 };
            let address = format!("{vip}/{length}");
            pod.ip(&[family, "address", "add", &address, "dev", "lo"])?;
            // A socket of no address answers datagrams from the address that the route says.
            pod.ip(&[
                family, "route", "replace", "default", "via", gateway, "dev", "eth0", "src", vip,
            ])?;
        }
        pod.set_sysctl("ipv4/conf/all/arp_ignore", "1")?;
        pod.set_sysctl("ipv4/conf/all/arp_announce", "2")?;
        if mode != "dsr" {
            unpack(&scene, name, "on")?;
        }
    }
    let configuration = services(&scene, mode, false)?;
    scene.start_with(&configuration)?;
    for service in SERVICES {
        scene.ask_for_share(service, 100, 0.0)?;
        scene.set_weight(service, &["new=100"])?;
        scene.ask_for_share(service, 100, 1.0)?;
    }
    if mode != "dsr" {
        for name in ["one", "two"] {
            unpack(&scene, name, "off")?;
        }
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
    let list = status["endpoint_interfaces"]
        .as_array()
        .context("no list")?;
    Ok(list
        .iter()
        .map(|it| format!("{} {}", it["name"], it["hook"]))
        .collect())
}
