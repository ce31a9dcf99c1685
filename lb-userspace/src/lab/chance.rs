//! Whether a count can be chance: the fair verdict on a share of new flows.

/// The probability below which an outcome is no chance any more. A run judges some dozens of
/// outcomes, each at two ends: together less than one false alarm in 100 000 runs.
const ALARM: f64 = 5e-8;

/// Whether `hits` of `trials` can come of a true share of `share` (0 to 1): false if a count so far
/// off, on its side, has a probability below 1 : 20 000 000. A share of 0 or 1 leaves no room at all.
#[must_use]
pub fn is_likely(hits: usize, trials: usize, share: f64) -> bool {
    if hits > trials {
        return false;
    }
    if share <= 0.0 || share >= 1.0 {
        return hits as f64 == share.clamp(0.0, 1.0) * trials as f64;
    }
    let counts = |counts: &mut dyn Iterator<Item = usize>| -> f64 {
        counts.map(|it| probability(it, trials, share)).sum()
    };
    counts(&mut (0..=hits)) >= ALARM && counts(&mut (hits..=trials)) >= ALARM
}

/// The fewest and the most hits that [`is_likely`] takes.
#[must_use]
pub fn likely_range(trials: usize, share: f64) -> (usize, usize) {
    let likely = |hits: &usize| is_likely(*hits, trials, share);
    let first = (0..=trials).find(likely).unwrap_or(0);
    let last = (0..=trials).rev().find(likely).unwrap_or(trials);
    (first, last)
}

/// The binomial probability of exactly `hits`.
fn probability(hits: usize, trials: usize, share: f64) -> f64 {
    let (k, n) = (hits as f64, trials as f64);
    let ways = log_factorial(trials) - log_factorial(hits) - log_factorial(trials - hits);
    (ways + k * share.ln() + (n - k) * (1.0 - share).ln()).exp()
}

/// ln n!, by Stirling's series from 16 on: right to ten digits.
fn log_factorial(n: usize) -> f64 {
    if n < 16 {
        return (2..=n).map(|it| (it as f64).ln()).sum();
    }
    let x = n as f64;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    x * x.ln() - x + 0.5 * (std::f64::consts::TAU * x).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one() {
        for (trials, share) in [(10, 0.8), (15, 0.01), (16, 0.5), (1000, 0.25), (1000, 0.99)] {
            let sum: f64 = (0..=trials).map(|it| probability(it, trials, share)).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{trials} {share} {sum}");
        }
    }

    #[test]
    fn near_the_share_is_likely_and_far_is_not() {
        assert!(is_likely(500, 1000, 0.5) && is_likely(560, 1000, 0.5));
        assert!(!is_likely(400, 1000, 0.5) && !is_likely(600, 1000, 0.5));
        assert!(is_likely(2, 1000, 0.01) && is_likely(25, 1000, 0.01));
        assert!(!is_likely(40, 1000, 0.01));
        assert!(is_likely(10, 10, 0.8) && is_likely(2, 10, 0.8));
    }

    #[test]
    fn nothing_and_everything_leave_no_room() {
        assert!(is_likely(0, 1000, 0.0) && !is_likely(1, 1000, 0.0));
        assert!(is_likely(1000, 1000, 1.0) && !is_likely(999, 1000, 1.0));
    }

    #[test]
    fn the_range_is_what_is_likely() {
        let (first, last) = likely_range(1000, 0.5);
        assert_eq!(first + last, 1000);
        assert!((400..420).contains(&first), "{first}");
        assert_eq!(likely_range(1000, 0.0), (0, 0));
    }
}
