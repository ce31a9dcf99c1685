//! Large transfers whose content is compared, and plain throughput.
//!
//! A client sends one line. `give N SEED`: the server sends N bytes of that content. `take N`: the
//! client sends N bytes and the server answers with their hash as a line of hex digits. `count`: the
//! client sends and closes its side, the server answers with the number of bytes as a line.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use blake3::{Hash, Hasher};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::content::{CHUNK, Content, hash, part};
use super::host::Host;
use super::server::{Server, listen};

/// The longest line of the protocol, in bytes.
const LINE: u64 = 256;

/// What a throughput measurement may take to connect and to finish, beyond its duration.
const EXTRA: Duration = Duration::from_secs(20);

/// Pause after a failed accept: it usually means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

type Stream = BufReader<TcpStream>;

/// A finished transfer.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Bytes of content that arrived.
    pub bytes: u64,
    /// BLAKE3 hash of what was to be sent, as hex digits.
    pub sent: String,
    /// BLAKE3 hash of what the receiver got, as hex digits.
    pub received: String,
    /// From connecting to the last byte.
    pub elapsed: Duration,
}

impl Transfer {
    /// Whether the receiver got what was sent.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.sent == self.received
    }
}

/// Bytes that a receiver counted in a time.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// Bytes of content that arrived.
    pub bytes: u64,
    /// From the first byte to the receiver's answer.
    pub elapsed: Duration,
}

impl Throughput {
    /// Bits of content a second.
    #[must_use]
    pub fn bits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl Host {
    /// Starts a TCP server for [`Host::download`], [`Host::upload`] and [`Host::throughput`] on the
    /// port of every address, IPv4 and IPv6.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn bulk(&self, name: &str, port: u16) -> Result<Server> {
        let listener = self.run(|| listen(port))??;
        let listener = self.on_runtime(|| TcpListener::from_std(listener))?;
        Ok(Server::start(self, name, port, accept(listener)))
    }

    /// Receives `bytes` of pseudo-random content and compares it with what the seed should give.
    ///
    /// # Errors
    /// When the connection fails, ends early, or is not done within `limit`.
    pub fn download(
        &self,
        target: SocketAddr,
        bytes: u64,
        seed: u64,
        limit: Duration,
    ) -> Result<Transfer> {
        let start = Instant::now();
        let received = self
            .drive(limit, async {
                let mut stream = request(target, &format!("give {bytes} {seed}\n")).await?;
                Ok(receive(&mut stream, bytes).await?)
            })
            .with_context(|| format!("download {bytes} bytes from {target}"))?;
        Ok(Transfer {
            elapsed: start.elapsed(),
            bytes,
            sent: hash(seed, bytes).to_string(),
            received: received.to_string(),
        })
    }

    /// Sends `bytes` of pseudo-random content and compares the server's hash with what the seed
    /// should give.
    ///
    /// # Errors
    /// When the connection fails, ends early, or is not done within `limit`.
    pub fn upload(
        &self,
        target: SocketAddr,
        bytes: u64,
        seed: u64,
        limit: Duration,
    ) -> Result<Transfer> {
        let start = Instant::now();
        let received = self
            .drive(limit, async {
                let mut stream = request(target, &format!("take {bytes}\n")).await?;
                send(&mut stream, bytes, seed).await?;
                line(&mut stream).await
            })
            .with_context(|| format!("upload {bytes} bytes to {target}"))?;
        Ok(Transfer {
            elapsed: start.elapsed(),
            bytes,
            sent: hash(seed, bytes).to_string(),
            received,
        })
    }

    /// Sends over one connection as much as goes within `duration`.
    ///
    /// # Errors
    /// When the connection fails, or the receiver is not done 20 s after `duration`.
    pub fn throughput(&self, target: SocketAddr, duration: Duration) -> Result<Throughput> {
        self.drive(duration + EXTRA, async {
            let mut stream = request(target, "count\n").await?;
            let chunk = vec![0x6c; CHUNK];
            let start = Instant::now();
            while start.elapsed() < duration {
                stream.write_all(&chunk).await?;
            }
            stream.shutdown().await?;
            let bytes = line(&mut stream).await?;
            Ok(Throughput {
                bytes: bytes.parse().with_context(|| format!("`{bytes}`"))?,
                elapsed: start.elapsed(),
            })
        })
        .with_context(|| format!("measure throughput to {target}"))
    }
}

async fn request(target: SocketAddr, line: &str) -> Result<Stream> {
    let stream = TcpStream::connect(target).await.context("connect")?;
    let mut stream = BufReader::with_capacity(CHUNK, stream);
    stream.write_all(line.as_bytes()).await?;
    Ok(stream)
}

async fn line(stream: &mut Stream) -> Result<String> {
    let mut line = String::new();
    stream
        .take(LINE)
        .read_line(&mut line)
        .await
        .context("read the answer")?;
    Ok(line.trim_end().to_owned())
}

async fn accept(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(BufReader::with_capacity(CHUNK, stream)));
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Does what the first line asks for; the client notices an error by itself.
async fn serve(mut stream: Stream) -> Result<()> {
    let request = line(&mut stream).await?;
    let words: Vec<_> = request.split(' ').collect();
    match words[..] {
        ["give", bytes, seed] => send(&mut stream, bytes.parse()?, seed.parse()?).await?,
        ["take", bytes] => {
            let hash = receive(&mut stream, bytes.parse()?).await?;
            stream.write_all(format!("{hash}\n").as_bytes()).await?;
        }
        ["count"] => {
            let bytes = count(&mut stream).await?;
            stream.write_all(format!("{bytes}\n").as_bytes()).await?;
        }
        _ => stream.write_all(b"say give, take or count\n").await?,
    }
    Ok(stream.shutdown().await?)
}

async fn send(stream: &mut Stream, bytes: u64, seed: u64) -> io::Result<()> {
    let mut content = Content::new(seed);
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let part = part(&mut chunk, left);
        content.fill(part);
        stream.write_all(part).await?;
        left -= part.len() as u64;
    }
    Ok(())
}

async fn receive(stream: &mut Stream, bytes: u64) -> io::Result<Hash> {
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let read = stream.read(part(&mut chunk, left)).await?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the connection ended {left} bytes early"),
            ));
        }
        hasher.update(&chunk[..read]);
        left -= read as u64;
    }
    Ok(hasher.finalize())
}

async fn count(stream: &mut Stream) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        match stream.read(&mut chunk).await? {
            0 => return Ok(bytes),
            read => bytes += read as u64,
        }
    }
}
