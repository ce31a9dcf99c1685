//! Questions and answers on connections that are kept open, timed one by one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::host::Host;

/// What is asked: a line, small as the requests of a database are.
const QUESTION: &[u8] = b"a question of sixty-four bytes, the last of which ends the line\n";

/// The longest answer, in bytes: a name, a space and the question.
const ANSWER: usize = 256;

/// What opening the connections and the last answers may take beyond the duration.
const EXTRA: Duration = Duration::from_secs(20);

/// TCP connections to an echo server, each with one question under way at any time.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips {
    /// Address and port of the service.
    pub target: SocketAddr,
    /// How many connections.
    pub connections: usize,
    /// How long questions are asked, once every connection has had its first answer.
    pub duration: Duration,
}

/// How long every answer took.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// In ascending order.
    sorted: Vec<Duration>,
    elapsed: Duration,
}

impl Latencies {
    fn new(mut times: Vec<Duration>, elapsed: Duration) -> Self {
        times.sort_unstable();
        Self {
            sorted: times,
            elapsed,
        }
    }

    /// How many answers came.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.sorted.len()
    }

    /// Answers a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The time that this many of a thousand answers took at most; zero when none came.
    #[must_use]
    pub fn per_mille(&self, part: usize) -> Duration {
        let rank = (self.sorted.len() * part).div_ceil(1000).max(1);
        let last = self.sorted.last();
        let time = self.sorted.get(rank - 1).or(last);
        time.copied().unwrap_or_default()
    }
}

impl Host {
    /// Asks over and over from this host and times every answer. A question is sent when the answer
    /// before it has come, so a slow answer makes the next question late, too.
    ///
    /// # Errors
    /// When a connection fails or an answer is wrong.
    pub fn round_trips(&self, ask: RoundTrips) -> Result<Latencies> {
        self.drive(ask.duration + EXTRA, ask_all(ask))
            .with_context(|| format!("time answers of {}", ask.target))
    }
}

async fn ask_all(ask: RoundTrips) -> Result<Latencies> {
    let mut lines = Vec::with_capacity(ask.connections);
    for _ in 0..ask.connections {
        lines.push(Line::open(ask.target).await?);
    }
    let start = Instant::now();
    let mut askers: JoinSet<_> = lines
        .into_iter()
        .map(|line| line.ask_until(start + ask.duration))
        .collect();
    let mut times = Vec::new();
    while let Some(some) = askers.join_next().await {
        times.append(&mut some.context("an asking task")??);
    }
    Ok(Latencies::new(times, start.elapsed()))
}

/// A connection and the answer that its server gives.
struct Line {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Line {
    async fn open(target: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(target).await.context("connect")?;
        stream.set_nodelay(true)?;
        let answer = exchange(&mut stream, &mut [0; ANSWER]).await?.to_vec();
        ensure!(answer.ends_with(QUESTION), "a wrong answer");
        Ok(Self { stream, answer })
    }

    async fn ask_until(mut self, end: Instant) -> Result<Vec<Duration>> {
        let mut buffer = [0; ANSWER];
        let mut times = Vec::new();
        let mut asked = Instant::now();
        while asked < end {
            let answer = exchange(&mut self.stream, &mut buffer).await?;
            ensure!(answer == self.answer, "a wrong answer");
            let answered = Instant::now();
            times.push(answered - asked);
            asked = answered;
        }
        Ok(times)
    }
}

/// Sends the question and reads one line.
async fn exchange<'b>(stream: &mut TcpStream, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
    stream.write_all(QUESTION).await.context("send")?;
    let mut length = 0;
    while !buffer[..length].ends_with(b"\n") {
        let more = stream
            .read(&mut buffer[length..])
            .await
            .context("receive")?;
        ensure!(more > 0, "closed by the server, or the answer is too long");
        length += more;
    }
    Ok(&buffer[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    #[test]
    fn a_part_of_the_answers_took_at_most_its_slowest() {
        let times = (1..=1000).rev().map(|number| MICROSECOND * number);
        let latencies = Latencies::new(times.collect(), Duration::from_secs(2));
        for (part, time) in [(500, 500), (990, 990), (999, 999), (1000, 1000)] {
            assert_eq!(latencies.per_mille(part), MICROSECOND * time);
        }
        assert_eq!(latencies.rate(), 500.0);
    }

    #[test]
    fn few_answers_have_a_slowest_all_the_same() {
        let latencies = Latencies::new(vec![MICROSECOND * 2, MICROSECOND], MICROSECOND);
        assert_eq!(latencies.per_mille(500), MICROSECOND);
        assert_eq!(latencies.per_mille(999), MICROSECOND * 2);
        let none = Latencies::new(Vec::new(), MICROSECOND);
        assert_eq!(none.per_mille(999), Duration::ZERO);
    }
}
