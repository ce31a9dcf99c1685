//! Format, lints, documentation, layering: what needs no root and no running.

mod invariants;
mod tokens;

use std::process::Command;

use anyhow::{Result, bail};

use crate::cargo::{cargo, run, workspace};
use crate::setup::setup;

/// A check and its name.
type Check = (&'static str, fn() -> Result<()>);

/// Runs every check, also after one has failed, and names those that did.
///
/// # Errors
/// When any check fails.
pub(crate) fn check() -> Result<()> {
    setup()?;
    let checks: [Check; 4] = [
        ("layering", layering),
        ("format", format),
        ("lints", lints),
        ("documentation", documentation),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        if let Err(error) = check() {
            eprintln!("{error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    println!("check passed: layering, format, lints, documentation");
    Ok(())
}

fn layering() -> Result<()> {
    let violations = invariants::violations(workspace())?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => bail!("layering: {count} violations"),
    }
}

fn format() -> Result<()> {
    run(cargo("fmt").args(["--all", "--check"]))
}

fn lints() -> Result<()> {
    run(cargo("clippy").args([
        "--workspace",
        "--exclude",
        "lb-ebpf",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    run(of_kernel(cargo("clippy")).args(["--", "--deny", "warnings"]))
}

fn documentation() -> Result<()> {
    const FLAGS: (&str, &str) = ("RUSTDOCFLAGS", "--deny warnings");
    run(cargo("doc")
        .args(["--workspace", "--exclude", "lb-ebpf", "--no-deps"])
        .env(FLAGS.0, FLAGS.1))?;
    run(of_kernel(cargo("doc"))
        .arg("--no-deps")
        .env(FLAGS.0, FLAGS.1))
}

/// `cargo` for the kernel program, compiled as if for the host: clippy and rustdoc come with
/// rustup's compiler, which has no core library for BPF.
fn of_kernel(mut cargo: Command) -> Command {
    // The program brings its own panic handler and, as in the kernel, never unwinds.
    cargo
        .args(["--package", "lb-ebpf"])
        .env("CARGO_PROFILE_DEV_PANIC", "abort");
    cargo
}
