//! Services with several ports, with real sockets.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_userspace::lab::{Ask, Configuration, Hold, Host, LongLived, Server, Topology};
use libtest_mimic::Trial;

use super::modes::{hold_addresses, unpack};
use super::scene::{PORT, SERVICES, Scene, Service, require_unbroken};
use super::trial::trial;

/// Ports that somebody listens at.
const SERVED: [u16; 3] = [PORT, PORT + 1, PORT + 7];
/// Conversations held at the middle one.
const HELD: usize = 20;

pub(super) fn trials() -> Vec<Trial> {
    ["nat", "dsr", "gue"]
        .map(|mode| {
            let name = match mode {
                "nat" => "mode nat: endpoints are reached, and answer, at every port of a range",
                "dsr" => "mode dsr: endpoints are reached at every port of a range",
                _ => "mode gue: endpoints are reached at every port of a range",
            };
            trial(name, move || several(mode))
        })
        .into()
}

fn several(mode: &str) -> Result<()> {
    let topology = match mode {
        "nat" => Topology::two_nets(),
        _ => Topology::one_net(),
    };
    let mut scene = Scene::without_lbd(&topology)?;
    scene.serve(Vec::new());
    let servers = scene.lab().endpoints().iter().map(serve);
    let servers = servers.collect::<Result<Vec<_>>>()?;
    scene.serve(servers.into_iter().flatten().collect());
    if mode != "nat" {
        for name in ["one", "two"] {
            hold_addresses(scene.lab().endpoint(name)?, scene.lab().client())?;
        }
    }
    if mode == "gue" {
        unpack(&scene, "one", "on")?;
        unpack(&scene, "two", "on")?;
    }
    scene.start_with(&services(&scene, mode, "9000-9007")?)?;
    let listed = scene.lbctl(&["get", "services"])?.stdout;
    ensure!(listed.contains("10.99.0.1:9000-9007"), "{listed}");
    ensure!(listed.contains("[fd99::1]:9000-9007"), "{listed}");

    let mut held = Vec::new();
    for service in SERVICES {
        every_port_answers(&scene, service, "one")?;
        held.push(hold(&scene, service)?);
        scene.set_weight(service, &["new=100"])?;
        every_port_answers(&scene, service, "two")?;
    }
    let answer = scene.json(&["get", "flows", "-s", "echo", "-b", "old"])?;
    let flows = answer["flows"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(flows.iter().any(|it| it["port"] == 9001), "{answer}");
    // The ports become those of other services: more, all, and by turns.
    for ports in ["8000-9007", "*", "9001-9007"] {
        let text = services(&scene, mode, ports)?;
        let file = scene.lab().config();
        fs::write(&file, text)?;
        let said = scene.lbctl(&["apply", "-f", &file.display().to_string()])?;
        ensure!(said.code == Some(0), "{ports}: {}", said.stderr);
        std::thread::sleep(Duration::from_millis(100));
    }
    for held in held {
        let outcome = require_unbroken(held, HELD)?;
        ensure!(outcome.by_name.get("one") == Some(&HELD), "{outcome:?}");
    }
    if mode == "gue" {
        unpack(&scene, "one", "off")?;
        unpack(&scene, "two", "off")?;
    }
    Ok(())
}

/// Echo servers at each port, TCP and UDP.
fn serve(host: &Host) -> Result<Vec<Server>> {
    let mut servers = Vec::new();
    for port in SERVED {
        servers.push(host.tcp_echo(host.name(), port)?);
        servers.push(host.udp_echo(host.name(), port)?);
    }
    Ok(servers)
}

fn services(scene: &Scene, mode: &str, ports: &str) -> Result<String> {
    let (one, two) = (scene.lab().endpoint("one")?, scene.lab().endpoint("two")?);
    let configuration = Configuration::on(&scene.lab().node().interfaces());
    let configuration = SERVICES.into_iter().fold(configuration, |text, it| {
        let at = |host: &Host| SocketAddr::new(host.address(it.family), 0);
        let vip = it.address().to_string();
        let address = vip.replace(&format!(":{PORT}"), &format!(":{ports}"));
        text.service_at(it.name, it.transport, &address)
            .setting(&format!("mode = {mode:?}"))
            .backend("old", 1, &[at(one)])
            .backend("new", 0, &[at(two)])
    });
    Ok(configuration.text().to_owned())
}

fn at(service: Service, port: u16) -> SocketAddr {
    SocketAddr::new(service.family.vip(), port)
}

fn every_port_answers(scene: &Scene, service: Service, name: &str) -> Result<()> {
    for port in SERVED {
        let ask = Ask::new(service.transport, at(service, port), 40);
        let counts = scene.lab().client().ask(ask)?;
        ensure!(
            counts.failed() == 0 && counts.of(name) == 40,
            "{} at {port}: {counts}\n{}",
            service.name,
            scene.lbctl(&["get", "reasons"])?.stdout
        );
    }
    Ok(())
}

fn hold(scene: &Scene, service: Service) -> Result<LongLived> {
    let target = at(service, SERVED[1]);
    let hold = Hold::new(service.transport, target, HELD, Duration::from_millis(20));
    let held = LongLived::open(scene.lab().client(), hold)?;
    held.wait_open(Duration::from_secs(30))?;
    Ok(held)
}
