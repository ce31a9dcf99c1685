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

/// Name of a file for an interface. The file system keeps dots in names for itself, as in `eth0.7`; no
/// interface has a colon.
pub fn name(beginning: &str, interface: &str) -> String {
    format!("{beginning}{}", interface.replace('.', ":"))
}

/// The interface that a file of [`name`] is for.
pub fn interface(name: &str, beginning: &str) -> Option<String> {
    Some(name.strip_prefix(beginning)?.replace(':', "."))
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_its_interface_and_has_no_dot() {
        for interface_name in ["eth0", "eth0.7", "a.b.c", "."] {
            let file = name("tcx-", interface_name);
            assert!(!file.contains('.'), "{file}");
            assert_eq!(interface(&file, "tcx-").as_deref(), Some(interface_name));
            assert_eq!(interface(&file, "xdp-"), None);
        }
    }
}
