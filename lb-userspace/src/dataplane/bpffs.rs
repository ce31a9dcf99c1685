//! The file system pins live on.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Where the kernel expects it, and where `systemd` mounts it.
const USUAL: &str = "/sys/fs/bpf";

/// Makes `pin_dir`, and mounts the BPF file system below it if nobody has.
///
/// # Errors
/// If `pin_dir` is not on a BPF file system and none can be mounted.
pub fn prepare(pin_dir: &Path) -> Result<()> {
    if pin_dir.starts_with(USUAL) && !is_bpffs(Path::new(USUAL)) {
        let none: Option<&str> = None;
        mount(Some("bpf"), USUAL, Some("bpf"), MsFlags::empty(), none)
            .with_context(|| format!("mount the BPF file system on {USUAL}"))?;
    }
    fs::create_dir_all(pin_dir).with_context(|| format!("make {}", pin_dir.display()))?;
    anyhow::ensure!(
        is_bpffs(pin_dir),
        "{} is not on a BPF file system; use a directory below {USUAL}, or \
         `mount -t bpf bpf DIRECTORY` first",
        pin_dir.display()
    );
    Ok(())
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}
