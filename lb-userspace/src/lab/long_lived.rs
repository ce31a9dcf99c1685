//! Conversations that are held open and keep talking.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::conversation::{Conversation, Reason, SourcePorts, Transport};
use super::host::Host;
use super::namespace::Namespace;
use super::worker::runtime;

/// Conversations that are being opened at a time.
const OPENING: usize = 128;

/// How often [`LongLived::wait_open`] looks.
const POLL: Duration = Duration::from_millis(10);

/// Conversations to hold: each says a numbered line every `interval` and waits for its answer.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// TCP: a connection each; UDP: a source port each.
    pub transport: Transport,
    /// Address and port of the service.
    pub target: SocketAddr,
    /// How many conversations.
    pub count: usize,
    /// Time from one answer to the next line of the same conversation.
    pub interval: Duration,
    /// They end by themselves after this time.
    pub limit: Duration,
}

impl Hold {
    /// `count` conversations for at most ten minutes.
    #[must_use]
    pub fn new(transport: Transport, target: SocketAddr, count: usize, interval: Duration) -> Self {
        Self {
            transport,
            target,
            count,
            interval,
            limit: Duration::from_secs(600),
        }
    }
}

/// How held conversations fare at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Open now; 0 after the end.
    pub live: usize,
    /// Ended before they were told to: lost, closed, unanswered, answered wrongly, or never opened.
    pub broken: usize,
    /// Lines that were answered rightly.
    pub echoed: usize,
    /// Answers from another server than the answer before, in the same conversation.
    pub moved: usize,
}

/// What has become of held conversations in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The last counters.
    pub held: Held,
    /// Conversations by the server that answered first.
    pub by_name: BTreeMap<String, usize>,
    /// Broken conversations by reason.
    pub reasons: BTreeMap<String, usize>,
}

/// Conversations held open by a thread of their own; dropping ends them.
#[derive(Debug)]
#[must_use = "the conversations end when this is dropped"]
pub struct LongLived {
    count: usize,
    ledger: Arc<Ledger>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Ledger {
    live: AtomicUsize,
    broken: AtomicUsize,
    echoed: AtomicUsize,
    moved: AtomicUsize,
    by_name: Mutex<BTreeMap<String, usize>>,
    reasons: Mutex<BTreeMap<String, usize>>,
}

impl LongLived {
    /// Begins to open the conversations from a host, 128 at a time, and returns at once.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn open(host: &Host, hold: Hold) -> Result<Self> {
        let ledger = Arc::new(Ledger::default());
        let (stop, stopped) = watch::channel(false);
        let talk = Talk {
            hold,
            ports: Arc::clone(host.source_ports()),
            opening: Arc::new(Semaphore::new(OPENING)),
            ledger: Arc::clone(&ledger),
            stopped,
        };
        let namespace = Arc::clone(host.namespace_handle());
        let thread = thread::Builder::new()
            .name(format!("{}-held", host.name()))
            .spawn(move || talk_all(&namespace, &talk))
            .context("start a thread")?;
        Ok(Self {
            count: hold.count,
            ledger,
            stop,
            thread: Some(thread),
        })
    }

    /// The counters at this moment.
    #[must_use]
    pub fn held(&self) -> Held {
        self.ledger.held()
    }

    /// Conversations by the server that answered first, at this moment.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, usize> {
        lock(&self.ledger.by_name).clone()
    }

    /// Waits until all conversations are open and have had their first answer.
    ///
    /// # Errors
    /// When one is broken, or they are not all open within `limit`.
    pub fn wait_open(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let held = self.held();
            ensure!(
                held.broken == 0,
                "{} of {} conversations are broken: {:?}",
                held.broken,
                self.count,
                lock(&self.ledger.reasons)
            );
            if held.live == self.count {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} of {} conversations are open after {limit:?}",
                held.live,
                self.count
            );
            thread::sleep(POLL);
        }
    }

    /// Ends all conversations, each after the answer it is waiting for, and says how they fared.
    ///
    /// # Errors
    /// When the thread could not do its work at all.
    pub fn stop(mut self) -> Result<Outcome> {
        self.join()?;
        Ok(Outcome {
            held: self.held(),
            by_name: self.by_name(),
            reasons: lock(&self.ledger.reasons).clone(),
        })
    }

    fn join(&mut self) -> Result<()> {
        self.stop.send_replace(true);
        match self.thread.take() {
            Some(thread) => thread
                .join()
                .map_err(|_| anyhow!("the thread of the held conversations panicked"))?,
            None => Ok(()),
        }
    }
}

impl Drop for LongLived {
    fn drop(&mut self) {
        // Told by `stop` already when somebody asked.
        let _ = self.join();
    }
}

impl Ledger {
    fn held(&self) -> Held {
        Held {
            live: self.live.load(Ordering::Relaxed),
            broken: self.broken.load(Ordering::Relaxed),
            echoed: self.echoed.load(Ordering::Relaxed),
            moved: self.moved.load(Ordering::Relaxed),
        }
    }

    fn note_broken(&self, reason: Reason) {
        self.broken.fetch_add(1, Ordering::Relaxed);
        *lock(&self.reasons).entry(reason).or_default() += 1;
    }
}

/// What every conversation shares.
#[derive(Clone, Debug)]
struct Talk {
    hold: Hold,
    ports: Arc<SourcePorts>,
    opening: Arc<Semaphore>,
    ledger: Arc<Ledger>,
    stopped: watch::Receiver<bool>,
}

fn talk_all(namespace: &Namespace, talk: &Talk) -> Result<()> {
    namespace.enter()?;
    runtime()?.block_on(async {
        let mut conversations: JoinSet<_> = (0..talk.hold.count)
            .map(|number| talk.clone().hold(number))
            .collect();
        while conversations.join_next().await.is_some() {}
    });
    Ok(())
}

impl Talk {
    /// Holds one conversation to its end.
    async fn hold(mut self, number: usize) {
        let deadline = Instant::now() + self.hold.limit;
        let Some(opened) = self.begin(number).await else {
            return;
        };
        let result = match opened {
            Ok((conversation, name)) => {
                self.ledger.live.fetch_add(1, Ordering::Relaxed);
                let result = self.go_on(conversation, name, number, deadline).await;
                self.ledger.live.fetch_sub(1, Ordering::Relaxed);
                result
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = result {
            self.ledger.note_broken(reason);
        }
    }

    /// Opens the conversation up to its first answer, which names its server; `None` when it is not
    /// wanted any more.
    async fn begin(&self, number: usize) -> Option<Result<(Conversation, String), Reason>> {
        let _turn = self.opening.acquire().await.ok()?;
        if *self.stopped.borrow() {
            return None;
        }
        Some(self.greet(number).await)
    }

    async fn greet(&self, number: usize) -> Result<(Conversation, String), Reason> {
        let mut conversation =
            Conversation::open(self.hold.transport, self.hold.target, &self.ports).await?;
        let name = conversation.ask(&format!("{number} 0")).await?;
        self.ledger.echoed.fetch_add(1, Ordering::Relaxed);
        *lock(&self.ledger.by_name).entry(name.clone()).or_default() += 1;
        Ok((conversation, name))
    }

    /// Says line after line until told to stop or the time is up.
    async fn go_on(
        &mut self,
        mut conversation: Conversation,
        mut name: String,
        number: usize,
        deadline: Instant,
    ) -> Result<(), Reason> {
        for line in 1_u64.. {
            let told = tokio::select! {
                _ = self.stopped.wait_for(|stopped| *stopped) => true,
                () = sleep(self.hold.interval) => false,
            };
            if told || Instant::now() >= deadline {
                break;
            }
            let answered = conversation.ask(&format!("{number} {line}")).await?;
            self.ledger.echoed.fetch_add(1, Ordering::Relaxed);
            if answered != name {
                self.ledger.moved.fetch_add(1, Ordering::Relaxed);
                name = answered;
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
