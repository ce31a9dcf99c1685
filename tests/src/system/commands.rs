//! `lbctl` and `lbd` as typed: answers, mistakes, exit codes.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use lb_userspace::lab::{self, Topology};
use libtest_mimic::Trial;

use super::scene::{ECHO, SERVICES, Said, Scene, program};
use super::trial::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("every command answers as documented", commands_answer),
        trial(
            "every mistake is named and has its exit code",
            mistakes_are_named,
        ),
        trial(
            "a listing that nobody reads to its end is no failure",
            broken_pipe,
        ),
        trial(
            "lbctl without lbd, or without the right to talk to it, says so",
            unreachable,
        ),
        trial(
            "lbd names the mistake in its file, with line and column",
            bad_files,
        ),
        trial("lbd says what the kernel refused", refused_by_the_kernel),
        trial(
            "apply puts a configuration in force, a restart keeps it, SIGHUP ends it",
            apply,
        ),
    ]
}

/// What is typed, how it ends, and what is printed: on standard output if it is done, on standard
/// error otherwise.
struct Case {
    typed: &'static str,
    code: i32,
    says: &'static [&'static str],
}

const fn case(typed: &'static str, code: i32, says: &'static [&'static str]) -> Case {
    Case { typed, code, says }
}

/// Against the usual services, in this order.
const ANSWERS: &[Case] = &[
    case("--version", 0, &["lbctl 0."]),
    case("--help", 0, &["set-weight", "Exit codes:"]),
    case("help set-weight", 0, &["NAME=VALUE"]),
    case(
        "status",
        0,
        &["lbd 0.", "native", "echo-udp-v6", "old 100%, new 0%"],
    ),
    case("status -o json", 0, &["\"generation\"", "\"services\""]),
    case(
        "get services",
        0,
        &["10.99.0.1:9000", "[fd99::1]:9000", "config"],
    ),
    case("get services -o json", 0, &["\"digest\""]),
    case(
        "set-weight new=30 -s echo --dry-run",
        0,
        &["19661", "dry run: nothing was changed"],
    ),
    case("get backends -o json", 0, &["\"percent\": 0.0"]),
    case(
        "set-weight new=30 -s echo",
        0,
        &["in effect in", "30%", "ok: generation"],
    ),
    case("set-weight new=+5% -s echo", 0, &["35%"]),
    case("set-weight new=-5% -s echo", 0, &["30%"]),
    case("set-weight new=0.1% -s echo", 0, &["0.1%"]),
    case(
        "set-weight old=3 new=1 -s echo",
        0,
        &["75%", "25%", "16384"],
    ),
    case("set-weight -s echo new=25 -o json", 0, &["\"moved\": 0"]),
    case("get backends", 0, &["runtime", "25%", "REALISED"]),
    case("get flows", 0, &["no "]),
    case(
        "get flows -s echo -b old --client 10.64.0.2 --limit 5",
        0,
        &["no "],
    ),
    case("get reasons", 0, &["forward", "no-flow"]),
    case("completion bash", 0, &["_lbctl"]),
    case("completion zsh", 0, &["#compdef lbctl"]),
    case("completion fish", 0, &["complete -c lbctl"]),
];

const MISTAKES: &[Case] = &[
    case("", 2, &["Usage"]),
    case("stats", 2, &["unrecognized subcommand", "status"]),
    case("status --nonsense", 2, &["unexpected argument"]),
    case("status -o yaml", 2, &["invalid value", "json"]),
    case("set-weight", 2, &["required"]),
    case(
        "set-weight new=30",
        2,
        &["there are several services: name one with -s", "echo-v6"],
    ),
    case(
        "set-weight new=30 -s ecko",
        2,
        &["no service `ecko`: did you mean `echo`?"],
    ),
    case(
        "set-weight nwe=30 -s echo",
        2,
        &["no backend `nwe`: did you mean `new`?"],
    ),
    case(
        "set-weight zzzzzz=30 -s echo",
        2,
        &["no backend `zzzzzz`: the service has old, new"],
    ),
    case(
        "set-weight new=101% -s echo",
        2,
        &["`new=101%` would give one backend 101%"],
    ),
    case(
        "set-weight new=101 -s echo",
        2,
        &["at most 100%", "relative weights"],
    ),
    case(
        "set-weight new=3x -s echo",
        2,
        &["`new=3x` is not a number: `x` stands at character 6"],
    ),
    case("set-weight new= -s echo", 2, &["a digit is missing"]),
    case("set-weight new -s echo", 2, &["`new` has no `=`"]),
    case("set-weight =3 -s echo", 2, &["no backend name"]),
    case(
        "set-weight new=0.00000001% -s echo",
        2,
        &["finer than a weight can be"],
    ),
    case("set-weight new=99999999999 -s echo", 2, &["too large"]),
    case("set-weight new=30 new=40 -s echo", 2, &["named twice"]),
    case(
        "set-weight old=30% new=30% -s echo",
        2,
        &["must add up to 100%"],
    ),
    case("set-weight old=0 new=0 -s echo", 2, &["all weights are 0"]),
    case(
        "set-weight new=-5% -s echo",
        2,
        &["less than nothing", "new=0"],
    ),
    case("set-weight old=+5% -s echo", 2, &["105%"]),
    case("get flows -s ecko", 2, &["did you mean `echo`?"]),
    case("get flows -s echo -b nwe", 2, &["did you mean `new`?"]),
    case("get flows --client somebody", 2, &["somebody"]),
    case("get flows --limit many", 2, &["invalid value"]),
    case(
        "apply -f /nonexistent/lb.toml",
        2,
        &["cannot read /nonexistent/lb.toml"],
    ),
    case(
        "detach",
        2,
        &["nobody is here to ask", "lbctl detach --yes"],
    ),
    case(
        "--socket /nonexistent/lbd.sock status",
        3,
        &["lbd is not running", "/nonexistent/lbd.sock"],
    ),
];

fn commands_answer() -> Result<()> {
    let scene = Scene::build(&Topology::two_nets())?;
    check_all(&scene, ANSWERS)
}

fn mistakes_are_named() -> Result<()> {
    let scene = Scene::build(&Topology::two_nets())?;
    let generation =
        |scene: &Scene| Ok::<_, anyhow::Error>(scene.json(&["status"])?["generation"].clone());
    let before = generation(&scene)?;
    check_all(&scene, MISTAKES)?;
    ensure!(
        generation(&scene)? == before,
        "a mistake has changed something"
    );
    scene.ask_for_share(ECHO, 50, 0.0)
}

/// Tries every case and names all that are not as they should be.
fn check_all(scene: &Scene, cases: &[Case]) -> Result<()> {
    let mut wrong = Vec::new();
    for it in cases {
        let words: Vec<_> = it.typed.split_whitespace().collect();
        let said = scene.lbctl(&words)?;
        if let Err(error) = check(&said, it.code, it.says) {
            wrong.push(format!("lbctl {}: {error}", it.typed));
        }
    }
    match &wrong[..] {
        [] => Ok(()),
        some => bail!("{} of {}:\n{}", some.len(), cases.len(), some.join("\n")),
    }
}

fn check(said: &Said, code: i32, says: &[&str]) -> Result<()> {
    ensure!(
        said.code == Some(code),
        "exit code {:?} and not {code}\n{}{}",
        said.code,
        said.stdout,
        said.stderr
    );
    let (text, other) = match code {
        0 => (&said.stdout, &said.stderr),
        _ => (&said.stderr, &said.stdout),
    };
    for part in says {
        ensure!(text.contains(part), "does not say `{part}`:\n{text}");
    }
    ensure!(other.is_empty(), "and says elsewhere:\n{other}");
    Ok(())
}

fn broken_pipe() -> Result<()> {
    let scene = Scene::build(&Topology::two_nets())?;
    for service in SERVICES {
        scene.ask_for_share(service, 500, 0.0)?;
    }
    let mut command = Command::new("bash");
    command
        .args([
            "-c",
            "set -o pipefail; \"$0\" get flows --limit 100000 | head -n 1",
        ])
        .arg(program("lbctl")?)
        .env("LB_SOCKET", scene.lab().socket());
    let said = scene.run(command)?;
    check(&said, 0, &[])?;
    ensure!(said.stdout.lines().count() == 1, "{}", said.stdout);
    let flows = scene.json(&["get", "flows", "--limit", "100000", "-s", "echo-udp"])?;
    let listed = flows["flows"].as_array().context("flows")?.len();
    ensure!(listed == 500, "{listed} flows of 500");
    Ok(())
}

fn unreachable() -> Result<()> {
    let mut scene = Scene::build(&Topology::two_nets())?;
    // Somebody else must be able to run it wherever it was built. Copied by another process: a child that this
    // one starts elsewhere at the same time would hold it open for writing for a moment, and nobody could run it.
    let lbctl = scene.lab().directory().join("lbctl");
    let copied = Command::new("cp")
        .args([&program("lbctl")?, &lbctl])
        .status()?;
    ensure!(copied.success(), "cp: {copied}");
    let mut command = Command::new(&lbctl);
    command
        .arg("status")
        .env("LB_SOCKET", scene.lab().socket())
        .current_dir("/")
        .uid(65_534)
        .gid(65_534);
    let said = scene.run(command)?;
    check(&said, 3, &["no permission to talk to lbd", "sudo lbctl"])?;
    scene.take_balancer()?.kill()?;
    // The file is still there, and nobody listens.
    ensure!(scene.lab().socket().exists(), "no socket is left");
    check(&scene.lbctl(&["status"])?, 3, &["lbd is not running"])
}

fn bad_files() -> Result<()> {
    let scene = Scene::without_lbd(&Topology::two_nets())?;
    let usual = scene.usual()?;
    let file = scene.lab().directory().join("mistake.toml");
    let name = file.display().to_string();
    for (from, to, says) in [
        ("weight = 1", "wieght = 1", ":10:1: unknown field `wieght`"),
        ("weight = 1", "weight = one", ":10:10: "),
        ("10.99.0.1:9000", "10.99.0.1", ":5:11: service.address: "),
        (
            "protocol = \"tcp\"",
            "protocol = \"sctp\"",
            ":6:12: unknown variant `sctp`",
        ),
        ("interfaces", "interface", ":1:1: unknown field `interface`"),
        (
            "weight = 1",
            "weight = 0",
            ":10:10: service.backend.weight: all weights are 0",
        ),
    ] {
        let text = usual.text().replacen(from, to, 1);
        ensure!(text != usual.text(), "`{from}` is not in the file");
        fs::write(&file, text)?;
        let mut checked = Command::new(program("lbd")?);
        checked.args(["check", "--config", &name]);
        let mut started = lab::lbd(scene.lab(), &program("lbd")?);
        fs::copy(&file, scene.lab().config())?;
        started.env("RUST_LOG", "error");
        let said = scene.run(checked)?;
        check(&said, 2, &[&format!("{name}{says}"), "hint: "])?;
        check(&scene.run(started)?, 2, &[says, "hint: "])?;
    }
    fs::write(&file, usual.text())?;
    let mut checked = Command::new(program("lbd")?);
    checked.args(["check", "--config", &name]);
    check(&scene.run(checked)?, 0, &[": ok, 4 services"])?;
    let mut missing = Command::new(program("lbd")?);
    missing.args(["--check", "--config", "/nonexistent/lb.toml"]);
    check(
        &scene.run(missing)?,
        2,
        &["/nonexistent/lb.toml: cannot read the file"],
    )
}

fn refused_by_the_kernel() -> Result<()> {
    let scene = Scene::without_lbd(&Topology::two_nets())?;
    let text = scene
        .usual()?
        .text()
        .replacen("\"client\"", "\"clientt\"", 1);
    fs::write(scene.lab().config(), text)?;
    let mut command = lab::lbd(scene.lab(), &program("lbd")?);
    command.env("RUST_LOG", "error");
    let said = scene.run(command)?;
    ensure!(said.code == Some(4), "{:?}: {}", said.code, said.stderr);
    ensure!(said.stderr.contains("clientt"), "{}", said.stderr);
    Ok(())
}

fn apply() -> Result<()> {
    let mut scene = Scene::build(&Topology::two_nets())?;
    let file = scene.lab().directory().join("other.toml");
    let name = file.display().to_string();
    let usual = scene.usual()?;
    let other = usual.text().replacen("weight = 1\n", "weight = 3\n", 1);
    fs::write(&file, other.replacen("weight = 0\n", "weight = 1\n", 1))?;
    let dry = scene.lbctl(&["apply", "-f", &name, "--dry-run"])?;
    check(
        &dry,
        0,
        &["25%", "unchanged: 3", "dry run: nothing was changed"],
    )?;
    scene.ask_for_share(ECHO, 100, 0.0)?;
    check(
        &scene.lbctl(&["apply", "-f", &name])?,
        0,
        &["25%", "ok: generation"],
    )?;
    scene.ask_for_share(ECHO, 400, 0.25)?;
    scene.take_balancer()?.stop()?;
    scene.start_again()?;
    scene.ask_for_share(ECHO, 400, 0.25)?;
    let balancer = scene.balancer()?;
    balancer.reload()?;
    balancer.wait_for(
        "SIGHUP: configuration in force",
        std::time::Duration::from_secs(10),
    )?;
    scene.ask_for_share(ECHO, 100, 0.0)?;
    fs::write(&file, "interfaces = [\"client\"]\n[[service]]\nname = 1\n")?;
    let said = scene.lbctl(&["apply", "-f", &name])?;
    check(&said, 2, &[&format!("{name}:3:8: "), "hint: "])?;
    let mut piped = Command::new("bash");
    piped
        .args(["-c", "\"$0\" apply -f - < \"$1\""])
        .arg(program("lbctl")?)
        .arg(scene.lab().config())
        .env("LB_SOCKET", scene.lab().socket());
    check(&scene.run(piped)?, 0, &["ok: generation"])
}
