//! Echo servers that say who answered, as in Istio's tcp-echo task.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::host::Host;
use super::server::{Server, listen, receive};

/// The longest line echoed in one piece, in bytes; a longer one is answered in parts.
const LINE: u64 = 64 * 1024;

/// Small, because ten thousand connections have one each.
const BUFFER: usize = 512;

/// The largest UDP payload.
const DATAGRAM: usize = 65_535;

/// Pause after a failed accept: it usually means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

impl Host {
    /// Starts a TCP server on the port of every address, IPv4 and IPv6: each line is answered by
    /// `name`, a space and the line.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn tcp_echo(&self, name: &str, port: u16) -> Result<Server> {
        let listener = self.run(|| listen(port))??;
        let listener = self.on_runtime(|| TcpListener::from_std(listener))?;
        let greeting = greeting(name);
        Ok(Server::start(self, name, port, accept(listener, greeting)))
    }

    /// Starts a UDP server on the port of every address, IPv4 and IPv6: each datagram is answered by
    /// `name`, a space and its payload.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn udp_echo(&self, name: &str, port: u16) -> Result<Server> {
        let socket = self.run(|| receive(port))??;
        let socket = self
            .on_runtime(|| UdpSocket::from_std(socket))
            .context("UDP echo")?;
        let greeting = greeting(name);
        Ok(Server::start(self, name, port, answer(socket, greeting)))
    }
}

/// What the server of this name puts before every answer.
pub(super) fn greeting(name: &str) -> Vec<u8> {
    format!("{name} ").into_bytes()
}

/// Serves until dropped.
pub(super) async fn accept(listener: TcpListener, greeting: Vec<u8>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(echo(stream, greeting.clone()));
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Echoes until the client has closed its side; the client notices an error by itself.
async fn echo(stream: TcpStream, greeting: Vec<u8>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    let mut answer = greeting.clone();
    loop {
        answer.truncate(greeting.len());
        if (&mut stream)
            .take(LINE)
            .read_until(b'\n', &mut answer)
            .await?
            == 0
        {
            return stream.shutdown().await;
        }
        stream.write_all(&answer).await?;
    }
}

async fn answer(socket: UdpSocket, greeting: Vec<u8>) {
    let mut datagram = greeting.clone();
    datagram.resize(greeting.len() + DATAGRAM, 0);
    loop {
        // An error here is about an earlier answer: its client is gone.
        if let Ok((length, client)) = socket.recv_from(&mut datagram[greeting.len()..]).await {
            let _ = socket
                .send_to(&datagram[..greeting.len() + length], client)
                .await;
        }
    }
}
