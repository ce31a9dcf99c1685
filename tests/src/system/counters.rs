//! What was counted stays counted.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::{Configuration, Host, Topology};
use libtest_mimic::Trial;
use serde_json::Value;

use super::scene::{ECHO, Scene, require_unbroken};
use super::trial::trial;

/// The longest flows may take to be over once they are closed.
const LIMIT: Duration = Duration::from_secs(30);
const HELD: usize = 20;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial(
        "a backend goes on counting endpoints that left it and are gone",
        endpoints_that_are_gone,
    )]
}

fn endpoints_that_are_gone() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let (one, two) = (scene.lab().endpoint("one")?, scene.lab().endpoint("two")?);
    let gone = ECHO.at(one).to_string();
    let (both, without) = (
        configuration(&scene, &[one, two]),
        configuration(&scene, &[two]),
    );
    scene.start_with(&both)?;

    let held = scene.hold(ECHO, HELD, Duration::from_millis(20))?;
    scene.ask_for_share(ECHO, 100, 0.5)?;
    ensure!(opened(&scene)? == 120, "{}", old(&scene)?);
    reload(&mut scene, &without)?;
    let before = counter(&scene, "packets_in")?;
    sleep(Duration::from_millis(300));
    ensure!(opened(&scene)? == 120, "{}", old(&scene)?);
    ensure!(
        endpoint(&scene, &gone)?.is_some_and(|it| it["live"]["open"] != 0)
            && counter(&scene, "packets_in")? > before,
        "the tail is not counted: {}",
        old(&scene)?
    );
    require_unbroken(held, HELD)?;

    wait_quiet(&scene)?;
    let counters = old(&scene)?["counters"].clone();
    wait_gone(&scene, &gone, &counters)?;
    scene.ask_for_share(ECHO, 50, 1.0)?;
    ensure!(opened(&scene)? == 170, "{}", old(&scene)?);
    wait_quiet(&scene)?;
    let counters = old(&scene)?["counters"].clone();
    scene.take_balancer()?.kill()?;
    scene.start_again()?;
    require_counters(&scene, &counters)?;

    // Back again, its counters begin anew and the total does not.
    reload(&mut scene, &both)?;
    require_counters(&scene, &counters)?;
    let back = endpoint(&scene, &gone)?.context("it is not back")?;
    ensure!(back["counters"]["opened"] == 0, "{back}");
    scene.ask_for_share(ECHO, 100, 0.5)?;
    ensure!(opened(&scene)? == 270, "{}", old(&scene)?);

    // What the next lbd gives back, after a rest of its own, is counted, too.
    reload(&mut scene, &without)?;
    wait_quiet(&scene)?;
    let counters = old(&scene)?["counters"].clone();
    scene.take_balancer()?.stop()?;
    scene.start_again()?;
    require_counters(&scene, &counters)?;
    wait_gone(&scene, &gone, &counters)?;

    ensure!(scene.lbctl(&["detach", "--yes"])?.code == Some(0), "detach");
    drop(scene.take_balancer()?);
    scene.start_again()?;
    ensure!(opened(&scene)? == 0, "a new program: {}", old(&scene)?);
    Ok(())
}

/// One backend on these hosts; closed flows are soon over.
fn configuration(scene: &Scene, hosts: &[&Host]) -> String {
    let endpoints: Vec<_> = hosts.iter().map(|it| ECHO.at(it)).collect();
    Configuration::on(&scene.lab().node().interfaces())
        .service(ECHO.name, ECHO.transport, ECHO.address())
        .backend("old", 1, &endpoints)
        .text()
        .replacen("protocol = ", "idle = { closing = \"1s\" }\nprotocol = ", 1)
}

fn reload(scene: &mut Scene, text: &str) -> Result<()> {
    let balancer = scene.balancer()?;
    balancer.write_config(text)?;
    let said = balancer.log().matches("SIGHUP").count();
    balancer.reload()?;
    let deadline = Instant::now() + LIMIT;
    while balancer.log().matches("SIGHUP").count() == said {
        ensure!(Instant::now() < deadline, "{}", balancer.log());
        sleep(Duration::from_millis(5));
    }
    ensure!(
        !balancer.log().contains("not reloaded"),
        "{}",
        balancer.log()
    );
    Ok(())
}

/// The backend as `get backends` has it.
fn old(scene: &Scene) -> Result<Value> {
    Ok(scene.json(&["get", "backends"])?["backends"][0].clone())
}

fn counter(scene: &Scene, name: &str) -> Result<u64> {
    old(scene)?["counters"][name]
        .as_u64()
        .with_context(|| name.to_owned())
}

fn opened(scene: &Scene) -> Result<u64> {
    counter(scene, "opened")
}

fn endpoint(scene: &Scene, address: &str) -> Result<Option<Value>> {
    let old = old(scene)?;
    let endpoints = old["endpoints"].as_array().context("endpoints")?;
    Ok(endpoints
        .iter()
        .find(|it| it["address"] == address)
        .cloned())
}

/// Waits until no flow is live: nothing is counted any more.
fn wait_quiet(scene: &Scene) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let old = old(scene)?;
        let live = &old["live"];
        if live["opening"] == 0 && live["open"] == 0 && live["closing"] == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{old}");
        sleep(Duration::from_millis(100));
    }
}

/// Waits until a change gives the endpoint back, and requires the same total before and after.
fn wait_gone(scene: &Scene, address: &str, counters: &Value) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    ensure!(
        endpoint(scene, address)?.is_some(),
        "it went before a change did it"
    );
    while endpoint(scene, address)?.is_some() {
        ensure!(Instant::now() < deadline, "kept: {}", old(scene)?);
        scene.set_weight(ECHO, &["old=1"])?;
        require_counters(scene, counters)?;
        sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn require_counters(scene: &Scene, counters: &Value) -> Result<()> {
    let old = old(scene)?;
    ensure!(old["counters"] == *counters, "{counters} became {old}");
    Ok(())
}
