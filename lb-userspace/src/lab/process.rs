//! A child process in a host's namespace.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};

use super::command;
use super::footprint::Footprint;

/// How long a process may take to end by SIGTERM when it is dropped.
const TERMINATE_LIMIT: Duration = Duration::from_secs(3);

/// A child process inside a namespace. It ends with the lab, with this process, and when dropped:
/// SIGTERM first, SIGKILL three seconds later.
#[derive(Debug)]
pub struct Process {
    line: String,
    child: Child,
    footprint: Arc<Footprint>,
}

impl Process {
    pub(super) fn new(line: String, child: Child, footprint: Arc<Footprint>) -> Self {
        footprint.add_child(child.id());
        Self {
            line,
            child,
            footprint,
        }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether the process has not ended yet.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.wait(Duration::ZERO)?.is_none())
    }

    /// Waits until the process has ended by itself; `None` when it still runs after `limit`.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let status = command::wait(&mut self.child, limit)
            .with_context(|| format!("wait for `{}`", self.line))?;
        if status.is_some() {
            self.footprint.forget_child(self.id());
        }
        Ok(status)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When the process still runs after `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.end(Signal::SIGTERM, limit)
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.end(Signal::SIGKILL, TERMINATE_LIMIT)
    }

    fn end(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.wait(Duration::ZERO)? {
            return Ok(status);
        }
        let pid = Pid::from_raw(i32::try_from(self.id()).context("pid")?);
        kill(pid, signal).with_context(|| format!("send {signal} to `{}`", self.line))?;
        match self.wait(limit)? {
            Some(status) => Ok(status),
            None => bail!("`{}` still runs {limit:?} after {signal}", self.line),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.terminate(TERMINATE_LIMIT).is_err() {
            let _ = self.kill();
        }
    }
}

/// Makes the command's process die with the thread that starts it, and keeps Ctrl-C on the terminal
/// from it: this process decides how a lab ends.
pub(super) fn bind_to_parent(command: &mut Command) {
    let parent = getpid();
    command.process_group(0);
    let die_with_parent = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        match getppid() == parent {
            true => Ok(()),
            // The parent was gone before the signal was asked for.
            false => Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe)),
        }
    };
    // SAFETY: between fork and exec the closure makes two system calls and neither allocates nor
    // locks.
    unsafe { command.pre_exec(die_with_parent) };
}
