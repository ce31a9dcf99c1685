//! Sets of numbers that are small and many: endpoint ids, pages.

use std::ops::Range;

/// A set of numbers, a bit each.
#[derive(Clone, Debug, Default)]
pub struct Numbers(Vec<u64>);

impl Numbers {
    /// Puts a number in.
    pub fn insert(&mut self, number: impl Into<u32>) {
        let (word, bit) = place(number.into());
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    /// Puts all numbers of a range in.
    pub fn insert_all(&mut self, range: Range<u32>) {
        for number in range {
            self.insert(number);
        }
    }

    /// Whether a number is in.
    pub fn contains(&self, number: impl Into<u32>) -> bool {
        let (word, bit) = place(number.into());
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// The last number of a range that is in.
    pub fn last_in(&self, range: Range<u32>) -> Option<u32> {
        range.rev().find(|&number| self.contains(number))
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

const fn place(number: u32) -> (usize, u64) {
    ((number / u64::BITS) as usize, 1 << (number % u64::BITS))
}

impl Extend<u16> for Numbers {
    fn extend<I: IntoIterator<Item = u16>>(&mut self, numbers: I) {
        for number in numbers {
            self.insert(number);
        }
    }
}

impl FromIterator<u16> for Numbers {
    fn from_iter<I: IntoIterator<Item = u16>>(numbers: I) -> Self {
        let mut set = Self::default();
        set.extend(numbers);
        set
    }
}

impl<const N: usize> From<[u16; N]> for Numbers {
    fn from(numbers: [u16; N]) -> Self {
        numbers.into_iter().collect()
    }
}
