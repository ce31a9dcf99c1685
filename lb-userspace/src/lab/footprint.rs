//! All that a lab leaves on the machine, and how it is taken away: by drop, by a signal.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{command, namespace};

/// Where the directories of labs are.
pub(super) const DIRECTORY: &str = "/run";
/// How the name of a lab's directory starts; the pid and a number follow.
pub(super) const DIRECTORY_PREFIX: &str = "lb-lab-";
/// How the name of a lab's namespace starts; the pid, a number and the host follow.
pub(super) const NAMESPACE_PREFIX: &str = "lb-";

/// The labs of this process that have not been erased.
static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    closed: false,
    live: Vec::new(),
});

#[derive(Debug)]
struct Registry {
    /// The process is ending: no lab may be claimed any more.
    closed: bool,
    live: Vec<Arc<Footprint>>,
}

/// Removes every lab of this process: kills its child processes, deletes its namespaces, unmounts
/// its bpffs. The labs themselves are of no use afterwards.
///
/// # Errors
/// What could not be removed; the rest was.
pub fn remove_all() -> Result<()> {
    let mut result = Ok(());
    loop {
        let Some(footprint) = lock(&REGISTRY).live.last().cloned() else {
            return result;
        };
        result = result.and(footprint.erase());
    }
}

/// On SIGINT, SIGTERM or SIGHUP removes every lab, calls `farewell` with the signal's number (to put
/// the terminal right, say) and ends the process by that signal.
///
/// # Errors
/// When the signals cannot be caught.
pub fn remove_on_signal(farewell: impl Fn(i32) + Send + 'static) -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("catch SIGINT and SIGTERM")?;
    thread::Builder::new()
        .name("lab-signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                lock(&REGISTRY).closed = true;
                if let Err(error) = remove_all() {
                    eprintln!("clean up after signal {signal}: {error:#}");
                }
                farewell(signal);
                let _ = signal_hook::low_level::emulate_default_handler(signal);
                std::process::exit(128 + signal);
            }
        })
        .context("start the signal thread")?;
    Ok(())
}

/// What one lab has put on the machine so far.
///
/// Whatever is created is created under the lock, so a signal finds it either not begun or noted.
#[derive(Debug)]
pub(super) struct Footprint {
    /// `PID-N`, unique among the live labs of the machine.
    id: String,
    directory: PathBuf,
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    erased: bool,
    namespaces: Vec<String>,
    children: Vec<u32>,
}

impl Footprint {
    /// Claims a free number for a lab by creating its directory, and notes the lab as live.
    pub(super) fn claim() -> Result<Arc<Self>> {
        let mut registry = lock(&REGISTRY);
        if registry.closed {
            bail!("no lab can be built: the process is ending");
        }
        let (id, directory) = claim_directory()?;
        let footprint = Arc::new(Self {
            id,
            directory,
            marks: Mutex::default(),
        });
        registry.live.push(Arc::clone(&footprint));
        Ok(footprint)
    }

    /// The directory of the lab.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the lab's private bpffs is mounted.
    pub(super) fn bpffs(&self) -> PathBuf {
        self.directory.join("bpf")
    }

    /// Mounts the private bpffs.
    pub(super) fn mount_bpffs(&self) -> Result<()> {
        let _marks = self.open_marks()?;
        let path = self.bpffs();
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        mount(
            Some("bpf"),
            &path,
            Some("bpf"),
            MsFlags::empty(),
            Some("mode=0700"),
        )
        .with_context(|| format!("mount bpffs on {}", path.display()))
    }

    /// Creates the namespace of a host and returns its name.
    pub(super) fn add_namespace(&self, host: &str) -> Result<String> {
        let mut marks = self.open_marks()?;
        let name = format!("{NAMESPACE_PREFIX}{}-{host}", self.id);
        command::run("ip", &["netns", "add", &name])?;
        marks.namespaces.push(name.clone());
        Ok(name)
    }

    /// Notes a child process that is to be killed with the lab.
    pub(super) fn add_child(&self, pid: u32) {
        lock(&self.marks).children.push(pid);
    }

    /// Forgets a child that is about to be reaped: from then on its pid may be somebody else's.
    pub(super) fn forget_child(&self, pid: u32) {
        lock(&self.marks).children.retain(|child| *child != pid);
    }

    /// Takes everything away; a second call does nothing.
    pub(super) fn erase(&self) -> Result<()> {
        let mut marks = lock(&self.marks);
        let result = match std::mem::replace(&mut marks.erased, true) {
            true => Ok(()),
            false => marks.erase(&self.directory),
        };
        drop(marks);
        lock(&REGISTRY).live.retain(|live| live.id != self.id);
        result
    }

    fn open_marks(&self) -> Result<MutexGuard<'_, Marks>> {
        let marks = lock(&self.marks);
        if marks.erased {
            bail!("lab {} has been removed", self.id);
        }
        Ok(marks)
    }
}

impl Marks {
    fn erase(&mut self, directory: &Path) -> Result<()> {
        for pid in self
            .children
            .drain(..)
            .filter_map(|pid| i32::try_from(pid).ok())
        {
            // It may have ended by itself just now. The group, which it leads: some servers have
            // worker processes.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let mut result = Ok(());
        for name in self.namespaces.drain(..) {
            result = result.and(delete_namespace(&name));
        }
        result.and(remove_directory(directory))
    }
}

/// Deletes a named namespace; one that is gone already is fine.
pub(super) fn delete_namespace(name: &str) -> Result<()> {
    match namespace::path(name).exists() {
        true => command::run("ip", &["netns", "delete", name]),
        false => Ok(()),
    }
}

/// Unmounts the bpffs of a lab and removes its directory; one that is gone already is fine.
pub(super) fn remove_directory(directory: &Path) -> Result<()> {
    let bpffs = directory.join("bpf");
    match umount2(&bpffs, MntFlags::MNT_DETACH) {
        // EINVAL: not a mount point.
        Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
        Err(error) => {
            return Err(error).with_context(|| format!("unmount {}", bpffs.display()));
        }
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Creates the directory with the lowest number that is free: creating it is the claim.
fn claim_directory() -> Result<(String, PathBuf)> {
    let pid = std::process::id();
    for number in 0..=u16::MAX {
        let id = format!("{pid}-{number}");
        let directory = Path::new(DIRECTORY).join(format!("{DIRECTORY_PREFIX}{id}"));
        match fs::create_dir(&directory) {
            Ok(()) => return Ok((id, directory)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("create {}", directory.display()));
            }
        }
    }
    bail!("no free number for a lab of process {pid} in {DIRECTORY}")
}

/// A panic while the lock was held leaves the lists as they were: still the right thing to clean by.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
