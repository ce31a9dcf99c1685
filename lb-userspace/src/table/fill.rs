//! Slot → endpoint inside a backend, as Maglev fills its table: the endpoints take turns, each
//! taking the next free slot of its own permutation. All get the same number of slots to within
//! one, and adding or removing one moves few slots of the others.

use super::{Endpoint, SlotCount, hash};

mod last;

/// The second level of one backend, over all slots of the service.
#[derive(Debug, Clone)]
pub(super) struct Fill {
    addresses: Vec<String>,
    /// What stands for each address in a table's digest.
    digest_keys: Vec<u64>,
    /// Index into `addresses` by slot; empty when there is no choice.
    endpoints: Vec<u16>,
}

impl Fill {
    /// Fills all slots with `endpoints`, which are sorted by address and at most 65 535.
    pub(super) fn of(seed: u64, slots: SlotCount, endpoints: &[&Endpoint]) -> Self {
        let addresses: Vec<String> = endpoints.iter().map(|e| e.address.clone()).collect();
        let walk = |address: &String| Walk::of(seed, address);
        Self {
            digest_keys: addresses.iter().map(|it| digest_key(it)).collect(),
            endpoints: if addresses.len() > 1 {
                take_turns(addresses.iter().map(walk).collect(), slots)
            } else {
                Vec::new()
            },
            addresses,
        }
    }

    pub(super) fn is_of(&self, endpoints: &[&Endpoint]) -> bool {
        let addresses = endpoints.iter().map(|endpoint| &endpoint.address);
        self.addresses.iter().eq(addresses)
    }

    /// Index into the sorted addresses.
    pub(super) fn endpoint(&self, slot: usize) -> usize {
        self.endpoints.get(slot).map_or(0, |&index| index.into())
    }

    /// By the sorted addresses.
    pub(super) fn digest_keys(&self) -> &[u64] {
        &self.digest_keys
    }
}

/// What stands for an address in a table's digest.
pub(super) fn digest_key(address: &str) -> u64 {
    hash::key(0, &[b"digest", address.as_bytes()])
}

/// One endpoint's permutation of the slots: steps of one odd length, which meet every slot of a
/// power of two once. Slots are the lower bits of what is counted here.
#[derive(Debug, Clone)]
struct Walk {
    next: u16,
    step: u16,
}

impl Walk {
    fn of(seed: u64, address: &str) -> Self {
        let key = hash::key(seed, &[b"fill", address.as_bytes()]);
        Self {
            next: hash::stream(key, 0) as u16,
            step: hash::stream(key, 1) as u16 | 1,
        }
    }

    fn step(&mut self) -> u16 {
        let met = self.next;
        self.next = met.wrapping_add(self.step);
        met
    }
}

/// No endpoint yet; the index of none, as there are at most 65 535.
const FREE: u16 = u16::MAX;

fn take_turns(mut walks: Vec<Walk>, slots: SlotCount) -> Vec<u16> {
    let mask = slots.get() - 1;
    let mut endpoints = vec![FREE; slots.get()];
    let mut turns = (0..walks.len()).cycle().take(slots.get());
    let walked = slots.get().saturating_sub(last::FEW);
    for turn in turns.by_ref().take(walked) {
        let walk = &mut walks[turn];
        loop {
            let endpoint = &mut endpoints[usize::from(walk.step()) & mask];
            if *endpoint == FREE {
                *endpoint = turn as u16; // Below FREE.
                break;
            }
        }
    }
    last::take_turns(turns, &mut walks, &mut endpoints);
    endpoints
}
