//! Every test: the pure ones as the user, those of the kernel and of the whole system as root.

mod kernels;
mod summary;

use std::env;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

pub(crate) use self::kernels::{Release, kernels};
use self::summary::Summary;
use crate::cargo::{Metadata, cargo, run, shown};
use crate::elevate::as_root;
use crate::setup::setup;

/// Runs everything, also after a failure, and prints one summary at the end.
///
/// `flags` go to the kernel and system tests, which find `lbd` and `lbctl` in `LB_BIN_DIR`.
///
/// # Errors
/// When a test fails or something does not build; with `CI=true` also when a test is skipped.
pub(crate) fn test(flags: &[OsString]) -> Result<()> {
    setup()?;
    run(cargo("build").args(["--package", "lb-userspace", "--bins"]))?;
    let system = system_tests(&[])?;
    let bins = Metadata::read()?.target_dir()?.join("debug");

    let mut summary = Summary::default();
    // The default members, and what the tests' own tools promise.
    let mut passed = watch(cargo("test").arg("--no-fail-fast"), &mut summary)?;
    passed &= watch(
        cargo("test").args(["--package", "lb-tests", "--lib"]),
        &mut summary,
    )?;
    for binary in system {
        let mut command = as_root(&binary, &[("LB_BIN_DIR", bins.as_os_str())])?;
        passed &= watch(command.args(flags), &mut summary)?;
    }

    println!("{summary}");
    judge(
        passed,
        &summary,
        env::var("CI").is_ok_and(|value| value == "true"),
    )
}

fn judge(passed: bool, summary: &Summary, ci: bool) -> Result<()> {
    if !passed || summary.failed > 0 {
        bail!("tests failed");
    }
    if ci && summary.skipped > 0 {
        bail!(
            "CI skips no test, and these were: {}",
            summary.skipped_names.join(", ")
        );
    }
    Ok(())
}

/// Builds the test binaries of lb-tests and returns their paths. `flags` go to cargo.
fn system_tests(flags: &[&str]) -> Result<Vec<PathBuf>> {
    let mut command = cargo("test");
    command
        .args(["--package", "lb-tests", "--tests", "--no-run"])
        .args(flags)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    eprintln!("$ {}", shown(&command));
    let output = command.output().context("start cargo")?;
    if !output.status.success() {
        bail!("the kernel and system tests do not build");
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(system_test)
        .collect())
}

/// The binary that a line of cargo's messages announces, if it is one of a `tests` target.
fn system_test(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["target"]["kind"]
        .as_array()?
        .iter()
        .any(|kind| kind == "test");
    message["executable"]
        .as_str()
        .filter(|_| is_test)
        .map(PathBuf::from)
}

/// Runs `command`, shows its output as it comes and adds it up. Whether it succeeded.
fn watch(command: &mut Command, summary: &mut Summary) -> Result<bool> {
    let line = shown(command);
    eprintln!("$ {line}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{line}`"))?;
    let output = child
        .stdout
        .take()
        .context("the output of a test is not piped")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read the output of a test")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        summary.read(&line);
    }
    Ok(child
        .wait()
        .with_context(|| format!("wait for `{line}`"))?
        .success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_targets_of_kind_test_are_run_as_root() {
        let message = |kind: &str| {
            format!(r#"{{"target":{{"kind":["{kind}"]}},"executable":"/target/debug/deps/x"}}"#)
        };
        assert_eq!(
            system_test(&message("test")),
            Some("/target/debug/deps/x".into())
        );
        assert_eq!(system_test(&message("lib")), None);
        assert_eq!(
            system_test(r#"{"reason":"build-finished","success":true}"#),
            None
        );
        assert_eq!(system_test("warning: not JSON"), None);
    }

    #[test]
    fn a_skipped_test_fails_in_ci_by_name_and_nowhere_else() {
        let summary = Summary {
            passed: 3,
            skipped: 1,
            skipped_names: vec!["two interfaces".to_owned()],
            ..Summary::default()
        };
        assert!(judge(true, &summary, false).is_ok());
        let said = judge(true, &summary, true).unwrap_err().to_string();
        assert!(said.contains("two interfaces"), "{said}");
    }

    #[test]
    fn a_crash_without_a_result_line_is_a_failure() {
        assert!(judge(false, &Summary::default(), false).is_err());
    }
}
