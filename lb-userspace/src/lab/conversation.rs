//! A client's side of talking to an echo server.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// The longest a TCP connection may take to open: a lost SYN is sent again after 1 s and 3 s.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);
/// The longest an answer by TCP may take.
const TCP_LIMIT: Duration = Duration::from_secs(8);
/// The longest an answer by UDP may take before the question is sent again.
const UDP_LIMIT: Duration = Duration::from_secs(1);
/// How often a question is sent by UDP.
const UDP_TRIES: u32 = 3;

/// Small, because ten thousand conversations have one each.
const BUFFER: usize = 512;
/// The longest answer by UDP, in bytes.
const DATAGRAM: usize = 2048;

/// The first source port of UDP conversations.
const FIRST_PORT: u16 = 1024;
/// How many taken ports in a row are stepped over.
const PORT_TRIES: u32 = 256;

/// What a conversation runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// One connection a conversation.
    Tcp,
    /// One source port a conversation.
    Udp,
}

impl Transport {
    /// Both, for tests that try each.
    pub const BOTH: [Self; 2] = [Self::Tcp, Self::Udp];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// Gives out the UDP source ports of a host one after another, so that none comes again before all
/// others have been used: a port that does would still be a known flow.
#[derive(Debug)]
pub(super) struct SourcePorts(AtomicU16);

impl Default for SourcePorts {
    fn default() -> Self {
        Self(AtomicU16::new(FIRST_PORT))
    }
}

impl SourcePorts {
    fn next(&self) -> u16 {
        let step = |port: u16| Some(port.checked_add(1).unwrap_or(FIRST_PORT));
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .unwrap_or(FIRST_PORT)
    }
}

/// Why a conversation failed, in few enough words to count the same reasons together.
pub(super) type Reason = String;

/// An open conversation with one server.
#[derive(Debug)]
pub(super) enum Conversation {
    Tcp(BufReader<TcpStream>),
    Udp(UdpSocket),
}

impl Conversation {
    /// Connects, or takes a fresh source port.
    pub(super) async fn open(
        transport: Transport,
        target: SocketAddr,
        ports: &SourcePorts,
    ) -> Result<Self, Reason> {
        match transport {
            Transport::Tcp => connect(target).await,
            Transport::Udp => bind(target, ports).await,
        }
    }

    /// Says a line and returns the name of the server that answered it.
    pub(super) async fn ask(&mut self, line: &str) -> Result<String, Reason> {
        match self {
            Self::Tcp(stream) => ask_stream(stream, line).await,
            Self::Udp(socket) => ask_socket(socket, line).await,
        }
    }
}

async fn connect(target: SocketAddr) -> Result<Conversation, Reason> {
    let stream = timeout(CONNECT_LIMIT, TcpStream::connect(target))
        .await
        .map_err(|_| format!("connect: no answer within {CONNECT_LIMIT:?}"))?
        .map_err(|error| format!("connect: {error}"))?;
    stream
        .set_nodelay(true)
        .map_err(|error| format!("connect: {error}"))?;
    Ok(Conversation::Tcp(BufReader::with_capacity(BUFFER, stream)))
}

async fn bind(target: SocketAddr, ports: &SourcePorts) -> Result<Conversation, Reason> {
    for _ in 0..PORT_TRIES {
        let port = ports.next();
        let source = match target {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        };
        if let Ok(socket) = UdpSocket::bind(source).await {
            socket
                .connect(target)
                .await
                .map_err(|error| format!("connect: {error}"))?;
            return Ok(Conversation::Udp(socket));
        }
    }
    Err(format!(
        "bind: {PORT_TRIES} source ports in a row are taken"
    ))
}

async fn ask_stream(stream: &mut BufReader<TcpStream>, line: &str) -> Result<String, Reason> {
    let question = format!("{line}\n");
    let mut answer = String::new();
    let exchange = async {
        stream.write_all(question.as_bytes()).await?;
        stream.read_line(&mut answer).await
    };
    match timeout(TCP_LIMIT, exchange).await {
        Err(_) => Err(format!("no answer within {TCP_LIMIT:?}")),
        Ok(Err(error)) => Err(format!("lost: {error}")),
        Ok(Ok(0)) => Err("closed by the server".to_owned()),
        Ok(Ok(_)) => match name(&answer, &question) {
            Some(name) => Ok(name),
            None => Err("a wrong answer".to_owned()),
        },
    }
}

async fn ask_socket(socket: &UdpSocket, line: &str) -> Result<String, Reason> {
    let question = format!("{line}\n");
    for _ in 0..UDP_TRIES {
        socket
            .send(question.as_bytes())
            .await
            .map_err(|error| format!("send: {error}"))?;
        match timeout(UDP_LIMIT, answer_to(socket, &question)).await {
            Ok(answer) => return answer,
            Err(_) => continue,
        }
    }
    Err(format!("no answer to {UDP_TRIES} datagrams"))
}

/// Waits for the answer to this question; late answers to an earlier one are passed over.
async fn answer_to(socket: &UdpSocket, question: &str) -> Result<String, Reason> {
    let mut datagram = [0; DATAGRAM];
    loop {
        let length = socket
            .recv(&mut datagram)
            .await
            .map_err(|error| format!("receive: {error}"))?;
        let answer = String::from_utf8_lossy(&datagram[..length]);
        if let Some(name) = name(&answer, question) {
            return Ok(name);
        }
    }
}

/// The name before the question in a right answer.
fn name(answer: &str, question: &str) -> Option<String> {
    let (name, echoed) = answer.split_once(' ')?;
    (echoed == question).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_answer_names_its_server() {
        assert_eq!(name("one hello 7\n", "hello 7\n").as_deref(), Some("one"));
    }

    #[test]
    fn an_answer_to_another_question_names_nobody() {
        assert_eq!(name("one hello 6\n", "hello 7\n"), None);
        assert_eq!(name("hello\n", "hello\n"), None);
    }

    #[test]
    fn no_source_port_comes_twice_in_a_round() {
        let ports = SourcePorts::default();
        let round = usize::from(u16::MAX - FIRST_PORT) + 1;
        let mut given: Vec<_> = (0..round).map(|_| ports.next()).collect();
        assert_eq!(ports.next(), FIRST_PORT);
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), round);
    }
}
