//! The emulator that other kernels are tried in. Nothing else needs it.

use std::path::Path;

use anyhow::{Result, bail};

use crate::cargo::run;
use crate::elevate::{as_root, on_path};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// Installs it if it is not there, as root.
///
/// # Errors
/// When there is no apt-get, or it fails.
pub(crate) fn install_emulator() -> Result<()> {
    if !on_path("apt-get") {
        bail!("other kernels are Debian's packages, and there is no apt-get here to fetch them");
    }
    if on_path(PROGRAM) {
        return Ok(());
    }
    eprintln!("other kernels are tried in an emulator: installing {PACKAGE}");
    let mut command = as_root(Path::new("apt-get"), &[])?;
    command.args(["install", "--yes", "--no-install-recommends", PACKAGE]);
    run(&mut command)
}
