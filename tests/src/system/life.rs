//! The life of `lbd`: what happens to traffic when it ends, starts, reads its file again.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::{self, Ask, Configuration, LongLived, Topology};
use libtest_mimic::Trial;
use serde_json::Value;

use super::scene::{ECHO, SERVICES, Scene, program, require_unbroken};
use super::trial::{in_both, trial};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = in_both(
        "lbd killed under traffic and started again breaks nothing and keeps weights",
        killed_and_started,
    );
    trials.extend([
        trial(
            "SIGTERM leaves forwarding, the next start adopts it",
            stopped_and_started,
        ),
        trial(
            "lbd killed at any moment of a change starts again and breaks nothing",
            killed_in_a_change,
        ),
        trial(
            "a start with another file keeps the flows of an endpoint that left it",
            started_with_another_file,
        ),
        trial("detach takes everything out", detach),
        trial("detach takes everything out of one interface", detach_one),
        trial("a second lbd is refused and harms nothing", second_lbd),
        trial(
            "packets that are not forwarded are in the log when asked for",
            packet_log,
        ),
        trial(
            "a file read again adds and removes an endpoint under traffic",
            reload,
        ),
        trial(
            "a file with a mistake read again changes nothing",
            reload_with_a_mistake,
        ),
    ]);
    trials
}

const HELD: usize = 30;
const INTERVAL: Duration = Duration::from_millis(20);

fn killed_and_started(topology: &Topology) -> Result<()> {
    let mut scene = Scene::build(topology)?;
    for service in SERVICES {
        scene.set_weight(service, &["new=30"])?;
    }
    let held = scene.hold_all(HELD, INTERVAL)?;
    scene.take_balancer()?.kill()?;
    for service in SERVICES {
        let counts = scene.ask(service, 100)?;
        ensure!(
            counts.failed() == 0 && counts.by_name.len() == 2,
            "without lbd: {counts}"
        );
    }
    let said = scene.lbctl(&["status"])?;
    ensure!(said.code == Some(3), "{:?} {}", said.code, said.stderr);
    scene.start_again()?;
    adopted_with_its_weights(&mut scene, held)
}

fn stopped_and_started() -> Result<()> {
    let mut scene = Scene::build(&Topology::two_nets())?;
    for service in SERVICES {
        scene.set_weight(service, &["new=30"])?;
    }
    let held = scene.hold_all(HELD, INTERVAL)?;
    let balancer = scene.take_balancer()?;
    let status = balancer.stop()?;
    ensure!(status.success(), "{status}");
    ensure!(!scene.lab().socket().exists(), "the socket is left");
    for service in SERVICES {
        let counts = scene.ask(service, 100)?;
        ensure!(
            counts.failed() == 0 && counts.by_name.len() == 2,
            "without lbd: {counts}"
        );
    }
    scene.start_again()?;
    adopted_with_its_weights(&mut scene, held)
}

/// The new daemon has taken over: flows, weights; nothing was lost.
fn adopted_with_its_weights(scene: &mut Scene, held: Vec<LongLived>) -> Result<()> {
    let status = scene.json(&["status"])?;
    ensure!(status["adopted"] == true, "{status}");
    let log = scene.balancer()?.log();
    ensure!(log.contains("adopted with its live flows"), "{log}");
    for (service, view) in SERVICES.iter().zip(array(&status["services"])?) {
        ensure!(
            view["name"] == service.name && view["source"] == "runtime",
            "{view}"
        );
        ensure!(view["backends"][1]["percent"] == 30.0, "{view}");
        let open = view["live"]["open"].as_u64().context("open flows")?;
        ensure!(open >= HELD as u64, "{view}");
        scene.ask_for_share(*service, 400, 0.3)?;
    }
    // The new daemon is the writer: its changes are followed, and harm no flow of before.
    for service in SERVICES {
        scene.set_weight(service, &["old=1", "new=0"])?;
        scene.ask_for_share(service, 100, 0.0)?;
    }
    for held in held {
        let outcome = require_unbroken(held, HELD)?;
        ensure!(outcome.held.echoed > HELD * 5, "{outcome:?}");
    }
    Ok(())
}

fn killed_in_a_change() -> Result<()> {
    let mut scene = Scene::build(&Topology::two_nets())?;
    let held = scene.hold_all(HELD, INTERVAL)?;
    for (round, milliseconds) in [0, 3, 6, 12, 20, 40].into_iter().enumerate() {
        let lbctl = program("lbctl")?;
        let mut change = Command::new("sh");
        // One change after another until nobody listens any more.
        change
            .args([
                "-c",
                "while \"$0\" set-weight -s echo new=70; do \"$0\" set-weight -s echo new=30; done",
            ])
            .arg(lbctl)
            .env("LB_SOCKET", scene.lab().socket())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut changing = scene.lab().node().spawn(change)?;
        sleep(Duration::from_millis(150 + milliseconds));
        scene.take_balancer()?.kill()?;
        let ended = changing.wait(Duration::from_secs(10))?;
        ensure!(ended.is_some(), "lbctl goes on without lbd");
        let counts = scene.ask(ECHO, 50)?;
        ensure!(counts.failed() == 0, "round {round}, without lbd: {counts}");
        scene.start_again()?;
        // Whichever change was the last, file and kernel tell the same.
        let backends = scene.json(&["get", "backends"])?;
        let new = &backends["backends"][1];
        let share = new["percent"].as_f64().context("a share")? / 100.0;
        ensure!([0.0, 0.3, 0.7].contains(&share), "{new}");
        scene.ask_for_share(ECHO, 300, share)?;
    }
    for held in held {
        require_unbroken(held, HELD)?;
    }
    Ok(())
}

fn started_with_another_file() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let (first, other) = (echo_on(&scene, &["one"])?, echo_on(&scene, &["two"])?);
    scene.start(&first)?;
    let held = scene.hold(ECHO, HELD, INTERVAL)?;
    scene.take_balancer()?.kill()?;
    scene.start(&other)?;
    scene.ask_for_share(ECHO, 100, 1.0)?;
    let before = held.held().echoed;
    sleep(INTERVAL * 20);
    ensure!(held.held().echoed >= before + HELD, "{:?}", held.held());
    let outcome = require_unbroken(held, HELD)?;
    ensure!(outcome.by_name.get("one") == Some(&HELD), "{outcome:?}");
    Ok(())
}

fn detach() -> Result<()> {
    detach_from(&Topology::two_nets())
}

fn detach_one() -> Result<()> {
    detach_from(&Topology::one_net())
}

fn detach_from(topology: &Topology) -> Result<()> {
    let mut scene = Scene::build(topology)?;
    scene.ask_for_share(ECHO, 50, 0.0)?;
    let pinned = fs::read_dir(scene.lab().pins())?.count();
    ensure!(pinned > 0, "nothing is pinned while lbd runs");
    ensure!(xdp_on_node(&scene)?, "no XDP program while lbd runs");
    let said = scene.lbctl(&["detach", "--yes"])?;
    ensure!(said.code == Some(0), "{}", said.stderr);
    ensure!(said.stdout.contains("detached from"), "{}", said.stdout);
    let ended = scene.balancer()?.process().wait(Duration::from_secs(10))?;
    ensure!(ended.is_some_and(|it| it.success()), "{ended:?}");
    ensure!(!xdp_on_node(&scene)?, "an XDP program is left");
    if let Ok(left) = fs::read_dir(scene.lab().pins()) {
        let left: Vec<_> = left.flatten().map(|it| it.file_name()).collect();
        ensure!(left.is_empty(), "pins are left: {left:?}");
    }
    silent(&scene)?;
    // The node is a plain router again.
    let one = scene.lab().endpoint("one")?;
    for service in SERVICES {
        let ask = Ask::new(service.transport, service.at(one), 20);
        let direct = scene.lab().client().ask(ask)?;
        ensure!(direct.of("one") == 20, "past the balancer: {direct}");
    }
    Ok(())
}

/// No service answers any more; all at once, because silence takes seconds.
fn silent(scene: &Scene) -> Result<()> {
    let client = scene.lab().client();
    thread::scope(|scope| {
        let asked = SERVICES.map(|service| {
            let ask = Ask::new(service.transport, service.address(), 1);
            (service, scope.spawn(move || client.ask(ask)))
        });
        for (service, counts) in asked {
            let counts = counts.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            ensure!(counts.answered() == 0, "{}: {counts}", service.name);
        }
        Ok(())
    })
}

/// Whether an interface of the node runs an XDP program.
fn xdp_on_node(scene: &Scene) -> Result<bool> {
    let mut command = Command::new("ip");
    command.args(["-details", "link", "show"]);
    let said = scene.run(command)?;
    ensure!(said.code == Some(0), "{}", said.stderr);
    Ok(said.stdout.contains("prog/xdp") || said.stdout.contains(" xdp"))
}

fn packet_log() -> Result<()> {
    let mut scene = Scene::build(&Topology::two_nets())?;
    // No service has this port: the packet passes, and nobody answers.
    let elsewhere = SocketAddr::new(ECHO.address().ip(), ECHO.address().port() + 1);
    let knock = || TcpStream::connect_timeout(&elsewhere, Duration::from_millis(300)).is_ok();
    ensure!(!scene.lab().client().run(knock)?, "somebody answered");
    let quiet = scene.take_balancer()?;
    ensure!(
        !quiet.log().contains("not forwarded"),
        "logged without being asked:\n{}",
        quiet.log()
    );
    quiet.stop()?;
    let mut command = lab::lbd(scene.lab(), &program("lbd")?);
    command.arg("--log-packets");
    let mut logging = lab::Balancer::start_as(scene.lab(), command)?;
    ensure!(!scene.lab().client().run(knock)?, "somebody answered");
    logging.wait_for("not forwarded: reason", Duration::from_secs(5))
}

fn second_lbd() -> Result<()> {
    let scene = Scene::build(&Topology::two_nets())?;
    let held = scene.hold(ECHO, HELD, INTERVAL)?;
    let lbd = program("lbd")?;
    let same = lab::lbd(scene.lab(), &lbd);
    // Another socket, the same pins.
    let elsewhere = scene.lab().directory().join("other.sock");
    let mut other_socket = Command::new(&lbd);
    other_socket
        .arg("--config")
        .arg(scene.lab().config())
        .arg("--socket")
        .arg(elsewhere)
        .arg("--pin-dir")
        .arg(scene.lab().pins())
        .arg("--state")
        .arg(scene.lab().state());
    for command in [same, other_socket] {
        let said = scene.run(command)?;
        ensure!(
            said.code == Some(3) && said.stderr.contains("another lbd is running"),
            "{:?}: {}",
            said.code,
            said.stderr
        );
    }
    scene.set_weight(ECHO, &["new=100"])?;
    scene.ask_for_share(ECHO, 100, 1.0)?;
    require_unbroken(held, HELD)?;
    Ok(())
}

/// The service `echo`, its backend `old` with these endpoints.
fn echo_on(scene: &Scene, names: &[&str]) -> Result<Configuration> {
    let endpoints = names
        .iter()
        .map(|name| Ok(ECHO.at(scene.lab().endpoint(name)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(Configuration::on(&scene.lab().node().interfaces())
        .service(ECHO.name, ECHO.transport, ECHO.address())
        .backend("old", 1, &endpoints))
}

const IN_FORCE: &str = "SIGHUP: configuration in force";

fn reload() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let first = echo_on(&scene, &["one"])?;
    let both = echo_on(&scene, &["one", "two"])?;
    let last = echo_on(&scene, &["two"])?;
    scene.start(&first)?;
    let early = scene.hold(ECHO, HELD, INTERVAL)?;
    scene.ask_for_share(ECHO, 100, 0.0)?;

    read_again(&mut scene, &both)?;
    // Two endpoints of one backend share its slots evenly.
    scene.ask_for_share(ECHO, 600, 0.5)?;
    let late = scene.hold(ECHO, HELD, INTERVAL)?;

    read_again(&mut scene, &last)?;
    scene.ask_for_share(ECHO, 100, 1.0)?;
    let backends = scene.json(&["get", "backends"])?;
    let left = array(&backends["backends"][0]["endpoints"])?
        .iter()
        .find(|it| it["configured"] == false)
        .with_context(|| format!("no endpoint that left: {backends}"))?;
    let open = left["live"]["open"].as_u64().context("open flows")?;
    ensure!(left["slots"] == 0 && open >= HELD as u64, "{left}");

    for held in [early, late] {
        let outcome = require_unbroken(held, HELD)?;
        ensure!(outcome.held.echoed > HELD * 5, "{outcome:?}");
    }
    Ok(())
}

/// Has lbd read another file, and waits until it says so once more.
fn read_again(scene: &mut Scene, configuration: &Configuration) -> Result<()> {
    let balancer = scene.balancer()?;
    let before = balancer.log().matches(IN_FORCE).count();
    balancer.write_config(configuration.text())?;
    balancer.reload()?;
    for _ in 0..1000 {
        if balancer.log().matches(IN_FORCE).count() > before {
            return Ok(());
        }
        sleep(Duration::from_millis(10));
    }
    anyhow::bail!("the file was not read again:\n{}", balancer.log())
}

fn reload_with_a_mistake() -> Result<()> {
    let mut scene = Scene::build(&Topology::two_nets())?;
    let held = scene.hold(ECHO, HELD, INTERVAL)?;
    let usual = scene.usual()?;
    let balancer = scene.balancer()?;
    balancer.write_config(&usual.text().replacen("weight", "wieght", 1))?;
    balancer.reload()?;
    balancer.wait_for("not reloaded, running as before", Duration::from_secs(10))?;
    let log = balancer.log();
    ensure!(log.contains("did you mean `weight`?"), "{log}");
    scene.ask_for_share(ECHO, 100, 0.0)?;
    require_unbroken(held, HELD)?;
    Ok(())
}

fn array(value: &Value) -> Result<&Vec<Value>> {
    value
        .as_array()
        .with_context(|| format!("no list: {value}"))
}
