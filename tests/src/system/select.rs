//! Turns, affinity and rules.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::{Ask, Configuration, Family, Topology, Transport};
use libtest_mimic::Trial;

use super::scene::{ECHO, SERVICES, Scene, UDP};
use super::trial::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "ten connections in turn at 80/20 are eight and two",
            ten_in_turn,
        ),
        trial(
            "a client's flows stay together by affinity",
            clients_stay_together,
        ),
        trial(
            "clients of one network stay together by affinity, and move once",
            networks_stay_together,
        ),
        trial(
            "services at one address each have their own backends",
            services_at_one_address,
        ),
        trial(
            "a rule gives its clients their own backend, by weights and reloaded",
            rules_have_their_clients,
        ),
        trial(
            "a rule holds over a restart, and a prefix named twice changes nothing",
            rules_over_a_restart,
        ),
    ]
}

/// The usual services, with rules for each.
fn with_rules(scene: &Scene, rules: &str) -> Result<String> {
    let usual = scene.with_services(Configuration::on(&scene.lab().node().interfaces()))?;
    let parts: Vec<&str> = usual.text().split("[[service]]\n").collect();
    Ok(parts
        .join(&format!("{rules}\n[[service]]\n"))
        .replacen(rules, "", 1)
        + rules)
}

/// A rule for the lab's client over both families.
fn rule(scene: &Scene, to: &str) -> String {
    let client = scene.lab().client();
    let [v4, v6] = [Family::V4, Family::V6].map(|family| client.address(family));
    format!("[[service.rule]]\nfrom = [\"{v4}\", \"{v6}/128\"]\n{to}\n")
}

/// How many of `count` new flows of each service reach `two`.
fn at_two(scene: &Scene, count: usize) -> Result<[usize; 4]> {
    let mut all = [0; 4];
    for (all, service) in all.iter_mut().zip(SERVICES) {
        let counts = scene.ask(service, count)?;
        ensure!(counts.answered() == count, "{}: {counts}", service.name);
        *all = counts.of("two");
    }
    Ok(all)
}

/// Puts a configuration in force.
fn apply(scene: &Scene, text: &str) -> Result<()> {
    let file = scene.lab().directory().join("other.toml");
    fs::write(&file, text)?;
    let said = scene.lbctl(&["apply", "-f", &file.display().to_string()])?;
    ensure!(said.code == Some(0), "{}", said.stderr);
    Ok(())
}

fn rules_have_their_clients() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let everybody = "[[service.rule]]\nfrom = [\"0.0.0.0/0\", \"::/0\"]\nbackend = \"old\"\n";
    let rules = format!("{everybody}{}", rule(&scene, "backend = \"new\""));
    scene.start_with(&with_rules(&scene, &rules)?)?;
    ensure!(at_two(&scene, 20)? == [20; 4], "by the longer prefix");
    let services = scene.lbctl(&["get", "services", "-o", "json"])?.stdout;
    let services: serde_json::Value = serde_json::from_str(&services)?;
    ensure!(services["services"][0]["rules"] == 2, "{services}");
    // The weights of everybody else are not the rule's.
    scene.set_weight(ECHO, &["new=0"])?;
    ensure!(
        scene.ask(ECHO, 20)?.of("two") == 20,
        "set-weight changes the rule"
    );
    for (rules, expected) in [
        (everybody.to_owned(), 0..=0),
        (rule(&scene, "weights = { old = 1, new = 1 }"), 20..=80),
        (rule(&scene, "backend = \"new\""), 100..=100),
        (String::new(), 0..=0),
    ] {
        apply(&scene, &with_rules(&scene, &rules)?)?;
        let found = at_two(&scene, 100)?;
        ensure!(
            found.iter().all(|it| expected.contains(it)),
            "{found:?} with:\n{rules}"
        );
    }
    Ok(())
}

fn rules_over_a_restart() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let to_new = rule(&scene, "backend = \"new\"");
    scene.start_with(&with_rules(&scene, &to_new)?)?;
    ensure!(at_two(&scene, 10)? == [10; 4]);
    scene.take_balancer()?.kill()?;
    ensure!(at_two(&scene, 10)? == [10; 4], "without lbd");
    scene.start_again()?;
    ensure!(at_two(&scene, 10)? == [10; 4], "after the restart");
    let twice = with_rules(&scene, &format!("{to_new}{to_new}"))?;
    let refused = apply(&scene, &twice).expect_err("a mistake").to_string();
    ensure!(refused.contains("is in a rule already: line "), "{refused}");
    ensure!(at_two(&scene, 10)? == [10; 4], "after a mistake");
    apply(&scene, &with_rules(&scene, "")?)?;
    ensure!(at_two(&scene, 10)? == [0; 4], "without rules");
    Ok(())
}

/// The usual services, each with these keys.
fn with_keys(scene: &Scene, keys: &str) -> Result<String> {
    let usual = scene.with_services(Configuration::on(&scene.lab().node().interfaces()))?;
    Ok(usual
        .text()
        .replace("[[service]]\n", &format!("[[service]]\n{keys}\n")))
}

fn ten_in_turn() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    scene.start_with(&with_keys(&scene, "scheduling = \"exact\"")?)?;
    for service in SERVICES {
        for (old, new, connections) in [(80, 20, 10), (1, 1, 10), (99, 1, 100), (2, 1, 30)] {
            let answer =
                scene.set_weight(service, &[&format!("old={old}"), &format!("new={new}")])?;
            ensure!(answer["service"]["scheduling"] == "exact", "{answer}");
            let counts = scene.ask(service, connections)?;
            let expected = connections * new / (old + new);
            ensure!(
                counts.of("two") == expected && counts.answered() == connections,
                "{} at {old}/{new}: {counts}",
                service.name
            );
        }
    }
    let services = scene.lbctl(&["get", "services"])?.stdout;
    ensure!(services.contains("exact"), "{services}");
    Ok(())
}

fn clients_stay_together() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    scene.start_with(&with_keys(&scene, "affinity = \"client-ip\"")?)?;
    let mut last = 0;
    for percent in [0, 10, 30, 50, 70, 90, 100] {
        scene.set_weight(ECHO, &[&format!("new={percent}")])?;
        let counts = scene.ask(ECHO, 20)?;
        let at_new = counts.of("two");
        ensure!(at_new == 0 || at_new == 20, "at {percent} %: {counts}");
        ensure!(at_new >= last, "the client went back at {percent} %");
        last = at_new;
    }
    ensure!(last == 20, "at 100 %: {last}");
    Ok(())
}

/// Networks of 16 addresses, two clients in each.
fn networks_stay_together() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let clients: Vec<[Ipv4Addr; 2]> = (1..15)
        .map(|network| [2, 9].map(|host| Ipv4Addr::new(10, 64, 0, 16 * network + host)))
        .collect();
    for address in clients.iter().flatten() {
        let address = format!("{address}/24");
        let words = ["address", "add", &address, "dev", "eth0"];
        scene.lab().client().ip(&words)?;
    }
    scene.start_with(&with_keys(&scene, "affinity = \"client-net/28\"")?)?;
    let mut port = 2000;
    let mut before = vec![false; clients.len()];
    for percent in [0, 20, 40, 60, 80, 100] {
        scene.set_weight(UDP, &[&format!("new={percent}")])?;
        let mut at_new = Vec::new();
        for network in &clients {
            let mut names = BTreeSet::new();
            for client in network {
                for _ in 0..3 {
                    port += 1;
                    names.insert(asked_from(&scene, (*client, port).into())?);
                }
            }
            ensure!(names.len() == 1, "{network:?} at {percent} %: {names:?}");
            at_new.push(names.contains("two"));
        }
        let went_back = before
            .iter()
            .zip(&at_new)
            .any(|(before, now)| *before && !now);
        ensure!(!went_back, "at {percent} %: {before:?}, then {at_new:?}");
        if percent == 40 || percent == 60 {
            ensure!(
                at_new.contains(&true) && at_new.contains(&false),
                "{at_new:?}"
            );
        }
        before = at_new;
    }
    ensure!(!before.contains(&false), "at 100 %: {before:?}");
    Ok(())
}

/// The server that answers a datagram from this address of the client.
fn asked_from(scene: &Scene, source: SocketAddr) -> Result<String> {
    scene.lab().client().run(|| {
        let socket = UdpSocket::bind(source)?;
        socket.set_read_timeout(Some(Duration::from_secs(3)))?;
        socket.connect(UDP.address())?;
        socket.send(b"hello")?;
        let mut answer = [0; 64];
        let length = socket
            .recv(&mut answer)
            .with_context(|| format!("no answer to {source}"))?;
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        let name = answer.strip_suffix(" hello").context("a wrong answer")?;
        Ok(name.to_owned())
    })?
}

fn services_at_one_address() -> Result<()> {
    const OTHER_PORT: u16 = 9001;
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let (one, two) = (scene.lab().endpoint("one")?, scene.lab().endpoint("two")?);
    let other = SocketAddr::new(ECHO.address().ip(), OTHER_PORT);
    let configuration = Configuration::on(&scene.lab().node().interfaces())
        .service(ECHO.name, Transport::Tcp, ECHO.address())
        .backend("old", 1, &[ECHO.at(one)])
        .service(UDP.name, Transport::Udp, UDP.address())
        .backend("old", 1, &[UDP.at(two)])
        .service("other", Transport::Tcp, other)
        .backend("old", 1, &[ECHO.at(two)])
        .service("other-udp", Transport::Udp, other)
        .backend("old", 1, &[UDP.at(one)]);
    scene.start(&configuration)?;
    for (transport, address, name) in [
        (Transport::Tcp, ECHO.address(), "one"),
        (Transport::Udp, UDP.address(), "two"),
        (Transport::Tcp, other, "two"),
        (Transport::Udp, other, "one"),
    ] {
        let counts = scene
            .lab()
            .client()
            .ask(Ask::new(transport, address, 100))?;
        ensure!(counts.of(name) == 100, "{transport} {address}: {counts}");
    }
    Ok(())
}
