//! Which compiler on this machine can build for [`TARGET`].
//!
//! Stable Rust ships no core library for BPF. Debian's compiler has one prebuilt; rustup's nightly
//! builds one from `rust-src`. Either is good; Debian's is preferred, for it needs no nightly.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::environment;

/// The target every kernel program here is built for: little-endian BPF.
pub const TARGET: &str = "bpfel-unknown-none";

/// Debian's compiler. Named by its full path, because rustup's `rustc` comes first on most PATHs.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The oldest compiler the workspace builds with, as its manifest says.
pub const OLDEST_RUST: Version = Version::of_manifest();

/// A compiler that has a core library for [`TARGET`], or can build one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// [`DEBIAN_RUSTC`] with Debian's prebuilt core.
    Debian,
    /// rustup's nightly with the component `rust-src`.
    Nightly,
}

impl Toolchain {
    /// The first toolchain that will do, or `None` when this machine has neither.
    #[must_use]
    pub fn find() -> Option<Self> {
        [Self::Debian, Self::Nightly]
            .into_iter()
            .find(|toolchain| toolchain.is_complete())
    }

    /// `rustc` of this toolchain.
    #[must_use]
    pub fn rustc(self) -> Command {
        match self {
            Self::Debian => environment::command(DEBIAN_RUSTC),
            Self::Nightly => nightly("rustc"),
        }
    }

    /// `cargo build` for [`TARGET`] with this toolchain, still without package or flags.
    #[must_use]
    pub fn cargo_build(self) -> Command {
        let mut cargo = match self {
            Self::Debian => {
                let mut cargo = environment::command(outer_cargo());
                // aya-ebpf enables `asm_experimental_arch`, which a stable compiler refuses.
                cargo
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .arg("build");
                cargo
            }
            Self::Nightly => {
                let mut cargo = nightly("cargo");
                cargo.args(["build", "-Z", "build-std=core"]);
                cargo
            }
        };
        // Empty, not absent: an empty value also switches off a wrapper of the user's cargo config.
        cargo
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "");
        cargo.args(["--target", TARGET]);
        cargo
    }

    /// The major version of the LLVM this compiler writes bitcode with. The linker's LLVM must be
    /// as new.
    #[must_use]
    pub fn llvm(self) -> Option<u32> {
        llvm_major(&output(self.rustc().arg("-vV"))?)
    }

    /// Whether the compiler knows `feature` of the target.
    #[must_use]
    pub fn knows(self, feature: &str) -> bool {
        output(
            self.rustc()
                .args(["--print", "target-features", "--target", TARGET]),
        )
        .is_some_and(|list| names_feature(&list, feature))
    }

    fn is_complete(self) -> bool {
        let core = match self {
            Self::Debian if !Path::new(DEBIAN_RUSTC).exists() => return false,
            Self::Debian => format!("lib/rustlib/{TARGET}/lib"),
            Self::Nightly => "lib/rustlib/src/rust/library/core".to_owned(),
        };
        let Some(sysroot) = output(self.rustc().args(["--print", "sysroot"])) else {
            return false;
        };
        Path::new(sysroot.trim_end()).join(core).is_dir() && self.is_new_enough()
    }

    fn is_new_enough(self) -> bool {
        output(self.rustc().arg("--version"))
            .and_then(|line| Version::parse(line.split_whitespace().nth(1)?))
            .is_some_and(|version| version >= OLDEST_RUST)
    }
}

impl std::fmt::Display for Toolchain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Debian => "Debian's compiler /usr/bin/rustc with a prebuilt BPF core",
            Self::Nightly => "rustup's nightly with rust-src",
        })
    }
}

/// A compiler version, as far as it decides what compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 1, so far.
    pub major: u32,
    /// The release.
    pub minor: u32,
}

impl Version {
    /// Reads the first two numbers of `1.96`, `1.96.0` or Debian's `1.96.0+dfsg1-1~deb12u2`.
    /// `None` when there are none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Self {
            major: numbers.next()?.ok()?,
            minor: numbers.next()?.ok()?,
        })
    }

    const fn of_manifest() -> Self {
        let text = env!("CARGO_PKG_RUST_VERSION").as_bytes();
        let mut numbers = [0, 0];
        let (mut at, mut which) = (0, 0);
        while at < text.len() && which < 2 {
            match text[at] {
                b'.' => which += 1,
                digit => numbers[which] = numbers[which] * 10 + (digit - b'0') as u32,
            }
            at += 1;
        }
        Self {
            major: numbers[0],
            minor: numbers[1],
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The bpf-linker to link with: the first on PATH, or the one `cargo install` put in its `bin`
/// directory. `None` when there is none.
#[must_use]
pub fn linker() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(cargo_home().map(|home| home.join("bin")))
        .map(|directory| directory.join("bpf-linker"))
        .find(|file| file.is_file())
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

/// The cargo that runs us, or the first on PATH: any will do, the compiler is named apart.
fn outer_cargo() -> impl AsRef<OsStr> {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn nightly(program: &str) -> Command {
    let mut rustup = environment::command("rustup");
    // Never download a toolchain as a side effect of looking for one.
    rustup
        .env("RUSTUP_AUTO_INSTALL", "0")
        .args(["run", "nightly", program]);
    rustup
}

/// Standard output of a command that succeeded.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn llvm_major(version: &str) -> Option<u32> {
    let number = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    number.split('.').next()?.parse().ok()
}

fn names_feature(list: &str, feature: &str) -> bool {
    list.lines()
        .any(|line| line.split_whitespace().next() == Some(feature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_rustc_and_of_debian_packages_are_read() {
        let version = |major, minor| Some(Version { major, minor });
        assert_eq!(Version::parse("1.96.0"), version(1, 96));
        assert_eq!(Version::parse("1.97.0-nightly"), version(1, 97));
        assert_eq!(Version::parse("1.85.0+dfsg3-1~deb12u3"), version(1, 85));
        assert_eq!(Version::parse("(none)"), None);
        assert_eq!(Version::parse(""), None);
    }

    #[test]
    fn the_oldest_compiler_is_the_one_of_the_manifest() {
        assert_eq!(
            Version::parse(env!("CARGO_PKG_RUST_VERSION")),
            Some(OLDEST_RUST)
        );
    }

    #[test]
    fn the_major_version_of_llvm_is_found() {
        assert_eq!(
            llvm_major("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"),
            Some(22)
        );
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
    }

    #[test]
    fn a_feature_is_known_only_by_its_whole_name() {
        let list = "Features:\n    allows-misaligned-mem-access - Allows it.\n    alu32 - x\n";
        assert!(names_feature(list, "allows-misaligned-mem-access"));
        assert!(!names_feature(list, "allows"));
    }
}
