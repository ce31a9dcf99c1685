//! Which table a new flow may meet while tables are exchanged.
//!
//! Tables have numbers in the order in which they are put in force; table `n` sends every new flow to
//! endpoint `n % endpoints`. One thread exchanges them by a [`Clock`]; the other reads it before and after
//! each new flow, and a [`Witness`] judges what the flow met:
//!
//! - a table that was in force at some time between the two readings, and no other;
//! - never one older than an earlier flow has met. So a table that is overwritten where it lies is found out:
//!   one slot is new already, and the next flow's is still old.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};

/// How far the exchange is: even while a table is in force undisturbed, odd while the next is put in force.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

/// A reading of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// One thread's view.
#[derive(Debug)]
pub struct Witness {
    endpoints: u64,
    /// The newest table that was met for certain.
    newest: u64,
    told_apart: u64,
}

impl Clock {
    /// Puts the next table in force by `work`.
    ///
    /// # Errors
    /// As `work`.
    pub fn exchange(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let done = work();
        self.0.fetch_add(1, Ordering::SeqCst);
        done
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }

    /// Tables that were put in force after the first.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.now().0 / 2
    }
}

impl Witness {
    /// With so many endpoints to tell tables by.
    #[must_use]
    pub fn new(endpoints: usize) -> Self {
        Self {
            endpoints: endpoints as u64,
            newest: 0,
            told_apart: 0,
        }
    }

    /// A flow that began after `before` and was answered before `after` went to this endpoint.
    ///
    /// # Errors
    /// If no table that could be in force says so.
    pub fn see(&mut self, before: Moment, after: Moment, endpoint: usize) -> Result<()> {
        let oldest = self.newest.max(before.0 / 2);
        let newest = after.0.div_ceil(2);
        let met = (oldest..=newest).find(|table| table % self.endpoints == endpoint as u64);
        ensure!(
            met.is_some(),
            "a flow went to endpoint {endpoint} while only tables {oldest} to {newest} could be in force"
        );
        // The oldest of those it can be: what follows is judged the more mildly.
        self.newest = met.unwrap_or(oldest);
        self.told_apart += u64::from(newest == oldest + 1);
        Ok(())
    }

    /// Flows that came while one table was exchanged for another.
    #[must_use]
    pub fn in_between(&self) -> u64 {
        self.told_apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where flows go at moments of the clock, and whether that is all right.
    fn judge(endpoints: usize, flows: &[(u64, u64, usize)]) -> bool {
        let mut witness = Witness::new(endpoints);
        flows
            .iter()
            .all(|&(a, b, endpoint)| witness.see(Moment(a), Moment(b), endpoint).is_ok())
    }

    #[test]
    fn the_table_before_and_the_table_after_are_right_in_this_order() {
        assert!(judge(
            2,
            &[
                (0, 0, 0),
                (0, 1, 0),
                (1, 1, 0),
                (1, 1, 1),
                (1, 2, 1),
                (2, 2, 1)
            ]
        ));
        assert!(judge(3, &[(5, 5, 2), (5, 5, 0), (6, 6, 0), (7, 7, 1)]));
    }

    #[test]
    fn what_is_not_in_force_is_wrong() {
        assert!(!judge(2, &[(0, 0, 1)]), "too soon");
        assert!(!judge(2, &[(2, 2, 0)]), "too late");
        assert!(!judge(3, &[(3, 3, 0)]), "the third value");
        assert!(!judge(2, &[(1, 1, 2)]), "nobody's");
    }

    #[test]
    fn the_old_table_after_the_new_one_is_wrong() {
        assert!(!judge(2, &[(1, 1, 1), (1, 1, 0)]));
        assert!(!judge(3, &[(1, 2, 1), (1, 2, 0)]));
    }

    #[test]
    fn who_saw_several_exchanges_may_have_met_any() {
        assert!(judge(2, &[(0, 3, 0), (0, 3, 1), (0, 3, 0)]));
        assert!(!judge(3, &[(0, 3, 2), (4, 4, 1)]));
    }

    #[test]
    fn the_clock_is_odd_while_it_works_also_when_that_fails() {
        let clock = Clock::default();
        clock
            .exchange(|| {
                assert_eq!(clock.now(), Moment(1));
                Ok(())
            })
            .unwrap();
        assert!(clock.exchange(|| anyhow::bail!("no")).is_err());
        assert_eq!((clock.now(), clock.exchanges()), (Moment(4), 2));
    }
}
