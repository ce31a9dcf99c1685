//! An echo server as a process of its own.
//!
//! Open files are limited for each process, on some machines to 20 000 even for root: both ends of
//! 10 000 connections do not fit into one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::net::TcpListener;

use super::echo::{accept, greeting};
use super::host::Host;
use super::server::{Server, listen};
use super::worker::runtime;

/// The first argument of a program that shall be an echo server; its name and port follow.
const ARGUMENT: &str = "lab-server";

/// What the server says when it listens.
const READY: &str = "ready";

/// The longest a server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Makes this process an echo server when [`Host::tcp_echo_apart`] started it, and does not return
/// then. Call it first in `main` of a program that uses such servers.
pub fn serve_if_asked() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [argument, name, port] = &arguments[..]
        && argument == ARGUMENT
    {
        match serve(name, port) {
            Ok(()) => std::process::exit(0),
            Err(error) => {
                eprintln!("echo server {name}: {error:#}");
                std::process::exit(1)
            }
        }
    }
}

impl Host {
    /// Like [`Host::tcp_echo`], but in a process of its own: for thousands of connections. The
    /// process is this program again, whose `main` must begin with [`serve_if_asked`].
    ///
    /// # Errors
    /// When the port is taken, or this program does not call [`serve_if_asked`].
    pub fn tcp_echo_apart(&self, name: &str, port: u16) -> Result<Server> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        command
            .args([ARGUMENT, name, &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = self.spawn(command)?;
        let stdout = process.child().stdout.take().context("no pipe")?;
        let (sender, said) = sync_channel(1);
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = said.recv_timeout(START_LIMIT).unwrap_or_default();
        ensure!(
            line.trim_end() == READY,
            "on host {}: this program did not become the echo server {name} on port {port}",
            self.name()
        );
        Ok(Server::of_process(name, port, process))
    }
}

fn serve(name: &str, port: &str) -> Result<()> {
    let port = port.parse().with_context(|| format!("port `{port}`"))?;
    let listener = listen(port)?;
    runtime()?.block_on(async {
        let listener = TcpListener::from_std(listener).context("listen")?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{READY}")
            .and_then(|()| stdout.flush())
            .context("say that the server is ready")?;
        accept(listener, greeting(name)).await;
        Ok(())
    })
}
