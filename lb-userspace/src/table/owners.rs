//! Slot → backend: exact counts out of fixed noise.
//!
//! A slot goes to the backend with the largest sum of noise and bias. The biases are moved until the counts
//! nearly are the quotas ([`contest`]), and the last few slots are placed by least regret ([`settle`]). What
//! comes of it is the assignment of largest total noise among all with these counts.
//!
//! Most backends have no prospect of most slots, so few are looked at: of each slot those that could have
//! the largest sum while every bias stays within a window. When a bias leaves its window, or slots cannot
//! be settled among these, it is done again with wider ones, at last with all.

use super::log2::{self, log2};
use super::noise::{self, Noise};

mod contest;
mod order;
mod rank;
mod settle;
#[cfg(test)]
mod tests;

use contest::{Contest, Windows};
pub(super) use rank::{Rank, Ranked};

/// The order in which two backends take slots: the first from the front, the second from the end.
///
/// Whatever the weights, the first has a beginning of the same order, so a change moves exactly
/// the difference, all in one direction.
#[derive(Debug, Clone)]
pub(super) struct PairOrder {
    first: String,
    second: String,
    slots: Vec<u16>,
}

impl PairOrder {
    /// Orders slots by how much more the first backend draws than the second; equals by slot.
    pub(super) fn of(first: (&str, &Noise), second: (&str, &Noise)) -> Self {
        let levels = first.1.levels().iter().zip(second.1.levels());
        // The sign turned over, so that numbers without one have the same order.
        let lag = |(first, second): (&i32, &i32)| (second - first).cast_unsigned() ^ (1 << 31);
        let lags: Vec<u32> = levels.map(lag).collect();
        Self {
            first: first.0.to_owned(),
            second: second.0.to_owned(),
            slots: order::by_key(&lags),
        }
    }

    pub(super) fn is_of(&self, first: &str, second: &str) -> bool {
        self.first == first && self.second == second
    }

    /// Gives `quota` slots to `first` and the others to `second`.
    pub(super) fn give_out(&self, first: u8, second: u8, quota: u32) -> Vec<u8> {
        let mut owners = vec![second; self.slots.len()];
        for &slot in &self.slots[..quota as usize] {
            owners[usize::from(slot)] = first;
        }
        owners
    }
}

/// Gives out the slots to any number of backends, each exactly its quota (above 0): indices into
/// `noise`. `rank` tells which have the most noise, if it is known.
///
/// The result is the one of largest total noise among all with these counts. When only one
/// backend's quota rises and no other's does, it therefore loses no slot.
pub(super) fn give_out(noise: &[&Noise], quotas: &[u32], rank: Option<&Ranked<'_>>) -> Vec<u8> {
    let levels: Vec<&[i32]> = noise.iter().map(|noise| noise.levels()).collect();
    let mut windows = Windows::around(quotas);
    loop {
        let mut contest = Contest::of(&levels, rank, &windows);
        let biases = contest.calibrate(&windows, quotas);
        match settle::settle(&mut contest, &biases, quotas) {
            Some(biases) if contest.is_whole() || windows.hold(&biases) => return contest.owners,
            _ => windows.widen(),
        }
    }
}

/// log2 in the fixed point of noise.
fn log(number: u32) -> i32 {
    (log2(number.into()) >> (log2::BITS - noise::BITS)) as i32
}
