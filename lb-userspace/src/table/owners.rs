//! Slot → backend: exact counts out of fixed noise.

use super::log2::{self, log2};
use super::noise::{self, Noise};

mod order;
mod settle;

/// Rounds of calibration. Each about squares the relative miss, so what is left after a few is
/// the grain of single slots, which [`settle`] puts right.
const ROUNDS: usize = 6;

/// Bound of β, so that sums with noise fit 32 bits. Reached in no real case: the logarithm of
/// 65 536 slots is 16.
const LARGEST_BIAS: i32 = 64 << noise::BITS;

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
/// `noise`.
///
/// The result is the one of largest total noise among all with these counts. When only one
/// backend's quota rises and no other's does, it therefore loses no slot.
pub(super) fn give_out(noise: &[&Noise], quotas: &[u32]) -> Vec<u8> {
    let levels: Vec<&[i32]> = noise.iter().map(|noise| noise.levels()).collect();
    let mut owners = calibrate(&levels, quotas);
    settle::settle(&levels, quotas, &mut owners);
    owners
}

/// The winners of each slot after β was moved until the counts nearly are the quotas.
fn calibrate(levels: &[&[i32]], quotas: &[u32]) -> Vec<u8> {
    let mut biases: Vec<i32> = quotas.iter().map(|&quota| log(quota)).collect();
    let mut owners = vec![0; levels[0].len()];
    for _ in 0..ROUNDS {
        choose(levels, &biases, &mut owners);
        let counts = count(&owners, quotas.len());
        if counts == quotas {
            break;
        }
        for ((bias, &quota), &count) in biases.iter_mut().zip(quotas).zip(&counts) {
            // Half slots, so that a count of 0 has a logarithm.
            let step = log(2 * quota) - log((2 * count).max(1));
            *bias = (*bias + step).clamp(-LARGEST_BIAS, LARGEST_BIAS);
        }
    }
    owners
}

/// Gives each slot to the backend of the largest sum of noise and bias; equals to the first.
fn choose(levels: &[&[i32]], biases: &[i32], owners: &mut [u8]) {
    /// Slots at a time: best sums stay in L1 while all backends are compared.
    const BLOCK: usize = 1024;
    let mut best = [0; BLOCK];
    for (block, owners) in owners.chunks_mut(BLOCK).enumerate() {
        let best = &mut best[..owners.len()];
        best.fill(i32::MIN);
        for ((backend, levels), &bias) in (0..=u8::MAX).zip(levels).zip(biases) {
            let levels = &levels[block * BLOCK..][..owners.len()];
            for ((best, owner), &level) in best.iter_mut().zip(&mut *owners).zip(levels) {
                let sum = level + bias;
                // Without a branch: the compiler makes vectors of it.
                *owner = if sum > *best { backend } else { *owner };
                *best = sum.max(*best);
            }
        }
    }
}

fn count(owners: &[u8], backends: usize) -> Vec<u32> {
    let mut counts = vec![0; backends];
    for &owner in owners {
        counts[usize::from(owner)] += 1;
    }
    counts
}

/// log2 in the fixed point of noise.
fn log(number: u32) -> i32 {
    (log2(number.into()) >> (log2::BITS - noise::BITS)) as i32
}
