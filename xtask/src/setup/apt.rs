//! What apt offers.

use std::process::{Command, Stdio};

use xtask::toolchain::{OLDEST_RUST, Version};

use super::survey::Machine;
use crate::cargo::run;

/// Debian's compiler and the prebuilt BPF core that goes with it, newest naming last. Bookworm's
/// `-web` packages follow the browsers' needs and are newer than its plain `rustc`.
const COMPILERS: [[&str; 2]; 2] = [
    ["rustc-web", "libstd-rust-web-dev-bpf"],
    ["rustc", "libstd-rust-dev-bpf"],
];

/// bpftool's own package, and the one that holds it on Ubuntu.
const BPFTOOLS: [&str; 2] = ["bpftool", "linux-tools-generic"];

/// What there is to install, of what can be missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offers {
    pub(crate) compiler: Option<Compiler>,
    pub(crate) bpftool: Option<&'static str>,
}

/// A compiler new enough, with a BPF core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    pub(crate) packages: [&'static str; 2],
    /// Major version of the LLVM inside.
    pub(crate) llvm: u32,
}

/// Fetches the package lists; a new machine has none. Goes on without the network: the lists that
/// are there may do.
pub(crate) fn update() {
    let mut command = Command::new("apt-get");
    command.args(["update", "--quiet"]).stdin(Stdio::null());
    if let Err(error) = run(&mut command) {
        eprintln!("{error:#}; going on with the package lists there are");
    }
}

/// Asks apt about what `machine` lacks.
pub(crate) fn offers(machine: &Machine) -> Offers {
    if !machine.apt {
        return Offers::default();
    }
    Offers {
        compiler: if machine.toolchain.is_none() {
            compiler()
        } else {
            None
        },
        bpftool: BPFTOOLS
            .into_iter()
            .find(|package| candidate(&policy(package)).is_some()),
    }
}

fn compiler() -> Option<Compiler> {
    COMPILERS.into_iter().find_map(|packages| {
        let new_enough = packages.iter().all(|package| {
            candidate(&policy(package)).and_then(|text| Version::parse(&text)) >= Some(OLDEST_RUST)
        });
        let llvm = if new_enough {
            recommended_llvm(&apt_cache("show", packages[1]))
        } else {
            None
        };
        llvm.map(|llvm| Compiler { packages, llvm })
    })
}

fn policy(package: &str) -> String {
    apt_cache("policy", package)
}

/// What `apt-cache` prints; nothing when it fails.
fn apt_cache(question: &str, package: &str) -> String {
    let output = Command::new("apt-cache")
        .args([question, package])
        .env("LC_ALL", "C")
        .stderr(Stdio::null())
        .output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// The version apt would install.
fn candidate(policy: &str) -> Option<String> {
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// The BPF core recommends the clang of the LLVM its compiler is built with.
fn recommended_llvm(record: &str) -> Option<u32> {
    let recommends = record
        .lines()
        .find_map(|line| line.strip_prefix("Recommends: "))?;
    recommends.split(',').find_map(|package| {
        let version = package.trim().strip_prefix("clang-")?;
        version
            .split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_read_and_none_is_none() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n";
        assert_eq!(candidate(policy).as_deref(), Some("1.96.0+dfsg1-1~deb12u2"));
        assert_eq!(
            candidate("x:\n  Installed: (none)\n  Candidate: (none)\n"),
            None
        );
        assert_eq!(candidate(""), None);
    }

    #[test]
    fn the_recommended_clang_tells_the_llvm() {
        let record = "Package: libstd-rust-web-dev-bpf\nRecommends: lld-22, clang-22 (>= 1:22)\n";
        assert_eq!(recommended_llvm(record), Some(22));
        assert_eq!(recommended_llvm("Package: x\nRecommends: lld\n"), None);
        assert_eq!(recommended_llvm(""), None);
    }
}
