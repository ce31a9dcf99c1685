//! Independent jobs, shared out among threads.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

/// How many threads can run at once.
fn processors() -> usize {
    /// Asked once: the answer is read from files of the control group.
    static PROCESSORS: LazyLock<usize> =
        LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *PROCESSORS
}

/// How many threads work on as many slots is worth: one, where they take no longer than several times as long as
/// it takes to start a thread, 0.1 ms.
pub(super) fn for_slots(slots: usize) -> usize {
    const WORTH_THREADS: usize = 1 << 14;
    if slots < WORTH_THREADS {
        1
    } else {
        processors()
    }
}

/// Makes one thing of each job, in any order, on at most `threads` threads; the calling one is
/// among them.
pub(super) fn make<J: Send, T: Send>(
    threads: usize,
    jobs: Vec<J>,
    make: impl Fn(J) -> T + Sync,
) -> Vec<T> {
    let helpers = jobs.len().min(threads).saturating_sub(1);
    let jobs = Mutex::new(jobs.into_iter());
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || std::iter::from_fn(next).map(&make).collect::<Vec<T>>();
    thread::scope(|scope| {
        // Where no more threads are to be had, those there are do all of it.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let helpers: Vec<_> = (0..helpers).map_while(spawn).collect();
        let mut made = work();
        for helper in helpers {
            match helper.join() {
                Ok(more) => made.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        made
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once() {
        for jobs in [0, 1, 2, 100] {
            for threads in [1, 2, 7] {
                let mut made = make(threads, (0..jobs).collect(), |job| job + 1);
                made.sort_unstable();
                assert_eq!(made, (1..=jobs).collect::<Vec<_>>());
            }
        }
    }
}
