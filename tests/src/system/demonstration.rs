//! `lbctl demo`.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

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
