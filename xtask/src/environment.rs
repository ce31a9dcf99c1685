//! Commands free of what an outer cargo, rustup or clippy left in the environment.
//!
//! A build script, and everything under `cargo xtask`, runs with variables that pick a compiler,
//! its flags and a wrapper for the *host*. Inherited by the cargo that builds the kernel program
//! they would choose the wrong compiler, or run clippy in its place.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

/// `program` with this process's environment, less the variables that steer a cargo or rustc.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(steers_a_build) {
            command.env_remove(name);
        }
    }
    command
}

/// What says where things are and how to reach the network goes through; what says how to compile
/// does not.
fn steers_a_build(name: &str) -> bool {
    const KEPT: &[&str] = &["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_DIST_SERVER"];
    const KEPT_PREFIXES: &[&str] = &[
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    // The jobserver: the inner cargo then shares the outer one's limit on parallel jobs.
    const JOBSERVER: &str = "CARGO_MAKEFLAGS";
    // Set by cargo for build scripts; `LD_LIBRARY_PATH` points at the host toolchain's libraries.
    const OF_BUILD_SCRIPTS: &[&str] = &[
        "CARGO",
        "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR",
        "DEBUG",
        "HOST",
        "LD_LIBRARY_PATH",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "TARGET",
    ];

    if KEPT.contains(&name)
        || name == JOBSERVER
        || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    {
        return false;
    }
    OF_BUILD_SCRIPTS.contains(&name)
        || name.starts_with("CARGO_")
        || name.starts_with("RUSTC")
        || name.starts_with("RUSTDOC")
        || name.starts_with("RUSTFLAGS")
        || name == "RUSTUP_TOOLCHAIN"
}

#[cfg(test)]
mod tests {
    use super::steers_a_build;

    #[test]
    fn compilers_flags_and_wrappers_do_not_leak() {
        for name in [
            "RUSTC",
            "RUSTC_BOOTSTRAP",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
            "RUSTDOCFLAGS",
            "RUSTUP_TOOLCHAIN",
            "CARGO",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_DIR",
            "CLIPPY_ARGS",
            "LD_LIBRARY_PATH",
            "OUT_DIR",
        ] {
            assert!(steers_a_build(name), "{name} reaches the inner cargo");
        }
    }

    #[test]
    fn homes_network_settings_and_the_jobserver_stay() {
        for name in [
            "CARGO_HOME",
            "CARGO_HTTP_PROXY",
            "CARGO_MAKEFLAGS",
            "CARGO_NET_OFFLINE",
            "HOME",
            "PATH",
            "RUSTUP_HOME",
            "RUST_BACKTRACE",
            "https_proxy",
        ] {
            assert!(!steers_a_build(name), "{name} is lost");
        }
    }
}
