//! Builds the kernel programs and leaves them in `OUT_DIR/NAME.bpf.o`, where the dataplane embeds them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context as _, Result};
use xtask::ebpf;

fn main() -> ExitCode {
    for path in ebpf::sources() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by returning it: a backtrace would bury the compiler's output.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    for name in ["lb", "decap", "clock"] {
        let object = ebpf::build(name, shared_target(&out))?;
        let embedded = out.join(format!("{name}.bpf.o"));
        fs::copy(&object, &embedded)
            .with_context(|| format!("copy {} to {}", object.display(), embedded.display()))?;
    }
    Ok(())
}

/// The target directory `out` lies in, so that debug, release and clippy share one build of the
/// kernel program; `out` itself when cargo has not marked the target directory.
fn shared_target(out: &Path) -> &Path {
    out.ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").is_file())
        .unwrap_or(out)
}
