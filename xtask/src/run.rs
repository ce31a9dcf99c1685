//! The demo and the benchmark: release builds, run as root.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xtask::ebpf;
use xtask::toolchain::TARGET;

use crate::cargo::{Metadata, cargo, run};
use crate::elevate::{as_root, require_root};
use crate::setup::{install_rivals, setup};

/// Builds `lbctl` and `lbd` and becomes `lbctl demo`.
pub(crate) fn demo(flags: &[OsString]) -> Result<()> {
    require_root()?;
    setup()?;
    let bins = release(&["-p", "lb-userspace", "--bins"])?;
    become_root(
        &bins.join("lbctl"),
        &[],
        &[&["demo".into()], flags].concat(),
    )
}

/// Builds everything the benchmark measures and becomes it.
///
/// The benchmark gets the directory of `lbd` and `lbctl` in `LB_BIN_DIR` and that of the objects
/// of `lb-ebpf`, those it compares with included, in `LB_BPF_DIR`.
pub(crate) fn bench(flags: &[OsString]) -> Result<()> {
    require_root()?;
    setup()?;
    install_rivals(flags)?;
    let metadata = Metadata::read()?;
    let target_dir = metadata.target_dir()?;
    // Here and not by the benchmark: as root it would leave files in the target directory that
    // the user's next build cannot replace.
    for bin in metadata.bins("lb-ebpf") {
        ebpf::build(&bin, &target_dir)?;
    }
    let objects = target_dir.join("ebpf").join(TARGET).join("release");
    release(&["-p", "lb-userspace", "--bins"])?;
    let bins = release(&["-p", "lb-tests", "--bin", "bench"])?;
    become_root(
        &bins.join("bench"),
        &[
            ("LB_BIN_DIR", bins.as_os_str()),
            ("LB_BPF_DIR", objects.as_os_str()),
        ],
        flags,
    )
}

/// Builds what `selection` names and returns the directory it lies in.
fn release(selection: &[&str]) -> Result<PathBuf> {
    run(cargo("build").arg("--release").args(selection))?;
    Ok(Metadata::read()?.target_dir()?.join("release"))
}

/// Replaces this process, so that Ctrl-C and the exit code are the program's own.
fn become_root(program: &Path, variables: &[(&str, &OsStr)], flags: &[OsString]) -> Result<()> {
    let mut command = as_root(program, variables)?;
    Err(command.args(flags).exec()).with_context(|| format!("start {}", program.display()))
}
