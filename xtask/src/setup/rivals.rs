//! What the benchmark compares lb with: Debian's packages of other balancers. Nothing else needs
//! them, and the benchmark leaves out what is not there.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::cargo::{run, workspace};
use crate::elevate::{as_root, on_path};

/// Relative to the workspace.
const SCRIPT: &str = "xtask/src/setup/rivals.sh";

/// A package and a file that it brings.
const PACKAGES: [(&str, &str); 4] = [
    ("nftables", "/usr/sbin/nft"),
    ("haproxy", "/usr/sbin/haproxy"),
    ("nginx", "/usr/sbin/nginx"),
    (
        "libnginx-mod-stream",
        "/usr/lib/nginx/modules/ngx_stream_module.so",
    ),
];

/// Installs what is missing, as root, when the benchmark with these flags measures sockets. Says so;
/// also when it cannot, which is no error.
///
/// # Errors
/// When we are not root and there is no sudo.
pub(crate) fn install_rivals(flags: &[OsString]) -> Result<()> {
    let missing: Vec<_> = PACKAGES
        .into_iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(package, _)| package)
        .collect();
    if missing.is_empty() || !measures_sockets(flags) {
        return Ok(());
    }
    let names = missing.join(", ");
    if !on_path("apt-get") {
        eprintln!("there is no apt-get to install {names}: going on without");
        return Ok(());
    }
    eprintln!("lb is compared with other balancers: installing {names}; their services stay off");
    let mut command = as_root(Path::new("sh"), &[])?;
    command.arg(workspace().join(SCRIPT)).args(&missing);
    if let Err(error) = run(&mut command) {
        eprintln!("{error:#}; going on without");
    }
    Ok(())
}

/// Whether `--only`, in either spelling, leaves the sockets in.
fn measures_sockets(flags: &[OsString]) -> bool {
    let words: Vec<_> = flags.iter().map(|flag| flag.to_string_lossy()).collect();
    let asks_help = words.iter().any(|word| word == "--help" || word == "-h");
    let mut parts = words
        .iter()
        .zip(words.iter().skip(1))
        .filter(|(flag, _)| *flag == "--only")
        .map(|(_, parts)| &**parts)
        .chain(words.iter().filter_map(|word| word.strip_prefix("--only=")))
        .peekable();
    !asks_help
        && (parts.peek().is_none()
            || parts.any(|parts| parts.split(',').any(|part| part == "sockets")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(line: &str) -> bool {
        let flags: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        measures_sockets(&flags)
    }

    #[test]
    fn the_whole_benchmark_measures_sockets() {
        for line in ["", "--quick", "--write"] {
            assert!(with(line), "{line}");
        }
    }

    #[test]
    fn a_part_does_when_it_is_named() {
        for line in [
            "--only sockets",
            "--only=tables,sockets --quick",
            "--only packets --only sockets",
        ] {
            assert!(with(line), "{line}");
        }
        for line in ["--only packets", "--quick --only=packets,tables", "--help"] {
            assert!(!with(line), "{line}");
        }
    }

    #[test]
    fn the_script_is_where_it_is_looked_for() {
        assert!(workspace().join(SCRIPT).is_file());
    }
}
