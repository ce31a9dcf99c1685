//! Compiles the binaries of `lb-ebpf` into objects the kernel loads.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::toolchain::{self, TARGET, Toolchain};

/// Headers sit at odd offsets of a packet. x86-64 and arm64 load them in one instruction anyway;
/// without this feature the compiler puts every field together from bytes.
const MISALIGNED: &str = "allows-misaligned-mem-access";

/// Builds the binary `bin` of `lb-ebpf` and returns the path of the object.
///
/// Compiles below `target_dir/ebpf`, apart from the target directory of the cargo that may be
/// running this, whose lock is taken. Builds with the same `target_dir` share their work. The
/// compiler's output goes to standard error.
///
/// # Errors
/// When no toolchain or no bpf-linker is found (the message says what to type), and when the
/// program does not compile.
pub fn build(bin: &str, target_dir: &Path) -> Result<PathBuf> {
    let toolchain = Toolchain::find().context(NO_TOOLCHAIN)?;
    let linker = toolchain::linker().context(NO_LINKER)?;
    let target_dir = target_dir.join("ebpf");

    let mut cargo = toolchain.cargo_build();
    cargo
        .args(["--release", "--package", "lb-ebpf", "--bin", bin])
        .arg("--manifest-path")
        .arg(workspace().join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(toolchain, &linker))
        .stdin(Stdio::null())
        // A build script's standard output is read by cargo, line by line.
        .stdout(Stdio::null());
    let status = cargo
        .status()
        .context("start the cargo that builds the kernel program")?;
    if !status.success() {
        bail!("the kernel program `{bin}` does not build with {toolchain}");
    }
    Ok(target_dir.join(TARGET).join("release").join(bin))
}

/// Every file and directory an object depends on: what a build script watches.
#[must_use]
pub fn sources() -> Vec<PathBuf> {
    let mut sources: Vec<PathBuf> = [
        "Cargo.lock",
        "Cargo.toml",
        "lb-common/Cargo.toml",
        "lb-common/src",
        "lb-ebpf/Cargo.toml",
        "lb-ebpf/src",
    ]
    .map(|path| workspace().join(path))
    .into();
    sources.extend(toolchain::linker());
    sources
}

const NO_TOOLCHAIN: &str = "no compiler here can build for bpfel-unknown-none: neither Debian's \
     rustc with its BPF core nor rustup's nightly with rust-src; run `cargo xtask setup`";
const NO_LINKER: &str =
    "bpf-linker is neither on PATH nor in ~/.cargo/bin; run `cargo xtask setup`";

/// Flags in cargo's encoded form, which, unlike RUSTFLAGS, allows spaces in a path.
fn rustflags(toolchain: Toolchain, linker: &Path) -> OsString {
    let mut flags: Vec<OsString> = [
        // 32-bit ALU instructions, and atomics that return a value (kernel 5.12).
        "-Ctarget-cpu=v3",
        // BTF, so that bpftool names map fields and the verifier's log quotes source lines.
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "-Ccodegen-units=1",
    ]
    .map(OsString::from)
    .into();
    if toolchain.knows(MISALIGNED) {
        flags.push(format!("-Ctarget-feature=+{MISALIGNED}").into());
    }
    let mut link = OsString::from("-Clinker=");
    link.push(linker);
    flags.push(link);
    flags.join(std::ffi::OsStr::new("\x1f"))
}

/// The root of the workspace.
fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
