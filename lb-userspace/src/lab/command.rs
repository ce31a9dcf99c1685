//! Commands of the system, each with a time limit and an error that names it.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The longest an `ip` or `ethtool` may take.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// How often a child is asked whether it has ended.
const POLL: Duration = Duration::from_millis(2);

/// How long the pipes of an ended child may stay open in the hands of its own children.
const PIPE_LIMIT: Duration = Duration::from_secs(1);

/// Runs `program` in the namespace of the caller; fails when it exits with another status than 0.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments);
    let line = line(&command);
    pipe(&mut command);
    let child = command.spawn().map_err(|error| unstarted(&line, error))?;
    succeed(&line, &output(child, &line, LIMIT)?)
}

/// What was typed, for messages.
pub(super) fn line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

/// Gives the command no input and pipes for its output.
pub(super) fn pipe(command: &mut Command) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
}

/// Why a command could not be started, with the package to install where the lab needs it.
pub(super) fn unstarted(line: &str, error: std::io::Error) -> anyhow::Error {
    let package = match line.split(' ').next() {
        Some("ip") => Some("iproute2"),
        Some("ethtool") => Some("ethtool"),
        _ => None,
    };
    let hint = match package {
        Some(package) if error.kind() == ErrorKind::NotFound => {
            format!(": try `apt-get install {package}`")
        }
        _ => String::new(),
    };
    anyhow::Error::new(error).context(format!("start `{line}`{hint}"))
}

/// An error with the command's stderr unless it exited with status 0.
pub(super) fn succeed(line: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    bail!("`{line}`: {}: {}", output.status, stderr.trim())
}

/// Waits for a child that was [`pipe`]d and collects what it wrote.
pub(super) fn output(mut child: Child, line: &str, limit: Duration) -> Result<Output> {
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let status = wait(&mut child, limit)
        .with_context(|| format!("wait for `{line}`"))?
        .map_or_else(
            || {
                kill(&mut child)?;
                bail!("`{line}` ran longer than {limit:?} and was killed")
            },
            Ok,
        )?;
    Ok(Output {
        status,
        stdout: received(stdout),
        stderr: received(stderr),
    })
}

/// Waits until the child has ended; `None` when it still runs after `limit`.
pub(super) fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

fn kill(child: &mut Child) -> std::io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}

/// Reads a pipe on its own thread, so that a child which writes much is not held up.
fn drain(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

fn received(pipe: Option<Receiver<Vec<u8>>>) -> Vec<u8> {
    pipe.and_then(|pipe| pipe.recv_timeout(PIPE_LIMIT).ok())
        .unwrap_or_default()
}
