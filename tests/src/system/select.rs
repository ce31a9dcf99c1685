//! Turns and affinity.

use anyhow::{Result, ensure};
use lb_userspace::lab::{Configuration, Topology};
use libtest_mimic::Trial;

use super::scene::{ECHO, SERVICES, Scene};
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
    ]
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
