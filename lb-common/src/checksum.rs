//! Internet checksum, updated for what changed instead of computed anew (RFC 1624).
//!
//! Sums are over 16-bit words in packet byte order as they lie in memory: ones' complement addition
//! commutes with byte swapping (RFC 1071 section 2(B)), so no swap is needed.

/// What a change adds to a checksum: `Σ (!old + new)`, not yet folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// No change.
    pub const NONE: Self = Self(0);

    /// An IPv4 header's hop count goes down by one: it stands in the upper byte of a word, which is the lower
    /// one in memory order.
    pub const ONE_HOP: Self = Self(if cfg!(target_endian = "little") {
        0xfffe
    } else {
        0xfeff
    });

    /// Of words that are all known: what they add together. [`Delta::opposite`] takes it back.
    #[inline(always)]
    pub const fn of(base: u16) -> Self {
        Self(base as u64)
    }

    /// The change back, of a change that [`Delta::of`] made.
    #[inline(always)]
    #[must_use]
    pub const fn opposite(base: u16) -> Self {
        Self(!base as u64)
    }

    /// Adds what a word takes away when it goes.
    #[inline(always)]
    #[must_use]
    pub const fn without(self, word: u32) -> Self {
        Self(self.0 + !word as u64)
    }

    /// Adds what a word brings when it comes.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// In 16 bits: counts as much as all changes together.
    #[inline(always)]
    pub const fn folded(self) -> u16 {
        fold(self.0)
    }

    /// Adds the change of one 32-bit word. Holds 2^30 of them before it could overflow.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: u32, new: u32) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// Adds the change of one 16-bit word, such as another checksum.
    #[inline(always)]
    #[must_use]
    pub const fn half_word(self, old: [u8; 2], new: [u8; 2]) -> Self {
        self.word(
            u16::from_ne_bytes(old) as u32,
            u16::from_ne_bytes(new) as u32,
        )
    }

    /// Both changes.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// As the kernel's own checksum functions take it: a 32-bit sum, in memory order.
    #[inline(always)]
    pub const fn wide(self) -> u32 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        (sum + (sum >> 32)) as u32
    }

    /// The checksum after the change.
    ///
    /// `!fold(!old + delta)` is eqn. 3 of RFC 1624, which unlike eqn. 4 never turns a valid sum into
    /// the other zero.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, checksum: [u8; 2]) -> [u8; 2] {
        let sum = !u16::from_ne_bytes(checksum) as u64 + self.0;
        (!fold(sum)).to_ne_bytes()
    }

    /// As [`Delta::apply`] for UDP: "no checksum" (0) stays so, and a sum that comes out as 0 is sent
    /// as 0xffff (RFC 768).
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, checksum: [u8; 2]) -> [u8; 2] {
        if u16::from_ne_bytes(checksum) == 0 {
            return checksum;
        }
        let changed = self.apply(checksum);
        if u16::from_ne_bytes(changed) == 0 {
            [0xff, 0xff]
        } else {
            changed
        }
    }
}

/// A checksum of words that are all known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Of nothing.
    pub const NONE: Self = Self(0);

    /// Adds a 32-bit word, in memory order. Holds 2^32 of them before it could overflow.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Added up to 16 bits: counts as much as all words together.
    #[inline(always)]
    pub const fn folded(self) -> u16 {
        fold(self.0)
    }

    /// The checksum.
    #[inline(always)]
    pub const fn checksum(self) -> [u8; 2] {
        (!fold(self.0)).to_ne_bytes()
    }
}

/// Checksum of an IPv4 header whose hop count has gone down by one, in few steps.
#[inline(always)]
#[must_use]
pub const fn one_hop_on(checksum: [u8; 2]) -> [u8; 2] {
    let sum = !u16::from_ne_bytes(checksum) as u32 + Delta::ONE_HOP.0 as u32;
    // At most 0x1fffd: what is carried out leaves room for itself.
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_ne_bytes()
}

#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum of `bytes`, computed in full (RFC 1071). An odd last byte counts as if a zero followed.
pub fn full(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u16::from_ne_bytes([pair[0], *pair.get(1).unwrap_or(&0)]) as u64;
    }
    (!fold(sum)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_updated_checksum_equals_a_recomputed_one(
            mut bytes in proptest::collection::vec(any::<u8>(), 8..64),
            changes in proptest::collection::vec((0_usize..16, any::<u32>()), 1..8),
        ) {
            // The checksum stands in the first two bytes, as headers do it.
            bytes.truncate(bytes.len() / 4 * 4);
            bytes[..2].fill(0);
            let before = full(&bytes);
            bytes[..2].copy_from_slice(&before);
            let mut delta = Delta::NONE;
            for (place, new) in changes {
                let place = 4 + place * 4 % (bytes.len() - 4);
                let old = u32::from_ne_bytes(bytes[place..place + 4].try_into().unwrap());
                bytes[place..place + 4].copy_from_slice(&new.to_ne_bytes());
                delta = delta.word(old, new);
            }
            bytes[..2].copy_from_slice(&delta.apply(before));
            // Valid as a receiver checks it: the sum over everything, the checksum included, is all ones.
            prop_assert!(matches!(full(&bytes), [0, 0] | [0xff, 0xff]));
        }

        #[test]
        fn a_wide_change_does_what_the_change_does(
            checksum: [u8; 2],
            words in proptest::collection::vec((any::<u32>(), any::<u32>()), 1..16),
        ) {
            let words = words.into_iter();
            let delta = words.fold(Delta::NONE, |sum, (old, new)| sum.word(old, new));
            prop_assert_eq!(Delta(delta.wide().into()).apply(checksum), delta.apply(checksum));
        }

        #[test]
        fn udp_never_says_zero_unless_it_said_so_before(
            checksum: [u8; 2], old: u32, new: u32,
        ) {
            let changed = Delta::NONE.word(old, new).apply_udp(checksum);
            prop_assert_eq!(changed == [0, 0], checksum == [0, 0]);
        }
    }

    #[test]
    fn one_hop_less_is_one_hop_less_of_any_checksum() {
        const ONE_HOP: Delta = Delta::NONE.word(u32::from_ne_bytes([1, 0, 0, 0]), 0);
        for checksum in 0..=u16::MAX {
            let checksum = checksum.to_ne_bytes();
            assert_eq!(
                one_hop_on(checksum),
                ONE_HOP.apply(checksum),
                "{checksum:?}"
            );
        }
    }

    #[test]
    fn the_example_of_rfc_1624_section_4() {
        let delta = Delta::NONE.word(0x5555, 0x3285);
        assert_eq!(delta.apply(0xdd2f_u16.to_ne_bytes()), 0_u16.to_ne_bytes());
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(full(&bytes), (!0xddf2_u16).to_be_bytes());
    }
}
