//! The kernel catalogue in other kernels than this machine's: each boots in a virtual machine, with
//! nothing but the tests in it.
//!
//! | module | holds |
//! |---|---|
//! | [`release`] | which kernels, and which archive has them |
//! | [`archive`] | a distribution's packages, by an apt of our own |
//! | [`modules`] | kernel modules with those they need |
//! | [`cpio`] | the initial file system as bytes |
//! | [`contents`] | what is in it |
//! | [`machine`] | the virtual machine |
//! | [`outcome`] | what it said |
//!
//! Everything is kept below `target/kernels`: packages are fetched once, and each kernel's own
//! messages and the tests' output can be read there afterwards.

mod archive;
mod contents;
mod cpio;
mod machine;
mod modules;
mod outcome;
mod release;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::contents::{Programs, stripped};
use self::outcome::Outcome;
pub(crate) use self::release::Release;
use super::system_tests;
use crate::cargo::{Metadata, cargo, run};
use crate::setup::{install_emulator, setup};

/// Frames of the comparison with the model: as emulated, a processor is some twenty times slower.
const FRAMES: &str = "10000";

/// Runs the packet catalogue and the model in each of `releases`, one after the other, and prints a
/// line for each. `flags` go to the tests.
///
/// # Errors
/// When a kernel does not come up, a test fails in one, or one is not refused that is too old.
pub(crate) fn kernels(releases: &[Release], flags: &[OsString]) -> Result<()> {
    setup()?;
    install_emulator()?;
    let target = Metadata::read()?.target_dir()?;
    let directory = target.join("kernels");
    let programs = build(&target, &directory.join("bin"))?;
    let arguments = arguments(flags)?;

    let mut lines = Vec::new();
    let mut is_good = true;
    for release in releases {
        let line = match try_in(release, &directory, &programs, &arguments) {
            Ok(outcome) => {
                is_good &= outcome.is_as_expected(release);
                outcome.line(release)
            }
            Err(error) => {
                is_good = false;
                format!("{}: {error:#}", release.series)
            }
        };
        println!("{line}");
        lines.push(line);
    }
    println!("\n{}", lines.join("\n"));
    if !is_good {
        bail!("not every kernel is served; see {}", directory.display());
    }
    Ok(())
}

/// Builds what goes into the machine, and copies it to `directory`. Optimized: in there it takes a tenth of the
/// time, and building it once takes less than one kernel would.
fn build(target: &Path, directory: &Path) -> Result<Programs> {
    let optimized = |what: &[&str]| run(cargo("build").arg("--release").args(what));
    optimized(&["--package", "lb-userspace", "--bins"])?;
    optimized(&["--package", "lb-tests", "--bin", "guest"])?;
    let [tests] = &system_tests(&["--release"])?[..] else {
        bail!("lb-tests has more than one test binary");
    };
    let bin = |name| stripped(&target.join("release").join(name), directory);
    Ok(Programs {
        init: bin("guest")?,
        tests: stripped(tests, directory)?,
        beside: vec![bin("lbd")?, bin("lbctl")?],
    })
}

/// Systems in namespaces that depend on how a kernel holds programs at its hooks. The others are a
/// matter of time, which an emulated processor has its own idea of.
const SYSTEMS: [&str; 3] = [
    "a flow opens when no neighbour is known, by two interfaces",
    "the kernel's own tunnel devices unpack",
    "detach takes everything out of one interface",
];

/// How the tests are called: an argument a line, an empty line between two runs. With `flags`, once
/// and with those.
fn arguments(flags: &[OsString]) -> Result<String> {
    let always = format!("--color=never\n--test-threads=1\n--packets\n{FRAMES}");
    let flags: Option<Vec<&str>> = flags.iter().map(|flag| flag.to_str()).collect();
    let flags = flags.context("a flag is not text")?;
    if !flags.is_empty() {
        return Ok(format!("{always}\n{}", flags.join("\n")));
    }
    let mut runs = vec![format!("{always}\n--skip=[system]")];
    runs.extend(SYSTEMS.map(|name| format!("{always}\n{name}")));
    Ok(runs.join("\n\n"))
}

fn try_in(
    release: &Release,
    directory: &Path,
    programs: &Programs,
    arguments: &str,
) -> Result<Outcome> {
    let archive = archive::Archive::of(release, directory)?;
    let kernel = archive.newest_kernel(release)?;
    eprintln!("booting {}; this takes minutes", kernel.name);
    let image = machine::Image {
        kernel: kernel.image()?,
        initial: initial_file_system(&kernel.directory, programs, arguments, directory)?,
    };
    let output = machine::run(&image, &archive.directory)?;
    Ok(Outcome::read(&output))
}

fn initial_file_system(
    kernel: &Path,
    programs: &Programs,
    arguments: &str,
    directory: &Path,
) -> Result<PathBuf> {
    let modules = modules::load_order(kernel, modules::WANTED)?;
    let bytes = contents::contents(programs, &modules, arguments)?.into_bytes();
    let path = directory.join("initial.cpio");
    fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_a_few_runs_and_flags_are_one() {
        assert_eq!(arguments(&[]).unwrap().split("\n\n").count(), 4);
        let one = arguments(&["--packets".into(), "5".into()]).unwrap();
        // The last one counts.
        assert!(one.ends_with("\n--packets\n5"), "{one}");
        assert!(!one.contains("\n\n"), "{one}");
    }
}
