//! The last free slots: looked at instead of walked to.
//!
//! A walk meets n / f slots before a free one when f of n are free: half of all steps would find
//! the last 0.4 % of the slots. When few are free it is cheaper to ask of each how many steps away
//! it is: slot = next + steps · step, so steps = (slot − next) / step, and an odd number has an
//! inverse modulo a power of two.

use super::{FREE, Walk};

/// How many free slots are few. Anywhere from 256 to 1024 costs the same, at 65 536 slots.
pub(super) const FEW: usize = 512;

/// Gives the free slots to the endpoints of `turns`, as many, each the first one on its walk.
pub(super) fn take_turns(
    turns: impl Iterator<Item = usize>,
    walks: &mut [Walk],
    endpoints: &mut [u16],
) {
    let mask = (endpoints.len() - 1) as u16;
    let mut free = free_slots(endpoints);
    // Until it is taken, a slot has its place in `free` where its endpoint will be.
    for (place, &slot) in (0..).zip(&free) {
        endpoints[usize::from(slot)] = place;
    }
    for turn in turns {
        let slot = usize::from(walks[turn].step_to_first(&free, mask));
        let place = endpoints[slot];
        free.swap_remove(place.into());
        if let Some(&moved) = free.get(usize::from(place)) {
            endpoints[usize::from(moved)] = place;
        }
        endpoints[slot] = turn as u16; // Below FREE.
    }
}

fn free_slots(endpoints: &[u16]) -> Vec<u16> {
    (0..=u16::MAX)
        .zip(endpoints)
        .filter(|&(_, &endpoint)| endpoint == FREE)
        .map(|(slot, _)| slot)
        .collect()
}

impl Walk {
    /// Walks past the first of the `free` slots, and returns it.
    fn step_to_first(&mut self, free: &[u16], mask: u16) -> u16 {
        let inverse = inverse(self.step);
        let steps_to = |&slot: &u16| slot.wrapping_sub(self.next).wrapping_mul(inverse) & mask;
        // Without a branch: the compiler makes vectors of it.
        let steps = free.iter().map(steps_to).fold(mask, u16::min);
        self.next = self.next.wrapping_add(steps.wrapping_mul(self.step));
        self.step() & mask
    }
}

/// What gives 1 modulo 2^16 when multiplied by an odd number. Newton's iteration: any odd number
/// is its own inverse in the lowest 3 bits, and each round doubles the bits that are right.
const fn inverse(odd: u16) -> u16 {
    let mut inverse = odd;
    let mut bits = 3;
    while bits < u16::BITS {
        let one = odd.wrapping_mul(inverse);
        inverse = inverse.wrapping_mul(2_u16.wrapping_sub(one));
        bits *= 2;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::{SlotCount, fill, hash};

    #[test]
    fn every_odd_number_has_its_inverse() {
        for odd in (1..=u16::MAX).step_by(2) {
            assert_eq!(odd.wrapping_mul(inverse(odd)), 1);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn looking_gives_the_slots_that_walking_does(
            seed: u64,
            power in 8_u32..=16,
            endpoints in 2_usize..1_500,
        ) {
            let slots = SlotCount::try_from(1 << power).unwrap();
            let walks: Vec<Walk> = (0..endpoints)
                .map(|n| Walk {
                    next: hash::stream(seed, 2 * n) as u16,
                    step: hash::stream(seed, 2 * n + 1) as u16 | 1,
                })
                .collect();
            let walked = walked(walks.clone(), slots.get());
            prop_assert!(fill::take_turns(walks, slots) == walked);
        }
    }

    /// Nothing but walking, to the last slot.
    fn walked(mut walks: Vec<Walk>, slots: usize) -> Vec<u16> {
        let mut endpoints = vec![None; slots];
        for turn in (0..walks.len()).cycle().take(slots) {
            let free = loop {
                let slot = usize::from(walks[turn].step()) % slots;
                if endpoints[slot].is_none() {
                    break slot;
                }
            };
            endpoints[free] = Some(turn as u16);
        }
        endpoints.into_iter().flatten().collect()
    }
}
