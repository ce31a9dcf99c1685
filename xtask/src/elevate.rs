//! A command as root.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    // The owner of /proc/self is the effective user.
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Fails unless we are root or can become it: to be told before minutes of building.
///
/// # Errors
/// When we are not root and there is no sudo.
pub(crate) fn require_root() -> Result<()> {
    if !is_root() && !on_path("sudo") {
        bail!(
            "this loads programs into the kernel and makes network namespaces, which takes root, \
             and there is no sudo here\n  hint: type the same as root"
        );
    }
    Ok(())
}

/// `program` as root, with `variables` set: directly when we are root, through `sudo -E` otherwise.
///
/// # Errors
/// When we are not root and there is no sudo.
pub(crate) fn as_root(program: &Path, variables: &[(&str, &OsStr)]) -> Result<Command> {
    if is_root() {
        let mut command = Command::new(program);
        command.envs(variables.iter().copied());
        return Ok(command);
    }
    require_root()?;
    let mut command = Command::new("sudo");
    command.arg("-E");
    for (name, value) in variables {
        // On the command line: a sudoers file may refuse -E.
        let mut assignment = std::ffi::OsString::from(format!("{name}="));
        assignment.push(value);
        command.arg(assignment);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// Whether `program` is on PATH or among the system's own, which a user's PATH may lack.
pub(crate) fn on_path(program: &str) -> bool {
    locate(program).is_some()
}

/// Where [`on_path`] finds it.
pub(crate) fn locate(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}
