//! The long-lived thread of a host: servers run on it, child processes are started from it.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use super::namespace::Namespace;

/// The longest a thread may take to start, or to run one closure.
const LIMIT: Duration = Duration::from_secs(30);

/// A thread inside a namespace that runs one tokio runtime.
///
/// Child processes are started from this thread because the parent-death signal is sent when the
/// *thread* that started the child ends.
#[derive(Debug)]
pub(super) struct Worker {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread in the namespace.
    pub(super) fn start(namespace: Arc<Namespace>) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (sender, started) = sync_channel(1);
        let thread = thread::Builder::new()
            .name(namespace.name().to_owned())
            .spawn(move || serve(&namespace, &sender, stopped))
            .context("start the thread of a host")?;
        let handle = started
            .recv_timeout(LIMIT)
            .context("the thread of a host did not start")??;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The runtime of the thread.
    pub(super) fn runtime(&self) -> &Handle {
        &self.handle
    }

    /// Runs a short closure on the thread and waits for what it returns.
    pub(super) fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R> {
        let (sender, receiver) = sync_channel(1);
        self.handle.spawn(async move {
            let _ = sender.send(work());
        });
        receiver
            .recv_timeout(LIMIT)
            .context("the thread of a host does not answer")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A runtime for the calling thread alone: no other thread makes its sockets.
pub(super) fn runtime() -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a tokio runtime")
}

fn serve(
    namespace: &Namespace,
    started: &SyncSender<Result<Handle>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = match namespace.enter().and_then(|()| runtime()) {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    if started.send(Ok(runtime.handle().clone())).is_ok() {
        // Ends when the sender is dropped.
        let _ = runtime.block_on(stopped);
    }
}
