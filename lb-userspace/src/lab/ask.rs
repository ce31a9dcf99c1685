//! Asking a service many times and counting which server answered.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::conversation::{Conversation, Reason, SourcePorts, Transport};
use super::host::Host;

/// What a conversation that was already begun may take beyond the limit of the whole.
const LAST_ANSWER: Duration = Duration::from_secs(20);

/// A little less than what Linux waits before it sends a SYN again.
const LATE: Duration = Duration::from_millis(950);

/// A number of short conversations: open, one question, its answer, close.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// TCP: a new connection each; UDP: a new source port each.
    pub transport: Transport,
    /// Address and port of the service.
    pub target: SocketAddr,
    /// How many conversations.
    pub count: usize,
    /// How many at a time; at least 1.
    pub concurrency: usize,
    /// No conversation is begun after this time; what is missing then counts as an error.
    pub limit: Duration,
}

impl Ask {
    /// `count` conversations, 16 at a time, within one minute.
    #[must_use]
    pub fn new(transport: Transport, target: SocketAddr, count: usize) -> Self {
        Self {
            transport,
            target,
            count,
            concurrency: 16,
            limit: Duration::from_secs(60),
        }
    }

    /// The same with another number at a time.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }
}

/// Who answered how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers by the name of the server.
    pub by_name: BTreeMap<String, usize>,
    /// Conversations without a right answer, by reason.
    pub errors: BTreeMap<String, usize>,
    /// Answers that took as long as it takes until a packet is sent again: something was lost.
    pub late: usize,
    /// From the first question to the last answer.
    pub elapsed: Duration,
}

impl Counts {
    /// Answers of the server of this name.
    #[must_use]
    pub fn of(&self, name: &str) -> usize {
        self.by_name.get(name).copied().unwrap_or(0)
    }

    /// Answers of all servers.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.by_name.values().sum()
    }

    /// Conversations without a right answer.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.errors.values().sum()
    }

    /// Share of this server among the answers, 0 to 1; 0 when nobody answered.
    #[must_use]
    pub fn share(&self, name: &str) -> f64 {
        match self.answered() {
            0 => 0.0,
            answered => self.of(name) as f64 / answered as f64,
        }
    }

    /// Conversations a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn note(&mut self, answer: Result<String, Reason>) {
        let count = match answer {
            Ok(name) => self.by_name.entry(name),
            Err(reason) => self.errors.entry(reason),
        };
        *count.or_default() += 1;
    }

    /// Takes in other answers; the time stays.
    pub fn add(&mut self, other: Self) {
        for (name, count) in other.by_name {
            *self.by_name.entry(name).or_default() += count;
        }
        for (reason, count) in other.errors {
            *self.errors.entry(reason).or_default() += count;
        }
        self.late += other.late;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .by_name
            .iter()
            .map(|(name, count)| format!("{name} {count}"));
        let errors = self
            .errors
            .iter()
            .map(|(why, count)| format!("failed {count} ({why})"));
        let parts: Vec<_> = names.chain(errors).collect();
        f.write_str(&parts.join(", "))
    }
}

impl Host {
    /// Asks a service from this host and counts who answered. Conversations that fail are counted,
    /// too.
    ///
    /// # Errors
    /// Only when nothing can be asked from this host at all.
    pub fn ask(&self, ask: Ask) -> Result<Counts> {
        let ports = Arc::clone(self.source_ports());
        self.drive(ask.limit + LAST_ANSWER, ask_all(ask, ports))
            .with_context(|| format!("ask {} by {}", ask.target, ask.transport))
    }
}

async fn ask_all(ask: Ask, ports: Arc<SourcePorts>) -> Result<Counts> {
    let start = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let mut askers: JoinSet<_> = (0..ask.concurrency.clamp(1, ask.count.max(1)))
        .map(|_| {
            ask_some(
                ask,
                start + ask.limit,
                Arc::clone(&next),
                Arc::clone(&ports),
            )
        })
        .collect();
    let mut counts = Counts::default();
    while let Some(some) = askers.join_next().await {
        counts.add(some.context("an asking task")?);
    }
    counts.elapsed = start.elapsed();
    Ok(counts)
}

/// Takes numbers until all have been taken.
async fn ask_some(
    ask: Ask,
    deadline: Instant,
    next: Arc<AtomicUsize>,
    ports: Arc<SourcePorts>,
) -> Counts {
    let mut counts = Counts::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= ask.count {
            return counts;
        }
        let start = Instant::now();
        let answer = match start < deadline {
            true => ask_once(ask, number, &ports).await,
            false => Err(format!("not asked within {:?}", ask.limit)),
        };
        counts.late += usize::from(answer.is_ok() && start.elapsed() >= LATE);
        counts.note(answer);
    }
}

async fn ask_once(ask: Ask, number: usize, ports: &SourcePorts) -> Result<String, Reason> {
    Conversation::open(ask.transport, ask.target, ports)
        .await?
        .ask(&format!("hello {number}"))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_by_name_and_reason() {
        let mut counts = Counts::default();
        counts.note(Ok("one".to_owned()));
        counts.note(Err("lost".to_owned()));
        counts.add(counts.clone());
        counts.note(Ok("two".to_owned()));
        assert_eq!(
            (counts.of("one"), counts.of("two"), counts.of("three")),
            (2, 1, 0)
        );
        assert_eq!((counts.answered(), counts.failed()), (3, 2));
        assert_eq!(counts.to_string(), "one 2, two 1, failed 2 (lost)");
    }

    #[test]
    fn nobody_has_a_share_of_no_answers() {
        assert_eq!(Counts::default().share("one"), 0.0);
    }
}
