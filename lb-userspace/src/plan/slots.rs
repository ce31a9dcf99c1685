//! The slots of a table, as values that are shared and soon compared.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// What the pages of a table hold: endpoint ids less the base of the service.
#[derive(Clone)]
pub struct Slots(Arc<Content>);

struct Content {
    slots: Box<[u16]>,
    /// Equal where the slots are.
    print: u64,
    /// Which values there are, and how often.
    named: Box<[(u16, u32)]>,
}

impl Slots {
    /// How often each value but 0 is there, by value.
    pub fn named(&self) -> &[(u16, u32)] {
        &self.0.named
    }
}

impl From<Vec<u16>> for Slots {
    fn from(slots: Vec<u16>) -> Self {
        let greatest = slots.iter().copied().max().unwrap_or(0);
        let mut counts = vec![0_u32; usize::from(greatest) + 1];
        for &slot in &slots {
            counts[usize::from(slot)] += 1;
        }
        let named = (0..=greatest)
            .zip(counts)
            .filter(|&(value, count)| value > 0 && count > 0);
        Self(Arc::new(Content {
            print: print(&slots),
            named: named.collect(),
            slots: slots.into(),
        }))
    }
}

/// Four slots at a time: all bits of one decide about the next.
fn print(slots: &[u16]) -> u64 {
    let word = |four: &[u16]| {
        four.iter()
            .fold(0, |word, &slot| word << 16 | u64::from(slot))
    };
    slots.chunks(4).fold(slots.len() as u64, |print, four| {
        (print ^ word(four))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    })
}

impl Deref for Slots {
    type Target = [u16];

    fn deref(&self) -> &[u16] {
        &self.0.slots
    }
}

impl PartialEq for Slots {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.print == other.0.print && self.0.slots == other.0.slots)
    }
}

impl Eq for Slots {}

impl fmt::Debug for Slots {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} slots {:016x}", self.len(), self.0.print)
    }
}
