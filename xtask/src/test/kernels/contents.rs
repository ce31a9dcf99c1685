//! What is in the initial file system: our programs, what they call, and the libraries of all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::cpio::Cpio;
use crate::cargo::run;
use crate::elevate::locate;

/// This machine's programs that the tests call.
const CALLED: [&str; 2] = ["ip", "ethtool"];

/// Our programs.
pub(super) struct Programs {
    pub(super) init: PathBuf,
    pub(super) tests: PathBuf,
    /// What the tests look for beside themselves.
    pub(super) beside: Vec<PathBuf>,
}

/// The file system that `lb-tests`' program `guest` expects.
pub(super) fn contents(
    programs: &Programs,
    modules: &[(String, Vec<u8>)],
    arguments: &str,
) -> Result<Cpio> {
    let mut cpio = Cpio::default();
    add_program(&mut cpio, "/init", &programs.init)?;
    add_program(&mut cpio, "/bin/lb", &programs.tests)?;
    for program in &programs.beside {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        add_program(&mut cpio, &format!("/bin/{name}"), program)?;
    }
    for name in CALLED {
        let program = locate(name).with_context(|| format!("there is no {name}"))?;
        add_program(&mut cpio, &format!("/bin/{name}"), &program)?;
    }
    for (number, (name, bytes)) in modules.iter().enumerate() {
        cpio.add(&format!("/modules/{number:02}-{name}.ko"), bytes);
    }
    cpio.add("/arguments", arguments.as_bytes());
    Ok(cpio)
}

fn add_program(cpio: &mut Cpio, path: &str, program: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    cpio.add(path, &read(program)?);
    for library in libraries(program)? {
        cpio.add(&library, &read(Path::new(&library))?);
    }
    Ok(())
}

/// A copy in `directory` without what a debugger wants, which is most of a debug build.
pub(super) fn stripped(program: &Path, directory: &Path) -> Result<PathBuf> {
    let copy = directory.join(program.file_name().unwrap_or_default());
    fs::create_dir_all(directory)?;
    run(Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .args([&copy, program]))?;
    Ok(copy)
}

/// The libraries of a program, and what loads them.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("start ldd")?;
    if !output.status.success() {
        bail!("ldd cannot read {}", program.display());
    }
    let paths = String::from_utf8_lossy(&output.stdout);
    Ok(paths
        .lines()
        .filter_map(library)
        .map(str::to_owned)
        .collect())
}

/// The path in `libm.so.6 => /lib/libm.so.6 (0x7f…)` and in `/lib64/ld-linux.so.2 (0x7f…)`.
fn library(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_names_paths() {
        let line = "\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)";
        assert_eq!(library(line), Some("/lib/x86_64-linux-gnu/libm.so.6"));
        let loader = "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)";
        assert_eq!(library(loader), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007ff)"), None);
    }
}
