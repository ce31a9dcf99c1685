//! A distribution's packages, fetched by an apt that has nothing to do with this machine's: its
//! sources, lists and cache are in a directory of ours. apt checks every signature.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::modules::trees;
use super::release::{Keys, Release};
use crate::cargo::{run, shown};

const CONFIGURATION: &str = "apt.conf";

/// What else a kernel may be made of, besides `linux-image`. Since 7.0 Debian's `linux-image` only
/// names the other two.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// An archive and the directory of what came from it.
pub(super) struct Archive {
    pub(super) directory: PathBuf,
}

/// Where the package `ubuntu-keyring` is, and what it brings.
const UBUNTU: (&str, &str) = (
    "http://deb.debian.org/debian trixie main",
    "usr/share/keyrings/ubuntu-archive-keyring.gpg",
);
/// Debian's keys, which this machine has.
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel that lies unpacked.
pub(super) struct Kernel {
    /// Version and flavour: `6.1.0-56-cloud-amd64`.
    pub(super) name: String,
    pub(super) directory: PathBuf,
}

impl Archive {
    /// The archive of a release, in a directory below `root`.
    pub(super) fn of(release: &Release, root: &Path) -> Result<Self> {
        let keys = match release.keys {
            Keys::Debian => DEBIAN_KEYS.into(),
            Keys::Ubuntu => ubuntu_keys(&root.join("keys"))?,
        };
        Self::open(release.source, &keys, &root.join(release.series))
    }

    /// Fetches the archive's lists. Goes on with those that are there if it cannot.
    fn open(source: &str, keys: &Path, directory: &Path) -> Result<Self> {
        for below in ["state/lists/partial", "cache/archives/partial", "packages"] {
            let path = directory.join(below);
            fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        }
        let source = format!("deb [signed-by={}] {source}\n", keys.display());
        fs::write(directory.join("sources.list"), source)?;
        fs::write(directory.join("status"), "")?;
        let archive = Self {
            directory: directory.to_owned(),
        };
        fs::write(directory.join(CONFIGURATION), archive.configuration())?;
        if let Err(error) = run(archive
            .apt("apt-get")
            .args(["--quiet", "--quiet", "update"]))
        {
            eprintln!("{error:#}; going on with the package lists there are");
        }
        Ok(archive)
    }

    /// Fetches and unpacks the newest kernel of the series, if it is not here yet.
    pub(super) fn newest_kernel(&self, release: &Release) -> Result<Kernel> {
        let names = self.names()?;
        let name = newest(&names, release).with_context(|| {
            let Release {
                series,
                flavour,
                source,
                ..
            } = release;
            format!("no package linux-image-{series}.*{flavour} in {source}")
        })?;
        let directory = self.directory.join(name);
        if !directory.is_dir() {
            let is_there = |package: &String| names.lines().any(|line| line == package);
            let packages = PARTS.iter().map(|part| format!("{part}{name}"));
            self.unpack(packages.filter(is_there), &directory)?;
        }
        Ok(Kernel {
            name: name.to_owned(),
            directory,
        })
    }

    /// The names of all packages that may be part of a kernel.
    fn names(&self) -> Result<String> {
        let mut command = self.apt("apt-cache");
        command.args(["pkgnames", "linux-"]);
        let output = command.output().context("start apt-cache")?;
        if !output.status.success() {
            bail!("`{}` failed", shown(&command));
        }
        String::from_utf8(output.stdout).context("names of packages")
    }

    /// Fetches packages and unpacks them all into one directory.
    fn unpack(&self, packages: impl Iterator<Item = String>, directory: &Path) -> Result<()> {
        let debs = self.directory.join("packages");
        // Of an earlier attempt, or of a kernel that there is a newer one of.
        fs::remove_dir_all(&debs)?;
        fs::create_dir(&debs)?;
        let mut download = self.apt("apt-get");
        download
            .args(["--quiet", "--quiet", "download"])
            .args(packages)
            .current_dir(&debs);
        run(&mut download)?;
        let part = self.directory.join("unpacked");
        for deb in fs::read_dir(&debs)? {
            let mut unpack = Command::new("dpkg-deb");
            run(unpack.arg("--extract").arg(deb?.path()).arg(&part))?;
        }
        // All of it or nothing.
        fs::rename(&part, directory)?;
        fs::remove_dir_all(&debs).context("remove the packages")
    }

    /// `program` of apt's, for this archive.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", self.directory.join(CONFIGURATION))
            .stdin(Stdio::null());
        command
    }

    /// What makes an apt this archive's. Read before this machine's own configuration, which may say
    /// by which proxy the network is reached.
    fn configuration(&self) -> String {
        let here = self.directory.display();
        format!(
            "Dir::State \"{here}/state\";\n\
             Dir::State::status \"{here}/status\";\n\
             Dir::Cache \"{here}/cache\";\n\
             Dir::Etc::sourcelist \"{here}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Architectures \"amd64\";\n\
             Acquire::Languages \"none\";\n\
             # As root apt would fetch as a user who may not write here.\n\
             APT::Sandbox::User \"root\";\n\
             # An archive that is not looked after any more is not signed anew.\n\
             Acquire::Check-Valid-Until \"false\";\n"
        )
    }
}

impl Kernel {
    /// The file to boot.
    pub(super) fn image(&self) -> Result<PathBuf> {
        let inside = trees(&self.directory)?;
        let boot = self
            .directory
            .join("boot")
            .join(format!("vmlinuz-{}", self.name));
        let mut places = inside.iter().map(|tree| tree.join("vmlinuz")).chain([boot]);
        places
            .find(|path| path.is_file())
            .with_context(|| format!("no vmlinuz in {}", self.directory.display()))
    }
}

/// Fetches Ubuntu's keys, if they are not here yet.
fn ubuntu_keys(directory: &Path) -> Result<PathBuf> {
    let (source, file) = UBUNTU;
    let package = directory.join("ubuntu-keyring");
    if !package.is_dir() {
        let debian = Archive::open(source, Path::new(DEBIAN_KEYS), directory)?;
        debian.unpack(["ubuntu-keyring".to_owned()].into_iter(), &package)?;
    }
    Ok(package.join(file))
}

/// The newest kernel of the series: version and flavour.
fn newest<'a>(names: &'a str, release: &Release) -> Option<&'a str> {
    let series = format!("{}.", release.series);
    names
        .lines()
        .filter_map(|package| package.strip_prefix("linux-image-"))
        .filter(|name| name.starts_with(&series))
        .filter_map(|name| Some((numbers(name.strip_suffix(release.flavour)?), name)))
        // A candidate and a name for whichever is newest have two numbers.
        .filter(|(version, _)| version.len() > 2)
        .max()
        .map(|(_, name)| name)
}

/// The numbers in a version: 6, 12, 107, 13 of `6.12.107+deb13`.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|it: char| !it.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "linux-image-6.1.0-9-cloud-amd64\n\
        linux-image-6.1.0-56-cloud-amd64\n\
        linux-image-6.1.0-57-amd64\n\
        linux-image-6.1.0-58-cloud-amd64-dbg\n\
        linux-image-6.1-cloud-amd64\n\
        linux-image-cloud-amd64\n\
        linux-image-6.12.9+deb13-cloud-amd64\n\
        linux-image-6.12.90+deb13-cloud-amd64\n\
        linux-image-6.12.90+deb13.1-cloud-amd64\n\
        linux-headers-6.12.99+deb13-cloud-amd64\n\
        linux-image-7.3-cloud-amd64\n";

    fn newest_of(series: &str) -> Option<&'static str> {
        newest(NAMES, &series.parse().unwrap())
    }

    #[test]
    fn the_newest_is_so_by_number_and_of_the_flavour() {
        assert_eq!(newest_of("6.1"), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(newest_of("6.12"), Some("6.12.90+deb13.1-cloud-amd64"));
    }

    #[test]
    fn candidates_and_other_series_are_none() {
        assert_eq!(newest_of("7"), None);
        assert_eq!(newest_of("6.18"), None);
    }
}
