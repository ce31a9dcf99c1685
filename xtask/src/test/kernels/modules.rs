//! Kernel modules with those they need.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// What the tests need of a kernel that may be a module.
pub(super) const WANTED: &[&str] = &[
    "veth",
    "bridge",
    "sch_ingress",
    "cls_bpf",
    "8021q",
    // For endpoints whose kernel unpacks.
    "ipip",
    "sit",
    "ip6_tunnel",
    "fou",
    "fou6",
];

/// The modules `wanted` and all that they need, each after those it needs: name and bytes. One that
/// is not among the files is taken to be built in.
pub(super) fn load_order(kernel: &Path, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = BTreeMap::new();
    for tree in trees(kernel)? {
        find(&tree, &mut files)?;
    }
    let mut order = Vec::new();
    for name in wanted {
        add(name, &files, &mut order)?;
    }
    Ok(order)
}

/// The directories of modules of an unpacked kernel.
pub(super) fn trees(kernel: &Path) -> Result<Vec<PathBuf>> {
    let mut trees = Vec::new();
    for below in ["lib/modules", "usr/lib/modules"] {
        let Ok(entries) = fs::read_dir(kernel.join(below)) else {
            continue;
        };
        for entry in entries {
            trees.push(entry?.path());
        }
    }
    Ok(trees)
}

fn add(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    order: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let Some(path) = files.get(name) else {
        return Ok(());
    };
    if order.iter().any(|(there, _)| there == name) {
        return Ok(());
    }
    let bytes = read(path)?;
    for needed in needs(&bytes) {
        add(&needed, files, order)?;
    }
    order.push((name.to_owned(), bytes));
    Ok(())
}

/// Name → file of every module below `directory`.
fn find(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find(&path, files)?;
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// A module as the kernel wants it: not every kernel can decompress.
fn read(path: &Path) -> Result<Vec<u8>> {
    let unpack = match path.extension().and_then(|it| it.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).with_context(|| format!("read {}", path.display())),
    };
    let output = Command::new(unpack)
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output()
        .with_context(|| format!("start {unpack}"))?;
    if !output.status.success() {
        bail!("{unpack} cannot unpack {}", path.display());
    }
    Ok(output.stdout)
}

/// The modules that this one needs, from the text `depends=a,b` in it.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|bytes| bytes == KEY) else {
        return Vec::new();
    };
    let names = module[at + KEY.len()..].split(|&byte| byte == 0).next();
    String::from_utf8_lossy(names.unwrap_or_default())
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_tells_what_it_needs() {
        let module = b"\x7fELF\0license=GPL\0depends=stp,llc-x\0name=bridge\0";
        assert_eq!(needs(module), ["stp", "llc_x"]);
        assert!(needs(b"\0depends=\0name=veth\0").is_empty());
        assert!(needs(b"no such text").is_empty());
    }
}
