//! `lbd` on the node of a lab.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::Process;
use super::topology::Lab;

/// What `lbd` says when it forwards and listens.
const RUNNING: &str = "lbd: running on ";

/// The longest `lbd` may take to start: on an emulated processor it takes twenty seconds.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The longest `lbd` may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(8);
/// How often its log is looked at.
const POLL: Duration = Duration::from_millis(2);

/// A running `lbd`: stopped by SIGTERM when dropped, while what it loaded stays until the lab goes.
#[derive(Debug)]
#[must_use = "lbd stops when this is dropped"]
pub struct Balancer {
    process: Process,
    log: PathBuf,
    socket: PathBuf,
    config: PathBuf,
}

impl Balancer {
    /// Writes the configuration, starts the program on the node with the files and pins of the lab,
    /// and waits until it forwards.
    ///
    /// # Errors
    /// With what it said, when it ends or does not get ready within 20 s.
    pub fn start(lab: &Lab, program: &Path, config: &str) -> Result<Self> {
        write(&lab.config(), config)?;
        Self::start_again(lab, program)
    }

    /// The same with the configuration that is there.
    ///
    /// # Errors
    /// As [`Balancer::start`].
    pub fn start_again(lab: &Lab, program: &Path) -> Result<Self> {
        Self::start_as(lab, lbd(lab, program))
    }

    /// The same with a command of one's own, such as [`lbd`] with another flag.
    ///
    /// # Errors
    /// As [`Balancer::start`].
    pub fn start_as(lab: &Lab, command: Command) -> Result<Self> {
        let mut balancer = Self::spawn(lab, command)?;
        balancer.wait_for(RUNNING, START_LIMIT)?;
        Ok(balancer)
    }

    fn spawn(lab: &Lab, mut command: Command) -> Result<Self> {
        let log = free_log(lab.directory())?;
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let same = file.try_clone().context("share the log")?;
        command.stdin(Stdio::null()).stdout(file).stderr(same);
        Ok(Self {
            process: lab.node().spawn(command)?,
            log,
            socket: lab.socket(),
            config: lab.config(),
        })
    }

    /// The socket it listens on.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The process, for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// All it has said since it was started.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |cause| format!("(no log: {cause})"),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Waits until it has said `text`.
    ///
    /// # Errors
    /// With all it said instead, when it ends or `limit` passes.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.process.wait(Duration::ZERO)?;
            if self.log().contains(text) {
                return Ok(());
            }
            if let Some(status) = status {
                bail!("lbd ended, {status}:\n{}", self.log());
            }
            ensure!(
                Instant::now() < deadline,
                "lbd did not say `{text}` within {limit:?}:\n{}",
                self.log()
            );
            thread::sleep(POLL);
        }
    }

    /// Puts another configuration into the file; `lbd` reads it by SIGHUP.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_config(&self, config: &str) -> Result<()> {
        write(&self.config, config)
    }

    /// Tells it by SIGHUP to read its configuration again; [`Balancer::wait_for`] waits for what it
    /// says about it.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub fn reload(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).context("pid")?);
        kill(pid, Signal::SIGHUP).context("send SIGHUP to lbd")
    }

    /// Stops it by SIGTERM: forwarding goes on without it.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.terminate(STOP_LIMIT)
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.process.kill()
    }
}

/// `lbd` with the files and pins of the lab, to be run on its node.
#[must_use]
pub fn lbd(lab: &Lab, program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(lab.config())
        .arg("--socket")
        .arg(lab.socket())
        .arg("--pin-dir")
        .arg(lab.pins())
        .arg("--state")
        .arg(lab.state());
    command
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// A log for each start, so that an earlier `running` is not taken for the new one's.
fn free_log(directory: &Path) -> Result<PathBuf> {
    (1..1000)
        .map(|number| directory.join(format!("lbd-{number}.log")))
        .find(|path| !path.exists())
        .context("a thousand logs")
}
