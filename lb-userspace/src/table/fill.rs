//! Slot → endpoint inside a backend, as Maglev fills its table: the endpoints take turns, each
//! taking the next free slot of its own permutation. All get the same number of slots to within
//! one, and adding or removing one moves few slots of the others.

use super::{SlotCount, hash};

/// The second level of one backend, over all slots of the service.
#[derive(Debug, Clone)]
pub(super) struct Fill {
    addresses: Vec<String>,
    /// Index into `addresses` by slot; empty when there is no choice.
    endpoints: Vec<u16>,
}

impl Fill {
    /// Fills all slots with the endpoints at `addresses`, which are sorted and at most 65 536.
    pub(super) fn of(seed: u64, service: &[u8], slots: SlotCount, addresses: &[&str]) -> Self {
        let endpoints = if addresses.len() > 1 {
            let walk = |address: &&str| Walk::of(seed, service, address);
            take_turns(addresses.iter().map(walk).collect(), slots.get())
        } else {
            Vec::new()
        };
        Self {
            addresses: addresses
                .iter()
                .map(|&address| address.to_owned())
                .collect(),
            endpoints,
        }
    }

    pub(super) fn is_of(&self, addresses: &[&str]) -> bool {
        self.addresses == addresses
    }

    /// Index into the sorted addresses.
    pub(super) fn endpoint(&self, slot: usize) -> usize {
        self.endpoints.get(slot).map_or(0, |&index| index.into())
    }
}

/// One endpoint's permutation of the slots: steps of one odd length, which meet every slot of a
/// power of two once.
struct Walk {
    next: usize,
    step: usize,
}

impl Walk {
    fn of(seed: u64, service: &[u8], address: &str) -> Self {
        let key = hash::key(seed, &[b"fill", service, address.as_bytes()]);
        Self {
            next: hash::stream(key, 0) as usize,
            step: hash::stream(key, 1) as usize | 1,
        }
    }
}

fn take_turns(mut walks: Vec<Walk>, slots: usize) -> Vec<u16> {
    let mask = slots - 1;
    let mut endpoints = vec![0; slots];
    // Bits, not bytes: those of 65 536 slots fit L1, and most looks find a taken slot.
    let mut taken = vec![0_u64; slots / 64];
    let turns = (0..walks.len()).cycle().take(slots);
    for turn in turns {
        let walk = &mut walks[turn];
        loop {
            let slot = walk.next & mask;
            walk.next = walk.next.wrapping_add(walk.step);
            let (word, bit) = (&mut taken[slot / 64], 1 << (slot % 64));
            if *word & bit == 0 {
                *word |= bit;
                endpoints[slot] = turn as u16; // At most 65 536 endpoints.
                break;
            }
        }
    }
    endpoints
}
