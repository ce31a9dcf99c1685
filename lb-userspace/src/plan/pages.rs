//! Where the next table goes.
//!
//! A packet that is under way may have read which table is in force just before another one was put in
//! force. So a page is not written again until the slot map has been gone through once, and then only
//! after a barrier.

use std::collections::BTreeSet;
use std::ops::Range;

use lb_common::limits::PAGES;

/// The order in which pages are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    next: u32,
    /// Pages of tables that were in force since the last barrier.
    unsettled: BTreeSet<u32>,
}

/// Pages a table may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The first of them.
    pub first: u32,
    /// A packet under way may still read them.
    pub needs_barrier: bool,
}

impl Pages {
    /// A page was written.
    pub fn written(&mut self, page: u32) {
        self.next = (page + 1) % PAGES;
    }

    /// A table is in force no more.
    pub fn unsettled(&mut self, pages: Range<u32>) {
        self.unsettled.extend(pages);
    }

    /// No packet under way can have seen a table that is in force no more.
    pub fn settle(&mut self) {
        self.unsettled.clear();
    }

    /// The next `count` pages in a row that are not `in_force`.
    pub fn find(&self, count: u32, in_force: &BTreeSet<u32>) -> Option<Room> {
        let last = PAGES.checked_sub(count)?;
        let from_next = (self.next..=last).chain(0..=last.min(self.next.saturating_sub(1)));
        let first = from_next
            .into_iter()
            .find(|&first| in_force.range(first..first + count).next().is_none())?;
        let needs_barrier = self.unsettled.range(first..first + count).next().is_some();
        Some(Room {
            first,
            needs_barrier,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_reused_as_late_as_possible_and_then_behind_a_barrier() {
        let mut pages = Pages::default();
        let mut in_force = 0..64;
        let mut barriers = 0;
        for flip in 0..1000 {
            let room = pages.find(64, &in_force.clone().collect()).unwrap();
            if room.needs_barrier {
                pages.settle();
                barriers += 1;
                assert!(flip >= 250, "flip {flip}");
            }
            assert!(room.first >= in_force.end || room.first + 64 <= in_force.start);
            (room.first..room.first + 64).for_each(|page| pages.written(page));
            pages.unsettled(in_force);
            in_force = room.first..room.first + 64;
        }
        assert!((2..=4).contains(&barriers), "{barriers} barriers");
    }

    #[test]
    fn a_full_map_has_no_room() {
        let all = (0..PAGES).collect();
        assert_eq!(Pages::default().find(1, &all), None);
        assert_eq!(Pages::default().find(PAGES + 1, &BTreeSet::new()), None);
    }
}
