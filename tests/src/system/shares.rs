//! New flows follow the weights.

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::Topology;
use libtest_mimic::Trial;
use serde_json::Value;

use super::scene::{ECHO, SERVICES, Scene};
use super::trial::{in_both, trial};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = in_both(
        "TCP and UDP over IPv4 and IPv6 get the shares asked for",
        shares_are_as_asked,
    );
    trials.push(trial(
        "a thousandth of the flows is a thousandth",
        a_thousandth,
    ));
    trials.push(trial(
        "steps up and down add to what there is",
        steps_add_up,
    ));
    trials
}

fn shares_are_as_asked(topology: &Topology) -> Result<()> {
    let scene = Scene::build(topology)?;
    for service in SERVICES {
        scene.ask_for_share(service, 100, 0.0)?;
        for (old, new) in [(1, 1), (1, 3), (99, 1), (0, 1)] {
            let share = f64::from(new) / f64::from(old + new);
            let answer =
                scene.set_weight(service, &[&format!("old={old}"), &format!("new={new}")])?;
            slots_are_exact(&answer)?;
            scene.ask_for_share(service, 500, share)?;
        }
    }
    Ok(())
}

/// Each backend has its asked share of the slots, to less than one slot.
fn slots_are_exact(answer: &Value) -> Result<()> {
    let slots = answer["service"]["slots"].as_f64().context("slots")?;
    for backend in answer["service"]["backends"]
        .as_array()
        .context("backends")?
    {
        let asked = backend["after_percent"].as_f64().context("a share")?;
        let got = backend["slots_after"].as_f64().context("slots")?;
        ensure!((got - asked / 100.0 * slots).abs() < 1.0, "{backend}");
    }
    Ok(())
}

fn a_thousandth() -> Result<()> {
    let scene = Scene::build(&Topology::two_nets())?;
    slots_are_exact(&scene.set_weight(ECHO, &["new=0.1%"])?)?;
    scene.ask_for_share(ECHO, 4000, 0.001)
}

fn steps_add_up() -> Result<()> {
    let scene = Scene::build(&Topology::two_nets())?;
    for (change, percent) in [("new=+25%", 25.0), ("new=+25%", 50.0), ("new=-40%", 10.0)] {
        let answer = scene.set_weight(ECHO, &[change])?;
        let new = &answer["service"]["backends"][1];
        ensure!(
            new["after_percent"].as_f64() == Some(percent),
            "{change}: {new}"
        );
    }
    scene.ask_for_share(ECHO, 500, 0.1)
}
