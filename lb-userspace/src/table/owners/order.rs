//! Putting slots in order: by radix, as comparing 65 536 keys takes several times as long.

/// Bits of a key that one pass looks at: the counts of all passes fit L1 together.
const DIGIT_BITS: u32 = 11;
const DIGITS: usize = u32::BITS.div_ceil(DIGIT_BITS) as usize;

/// The slots in the order of their keys, at most 65 536; equals by slot.
pub(super) fn by_key(keys: &[u32]) -> Vec<u16> {
    let mut from: Vec<u16> = (0..=u16::MAX).take(keys.len()).collect();
    let mut to = vec![0; from.len()];
    for (number, mut places) in (0..).zip(first_places(keys)) {
        for &slot in &from {
            let place = &mut places[digit(keys[usize::from(slot)], number)];
            to[*place as usize] = slot;
            *place += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
    from
}

/// For each pass, where the first slot of each digit goes.
fn first_places(keys: &[u32]) -> [[u32; 1 << DIGIT_BITS]; DIGITS] {
    let mut places = [[0; 1 << DIGIT_BITS]; DIGITS];
    for &key in keys {
        for (number, counts) in (0..).zip(&mut places) {
            counts[digit(key, number)] += 1;
        }
    }
    for counts in &mut places {
        let mut before = 0;
        for place in counts {
            before += std::mem::replace(place, before);
        }
    }
    places
}

/// The digit that pass `number` looks at, lowest first.
const fn digit(key: u32, number: u32) -> usize {
    (key >> (number * DIGIT_BITS)) as usize & ((1 << DIGIT_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::hash;

    #[test]
    fn slots_are_in_the_order_of_their_keys_and_equals_by_slot() {
        // All 32 bits, one digit each, and few keys, so that many are equal.
        for mask in [u32::MAX, 0x7ff, 0x3f_f800, 0xffc0_0000, 0x8000_0401, 0] {
            let keys: Vec<u32> = (0..5_000)
                .map(|slot| hash::stream(7, slot) as u32 & mask)
                .collect();
            let mut expected: Vec<u16> = (0..5_000).collect();
            expected.sort_by_key(|&slot| keys[usize::from(slot)]);
            assert_eq!(by_key(&keys), expected);
        }
    }
}
