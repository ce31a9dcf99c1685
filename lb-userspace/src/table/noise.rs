//! The fixed noise that decides between backends.
//!
//! Each (slot, backend) has a number G drawn once from a Gumbel distribution, and the slot goes to
//! the backend with the largest G + β, where β is the logarithm of its weight: then a backend wins
//! with a probability in proportion to its weight, and raising a β moves slots to its backend
//! only. In base 2, with x uniform over 64 bits: G = −log2(64 − log2 x).

use super::log2::{self, log2};
use super::{SlotCount, hash};

/// Bits after the point of a level of noise. With −6 ≤ G ≤ 32 and |β| ≤ 64 a sum fits 32 bits.
pub(super) const BITS: u32 = 24;

/// The noise of one backend.
#[derive(Debug, Clone)]
pub(super) struct Noise(Vec<i32>);

impl Noise {
    /// Draws the noise of a backend; depends on nothing else.
    pub(super) fn draw(seed: u64, backend: &str, slots: SlotCount) -> Self {
        let key = hash::key(seed, &[b"noise", backend.as_bytes()]);
        let draws = (0..slots.get()).map(|slot| gumbel(hash::stream(key, slot)));
        Self(draws.collect())
    }

    /// One level a slot, with [`BITS`] bits after the point.
    pub(super) fn levels(&self) -> &[i32] {
        &self.0
    }
}

/// −log2(64 − log2 x) with [`BITS`] bits after the point: −6 ..= 32.
const fn gumbel(x: u64) -> i32 {
    // At least 1: log2 never reaches 64.
    let exponential = (64 << log2::BITS) - log2(x);
    let log = log2(exponential) as i64 - ((log2::BITS as i64) << log2::BITS);
    (-log >> (log2::BITS - BITS)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(backend: &str) -> Noise {
        Noise::draw(7, backend, SlotCount::MAX)
    }

    #[test]
    fn levels_stay_in_their_range() {
        assert_eq!(gumbel(0), -6 << BITS);
        assert_eq!(gumbel(1), -6 << BITS);
        assert!(gumbel(u64::MAX) <= 32 << BITS);
        assert!(gumbel(u64::MAX) > 30 << BITS);
    }

    #[test]
    fn levels_follow_the_gumbel_distribution() {
        let noise = noise("old");
        let count = noise.levels().len() as f64;
        for quantile in [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999] {
            let limit = -(64.0 - (f64::log2(quantile) + 64.0)).log2();
            let below = noise
                .levels()
                .iter()
                .filter(|&&level| f64::from(level) / f64::from(BITS).exp2() < limit)
                .count() as f64;
            let deviation = (count * quantile * (1.0 - quantile)).sqrt();
            assert!(
                (below - count * quantile).abs() < 4.0 * deviation,
                "{quantile}"
            );
        }
    }

    /// 16 cells by quartile of one backend's level and of another's: independent when all hold
    /// about the same number.
    #[test]
    fn noise_of_different_backends_is_independent() {
        let names = ["a", "b", "old", "new", "v1", "v2", "canary"];
        let quartiles: Vec<Vec<usize>> = names.iter().map(|name| quartiles(name)).collect();
        for (i, one) in quartiles.iter().enumerate() {
            for other in &quartiles[..i] {
                assert!(chi_square(one.iter().zip(other)) < 38.0);
            }
            // Neither does a slot know its neighbour.
            assert!(chi_square(one.iter().zip(&one[1..])) < 38.0);
        }
    }

    fn quartiles(name: &str) -> Vec<usize> {
        let noise = noise(name);
        let mut sorted = noise.levels().to_vec();
        sorted.sort_unstable();
        let quarter = sorted.len() / 4;
        let limits = [sorted[quarter], sorted[2 * quarter], sorted[3 * quarter]];
        let place = |level: &i32| limits.iter().filter(|&limit| level >= limit).count();
        noise.levels().iter().map(place).collect()
    }

    /// Nine degrees of freedom: above 38 once in 50 000.
    fn chi_square<'a>(pairs: impl ExactSizeIterator<Item = (&'a usize, &'a usize)>) -> f64 {
        let expected = pairs.len() as f64 / 16.0;
        let mut cells = [0_u32; 16];
        for (one, other) in pairs {
            cells[4 * one + other] += 1;
        }
        cells
            .iter()
            .map(|&count| (f64::from(count) - expected).powi(2) / expected)
            .sum()
    }
}
