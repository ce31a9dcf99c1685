//! The first process of a virtual machine: `cargo xtask test --kernels` boots it in a kernel that is
//! to be tried.
//!
//! The initial file system holds this program as `/init`, kernel modules in the order of their names
//! in `/modules`, the tests as `/bin/lb` beside what they call, and in `/arguments` how they are called:
//! an argument a line, an empty line between two runs. The second serial port gets the kernel's version,
//! what it lacks, how many instructions its verifier
//! walked, what the tests print, and how they ended; the first one is the kernel's.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::node::{Load, Node};
use lb_userspace::dataplane::{kernel_version, require_kernel};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

/// The second serial port. `cargo xtask` reads it: lines of this program are `KEY: VALUE`.
const OUTPUT: &str = "/dev/ttyS1";

/// File systems, and where they go.
const MOUNTS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
];

/// How long the serial port is given to send what was written to it.
const DRAIN: Duration = Duration::from_millis(500);

fn main() -> Result<()> {
    mount_all()?;
    let mut output = File::options()
        .write(true)
        .open(OUTPUT)
        .with_context(|| format!("open {OUTPUT}"))?;
    let said = match run(&mut output) {
        Ok(ending) => writeln!(output, "\nguest: {ending}"),
        Err(error) => writeln!(output, "\nguest: {error:#}"),
    };
    sleep(DRAIN);
    said.context("say how it ended")?;
    // The machine is told to end instead of to start again.
    reboot(RebootMode::RB_AUTOBOOT)
        .map(|_| ())
        .context("reboot")
}

fn mount_all() -> Result<()> {
    for (kind, target) in MOUNTS {
        fs::create_dir_all(target).with_context(|| format!("make {target}"))?;
        let none: Option<&str> = None;
        mount(Some(kind), target, Some(kind), MsFlags::empty(), none)
            .with_context(|| format!("mount {kind} on {target}"))?;
    }
    Ok(())
}

fn run(output: &mut File) -> Result<String> {
    load_modules()?;
    writeln!(output, "kernel: {}", kernel_version()?)?;
    if let Err(error) = require_kernel() {
        writeln!(output, "refused: {error:#}")?;
        return Ok("no test".to_owned());
    }
    let mut node = Node::new(Load::default())?;
    for note in &node.notes {
        writeln!(output, "lacks: {note}")?;
    }
    if let Some(count) = node.verified_instructions()? {
        writeln!(output, "verified: {count}")?;
    }
    drop(node);
    let arguments = fs::read_to_string("/arguments").context("read /arguments")?;
    for run in arguments.split("\n\n") {
        let status = Command::new("/bin/lb")
            .args(run.lines())
            .env("LB_BIN_DIR", "/bin")
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .status()
            .context("start the tests")?;
        if !status.success() {
            return Ok(status.to_string());
        }
    }
    Ok("all passed".to_owned())
}

fn load_modules() -> Result<()> {
    let mut paths = Vec::new();
    for entry in fs::read_dir("/modules").context("list /modules")? {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths {
        let module = File::open(&path)?;
        finit_module(&module, c"", ModuleInitFlags::empty())
            .with_context(|| format!("load {}", path.display()))?;
    }
    Ok(())
}
