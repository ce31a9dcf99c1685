//! A trial: a sentence, and a function that fails when it is not so.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use lb_userspace::lab::Topology;
use libtest_mimic::{Failed, Trial};

/// The longest a trial may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(150);

/// Written by who needs the machine alone, read by all others.
static MACHINE: RwLock<()> = RwLock::new(());

/// A trial that others may run beside.
pub(super) fn trial(
    name: impl Into<String>,
    body: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    of_system(name, || {
        let _beside = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        bounded(LIMIT, body)
    })
}

/// A trial that fills the machine.
pub(super) fn trial_alone(
    name: impl Into<String>,
    body: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    long_trial_alone(name, Duration::ZERO, body)
}

/// A trial that fills the machine, and may take so much longer than others.
pub(super) fn long_trial_alone(
    name: impl Into<String>,
    longer: Duration,
    body: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    of_system(name, move || {
        let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        bounded(LIMIT + longer, body)
    })
}

/// The same trial in both topologies.
pub(super) fn in_both(name: &str, body: fn(&Topology) -> Result<()>) -> Vec<Trial> {
    vec![
        trial(format!("{name}, by two interfaces"), move || {
            body(&Topology::two_nets())
        }),
        trial(format!("{name}, by one interface"), move || {
            body(&Topology::one_net())
        }),
    ]
}

fn of_system(name: impl Into<String>, body: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, || {
        body().map_err(|error| Failed::from(format!("{error:#}")))
    })
    .with_kind("system")
}

fn bounded(limit: Duration, body: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let (sender, done) = sync_channel(1);
    let running = thread::spawn(move || {
        let _ = sender.send(body());
    });
    match done.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => bail!("not done within {limit:?}"),
        Err(RecvTimeoutError::Disconnected) => match running.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => bail!("no result"),
        },
    }
}
