//! Endpoint ids that no flow is on, until they may be another endpoint's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Later fragments follow a first one for somewhat more than four seconds ([`lb_common::fragment`]), also when its
/// flow is over by then. They would follow it to the next owner of the id.
pub(super) const REST: Duration = Duration::from_secs(5);

/// Since when ids have been without flows.
#[derive(Debug, Default)]
pub(super) struct Vacant(BTreeMap<u16, Instant>);

impl Vacant {
    /// Notes which ids are without flows, in ascending order. Tells which of them have been seen so for `rest`, each time
    /// since the first.
    pub(super) fn rested(&mut self, without: &[u16], rest: Duration, now: Instant) -> Vec<u16> {
        self.0.retain(|id, _| without.binary_search(id).is_ok());
        let mut has_rested = |id: &u16| now - *self.0.entry(*id).or_insert(now) >= rest;
        without
            .iter()
            .copied()
            .filter(|id| has_rested(id))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_free_once_it_was_without_flows_for_as_long() {
        let mut vacant = Vacant::default();
        let start = Instant::now();
        let mut at = |seconds, without: &[u16]| {
            vacant.rested(without, REST, start + Duration::from_secs(seconds))
        };
        assert!(at(0, &[7]).is_empty());
        assert!(at(4, &[7, 8]).is_empty());
        assert_eq!(at(5, &[7, 8]), [7]);
        // A flow that came back, to a service that has the endpoint again, begins it anew.
        assert!(at(6, &[]).is_empty());
        assert!(at(9, &[7, 8]).is_empty());
        assert_eq!(at(14, &[7, 8]), [7, 8]);
    }

    #[test]
    fn without_a_rest_it_is_free_at_once() {
        let now = Instant::now();
        assert_eq!(Vacant::default().rested(&[7], Duration::ZERO, now), [7]);
    }
}
