//! Where the next table goes.
//!
//! A packet that is under way may have read which table is in force just before another one was put in
//! force. So a page is not written again until the slot map has been gone through once, and then only
//! after a barrier.

use std::ops::Range;

use lb_common::limits::PAGES;

use super::Numbers;

/// The order in which pages are used.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    next: u32,
    /// Pages of tables that were in force since the last barrier.
    unsettled: Numbers,
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
    /// Pages were written.
    pub fn written(&mut self, pages: &Range<u32>) {
        self.next = pages.end % PAGES;
    }

    /// A table is in force no more.
    pub fn unsettled(&mut self, pages: Range<u32>) {
        self.unsettled.insert_all(pages);
    }

    /// No packet under way can have seen a table that is in force no more.
    pub fn settle(&mut self) {
        self.unsettled.clear();
    }

    /// The next `count` pages in a row that are not `in_force`.
    pub fn find(&self, count: u32, in_force: &Numbers) -> Option<Room> {
        let first = free_run(self.next, PAGES, count, in_force)
            .or_else(|| free_run(0, PAGES.min(self.next + count), count, in_force))?;
        let needs_barrier = self.unsettled.last_in(first..first + count).is_some();
        Some(Room {
            first,
            needs_barrier,
        })
    }
}

/// The first of `count` pages in a row, from `first` on and before `end`.
fn free_run(mut first: u32, end: u32, count: u32, in_force: &Numbers) -> Option<u32> {
    while first.checked_add(count)? <= end {
        match in_force.last_in(first..first + count) {
            Some(taken) => first = taken + 1,
            None => return Some(first),
        }
    }
    None
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
            let mut taken = Numbers::default();
            taken.insert_all(in_force.clone());
            let room = pages.find(64, &taken).unwrap();
            if room.needs_barrier {
                pages.settle();
                barriers += 1;
                assert!(flip >= 250, "flip {flip}");
            }
            assert!(room.first >= in_force.end || room.first + 64 <= in_force.start);
            pages.written(&(room.first..room.first + 64));
            pages.unsettled(in_force);
            in_force = room.first..room.first + 64;
        }
        assert!((2..=4).contains(&barriers), "{barriers} barriers");
    }

    #[test]
    fn a_full_map_has_no_room() {
        let mut all = Numbers::default();
        all.insert_all(0..PAGES);
        assert_eq!(Pages::default().find(1, &all), None);
        assert_eq!(Pages::default().find(PAGES + 1, &Numbers::default()), None);
    }
}
