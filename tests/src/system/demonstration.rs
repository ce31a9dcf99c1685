//! `lbctl demo`.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{self, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::scene::program;
use super::trial::{trial, trial_alone};

/// The longest a demo may take on a machine that others use, too.
const LIMIT: Duration = Duration::from_secs(100);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("the demo keeps its promises and leaves nothing", whole),
        trial("the demo leaves nothing after Ctrl-C", interrupted),
        trial("the demo has no JSON and says so", no_json),
        trial("the demo without root says what it needs", without_root),
        trial(
            "the demo without ip or ethtool says what to install",
            without_tools,
        ),
        trial(
            "cargo xtask demo says what it needs before it builds anything",
            before_building,
        ),
    ]
}

fn whole() -> Result<()> {
    let start = Instant::now();
    let child = demo()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(
        output.status.success(),
        "{}\n{stdout}\n{stderr}",
        output.status
    );
    eprintln!("the demo took {:.1?}", start.elapsed());
    for part in [
        "80/20",
        "1:99",
        "UDP over IPv6",
        "0/100",
        "0 broken, 0 moved",
    ] {
        ensure!(stdout.contains(part), "no {part}:\n{stdout}");
    }
    ensure!(!stdout.contains('\x1b'), "colours where nobody sees them");
    left_by(pid)
}

fn interrupted() -> Result<()> {
    let mut child = demo().stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = child.id();
    let deadline = Instant::now() + LIMIT;
    while left_by(pid).is_ok() {
        ensure!(child.try_wait()?.is_none(), "the demo ended by itself");
        ensure!(Instant::now() < deadline, "the demo did not begin");
        sleep(Duration::from_millis(20));
    }
    // In the middle of building as well as of showing.
    sleep(Duration::from_millis(1500));
    let killed = Command::new("kill")
        .args(["-INT", &pid.to_string()])
        .status()?;
    ensure!(killed.success(), "no SIGINT");
    while child.try_wait()?.is_none() {
        ensure!(Instant::now() < deadline, "the demo goes on");
        sleep(Duration::from_millis(20));
    }
    let status = child.wait()?;
    ensure!(!status.success(), "{status}");
    left_by(pid)
}

fn no_json() -> Result<()> {
    let output = demo().args(["-o", "json"]).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "{}", output.status);
    ensure!(stderr.contains("for people"), "{stderr}");
    Ok(())
}

fn without_root() -> Result<()> {
    let place = Place::make("unprivileged")?;
    // Somebody else must be able to run it wherever it was built.
    let lbctl = place.0.join("lbctl");
    fs::copy(program("lbctl")?, &lbctl)?;
    let output = Command::new(lbctl)
        .arg("demo")
        .stdin(Stdio::null())
        .current_dir("/")
        .uid(65_534)
        .gid(65_534)
        .output()?;
    refused(
        &output,
        &["network namespaces", "needs root", "sudo lbctl demo"],
    )
}

fn without_tools() -> Result<()> {
    let place = Place::make("tools")?;
    let output = demo().env("PATH", &place.0).output()?;
    refused(&output, &["needs `ip`", "apt-get install iproute2"])?;
    // Never run: it has only to be there.
    fs::write(place.0.join("ip"), "")?;
    let output = demo().env("PATH", &place.0).output()?;
    refused(&output, &["needs `ethtool`", "apt-get install ethtool"])
}

fn before_building() -> Result<()> {
    let place = Place::make("xtask")?;
    let tools = place.0.join("tools");
    fs::create_dir(&tools)?;
    let xtask = place.0.join("xtask");
    fs::copy(program("xtask")?, &xtask)?;
    let demo = || {
        let mut command = Command::new(&xtask);
        command
            .arg("demo")
            .stdin(Stdio::null())
            .env_remove("CARGO")
            .env("PATH", &tools)
            .current_dir(&place.0);
        command
    };
    // Neither root nor sudo.
    let output = demo().uid(65_534).gid(65_534).output()?;
    refused(&output, &["takes root", "no sudo", "type the same as root"])?;
    // Root on a machine with nothing.
    let output = demo().output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1),
        "{}: {stderr}",
        output.status
    );
    for part in ["there is no apt-get.", "with your package manager"] {
        ensure!(stderr.contains(part), "does not say `{part}`:\n{stderr}");
    }
    Ok(())
}

/// The demo ended before it began, with a sentence and a hint.
fn refused(output: &Output, says: &[&str]) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1),
        "{}: {stderr}",
        output.status
    );
    for part in says.iter().chain(&["hint: "]) {
        ensure!(stderr.contains(part), "does not say `{part}`:\n{stderr}");
    }
    ensure!(output.stdout.is_empty(), "it began: {output:?}");
    Ok(())
}

/// A directory that everybody may enter, removed on drop.
struct Place(PathBuf);

impl Place {
    fn make(name: &str) -> Result<Self> {
        let path = env::temp_dir().join(format!("lb-demo-{name}-{}", process::id()));
        let place = Self(path);
        fs::create_dir(&place.0)?;
        fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755))?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Its failure leaves a small directory among the temporary ones.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn demo() -> Command {
    let mut command = Command::new(program("lbctl").unwrap_or_default());
    command.arg("demo").stdin(Stdio::null());
    command
}

/// Fails if something of the labs of this process is there.
fn left_by(pid: u32) -> Result<()> {
    for (directory, prefix) in [
        ("/run/netns", format!("lb-{pid}-")),
        ("/run", format!("lb-lab-{pid}-")),
    ] {
        let Ok(entries) = fs::read_dir(directory) else {
            continue;
        };
        for entry in entries {
            let name = entry.context("read a directory")?.file_name();
            ensure!(
                !name.to_string_lossy().starts_with(&prefix),
                "{directory}/{} is left",
                name.display()
            );
        }
    }
    Ok(())
}
