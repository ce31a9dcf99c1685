//! A dealing order: new flows take its turns one after the other, whoever they are from.
//!
//! Instead of a hash, a counter says whose turn it is, so shares hold for few flows too: of ten flows
//! at 80/20 eight and two. What holds:
//! - **Short where it can be.** An order is as long as it takes for every backend's share, and every
//!   endpoint's share of its backend, to be a whole number of turns: five turns at 80/20 with an
//!   endpoint each. Only where that is more than the slots there are, shares are rounded to turns.
//! - **Balanced in every window.** Of any n turns in a row, also over the end of the order, a backend
//!   has n times its share to within less than 2, and of two backends to within 1. This is the chairman
//!   assignment (Tijdeman 1980): up to any turn nobody is more than 1 − 1/(2k − 2) turns ahead or
//!   behind, of k backends with turns.
//! - **In turn inside a backend.** Its endpoints follow each other by address.
//! - **Pure.** As any table; the seed has no part in it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::check::{Checked, by_name};
use super::{Backend, SlotCount, SlotShare, Table, TableError, fill, hash};
use crate::weights::{Weight, apportion};

impl Table {
    /// The dealing order of these backends, which may be listed in any order; at most `most` turns.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn deal(most: SlotCount, backends: &[Backend]) -> Result<Self, TableError> {
        let backends = by_name(backends)?;
        let turns = turns(&backends, most)?;
        let owners = order(&turns);
        let mut dealt = vec![0; backends.len()];
        let keys: Vec<Vec<u64>> = backends
            .iter()
            .map(|it| it.endpoints.iter().map(|e| fill::digest_key(&e.address)))
            .map(Iterator::collect)
            .collect();
        let mut slots = Vec::with_capacity(owners.len());
        let mut digest: u64 = 0;
        for (turn, &owner) in owners.iter().enumerate() {
            let owner = usize::from(owner);
            let endpoints = &backends[owner].endpoints;
            let next = dealt[owner] % endpoints.len();
            dealt[owner] += 1;
            slots.push(endpoints[next].id);
            digest = digest.wrapping_add(hash::stream(keys[owner][next], turn));
        }
        let shares = backends
            .iter()
            .zip(&turns)
            .map(|(backend, &turns)| SlotShare {
                name: backend.name.to_owned(),
                weight: backend.weight,
                slots: turns as u32, // At most the slot count.
            });
        Ok(Self {
            shares: shares.collect(),
            digest: hash::mix(digest ^ slots.len() as u64),
            slots,
            owners,
        })
    }
}

/// How many turns each backend has in an order.
fn turns(backends: &[Checked<'_>], most: SlotCount) -> Result<Vec<u64>, TableError> {
    let most = most.get() as u64;
    let weights: Vec<u64> = backends.iter().map(|b| b.weight.parts().into()).collect();
    let sum = weights.iter().sum();
    if sum != u64::from(Weight::TOTAL) {
        return Err(TableError::WeightSum { sum });
    }
    let divisor = weights.iter().copied().fold(0, gcd);
    let least: Vec<u64> = weights.iter().map(|weight| weight / divisor).collect();
    let period = sum / divisor;
    let turns: Vec<u64> = if period <= most {
        // So often that every endpoint of a backend has as many turns as the others.
        let whole = backends.iter().zip(&least).filter(|(_, turns)| **turns > 0);
        let rounds = whole.fold(1, |rounds, (backend, &turns)| {
            let endpoints = (backend.endpoints.len() as u64).max(1);
            lcm(rounds, endpoints / gcd(endpoints, turns))
        });
        let rounds = rounds.min(most / period);
        least.iter().map(|turns| turns * rounds).collect()
    } else {
        apportion(&weights, most).unwrap_or_default()
    };
    for (backend, &slots) in backends.iter().zip(&turns) {
        if slots > 0 && backend.endpoints.is_empty() {
            let (name, slots) = (backend.name.to_owned(), slots as u32);
            return Err(TableError::NoEndpoint { name, slots });
        }
    }
    Ok(turns)
}

/// Whose turn it is, turn by turn: of those who may take one without getting too far ahead, the one
/// who would be too far behind first.
fn order(turns: &[u64]) -> Vec<u8> {
    let total: u64 = turns.iter().sum();
    let some = turns.iter().filter(|&&turns| turns > 0).count() as u64;
    let parts = (2 * some).saturating_sub(2).max(1);
    // From which turn on, and until which one, its n-th (from 0) may be.
    let first = |of: u64, n: u64| ((n * parts + 1) * total).div_ceil(parts * of);
    let last = |of: u64, n: u64| ((n + 1) * parts - 1) * total / (parts * of);
    let mut waiting = BinaryHeap::new();
    for (index, &of) in (0..=u8::MAX).zip(turns) {
        if of > 0 {
            waiting.push(Reverse((first(of, 0), index, 0_u64)));
        }
    }
    let mut ready = BinaryHeap::new();
    let mut owners = Vec::with_capacity(total as usize);
    for turn in 1..=total {
        while let Some(&Reverse((from, index, n))) = waiting.peek()
            && (from <= turn || ready.is_empty())
        {
            waiting.pop();
            ready.push(Reverse((last(turns[usize::from(index)], n), index, n)));
        }
        let Some(Reverse((_, index, n))) = ready.pop() else {
            break;
        };
        owners.push(index);
        let of = turns[usize::from(index)];
        if n + 1 < of {
            waiting.push(Reverse((first(of, n + 1), index, n + 1)));
        }
    }
    owners
}

const fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The least common multiple; the largest number there is, if that is less.
const fn lcm(a: u64, b: u64) -> u64 {
    (a / gcd(a, b)).saturating_mul(b)
}

#[cfg(test)]
mod tests;
