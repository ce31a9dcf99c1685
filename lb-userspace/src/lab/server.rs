//! A running server of a host.

use std::future::Future;
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::AbortHandle;

use super::host::Host;
use super::process::Process;

/// Connections that may wait to be accepted: a test opens thousands at once.
const BACKLOG: i32 = 32_768;

/// How long the sockets of a stopped server may take to close.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How long a port that was given up may still be taken: a child that another thread is starting
/// holds a copy of every socket from its fork to its exec.
const PORT_LIMIT: Duration = Duration::from_secs(5);

/// How often a port that is still taken is tried again.
const PORT_PAUSE: Duration = Duration::from_millis(2);

/// A running server; it closes all its sockets when dropped.
#[derive(Debug)]
#[must_use = "a server stops when it is dropped"]
pub struct Server {
    name: String,
    port: u16,
    _running: Running,
}

#[derive(Debug)]
#[expect(dead_code, reason = "what runs is held for its drop")]
enum Running {
    Task(Task),
    Process(Process),
}

/// A task on the thread of the host.
#[derive(Debug)]
struct Task {
    handle: AbortHandle,
    /// Closed when the task, and with it every socket, is gone.
    gone: Receiver<()>,
}

impl Server {
    /// Runs a server on the thread of its host.
    pub(super) fn start(
        host: &Host,
        name: &str,
        port: u16,
        serve: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (alive, gone) = sync_channel(1);
        let task = host.runtime().spawn(async move {
            serve.await;
            drop::<std::sync::mpsc::SyncSender<()>>(alive);
        });
        let handle = task.abort_handle();
        Self::new(name, port, Running::Task(Task { handle, gone }))
    }

    /// A server that is a process.
    pub(super) fn of_process(name: &str, port: u16, process: Process) -> Self {
        Self::new(name, port, Running::Process(process))
    }

    fn new(name: &str, port: u16, running: Running) -> Self {
        Self {
            name: name.to_owned(),
            port,
            _running: running,
        }
    }

    /// The name it puts before every answer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port it serves, on every address of its host.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
        // The task is dropped by its own thread a moment later; the port is free only then.
        let _ = self.gone.recv_timeout(STOP_LIMIT);
    }
}

/// A TCP socket that listens on the port for IPv4 and IPv6.
pub(super) fn listen(port: u16) -> Result<std::net::TcpListener> {
    let socket = open(Type::STREAM, Protocol::TCP, port)?;
    socket
        .listen(BACKLOG)
        .with_context(|| format!("listen on TCP port {port}"))?;
    Ok(socket.into())
}

/// A UDP socket on the port for IPv4 and IPv6.
pub(super) fn receive(port: u16) -> Result<std::net::UdpSocket> {
    Ok(open(Type::DGRAM, Protocol::UDP, port)?.into())
}

fn open(kind: Type, protocol: Protocol, port: u16) -> Result<Socket> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let bind = || {
        let socket = Socket::new(Domain::IPV6, kind, Some(protocol))?;
        socket.set_only_v6(false)?;
        socket.set_nonblocking(true)?;
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&any.into())?;
        Ok::<_, std::io::Error>(socket)
    };
    let start = Instant::now();
    loop {
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < PORT_LIMIT => {
                thread::sleep(PORT_PAUSE);
            }
            bound => return bound.with_context(|| format!("bind {any}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_waited_for_while_a_child_being_started_holds_it() -> Result<()> {
        let given_up = receive(0)?;
        let port = given_up.local_addr()?.port();
        let copy = given_up.try_clone()?;
        drop(given_up);
        let child = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(copy);
        });
        let bound = receive(port)?;
        assert_eq!(bound.local_addr()?.port(), port);
        assert!(child.join().is_ok());
        Ok(())
    }
}
