//! Weights: which share of the new flows of a service each backend gets.
//!
//! A [`Weight`] is an integer number of billionths, and the weights of a service always sum to
//! [`Weight::TOTAL`]. People write them in two ways: as command-line changes ([`Change`], applied
//! by [`resolve()`]) and as relative numbers in the configuration ([`from_relative`]). No floats
//! anywhere: what was typed is what is kept.

mod apportion;
mod change;
mod error;
mod resolve;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use apportion::apportion;
pub use change::{Change, Value, parse};
pub use error::WeightError;
pub use resolve::resolve;

/// A share of the new flows of a service, in billionths: 0 ..= [`Weight::TOTAL`].
///
/// Zero means "no new flows". Serialized as the bare number of billionths.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(u32);

impl Weight {
    /// Parts in the whole; the weights of a service sum to this.
    pub const TOTAL: u32 = 1_000_000_000;
    /// No new flows.
    pub const ZERO: Self = Self(0);
    /// All new flows.
    pub const ALL: Self = Self(Self::TOTAL);

    /// A weight of `parts` billionths; `None` above [`Weight::TOTAL`].
    pub const fn from_parts(parts: u32) -> Option<Self> {
        if parts <= Self::TOTAL {
            Some(Self(parts))
        } else {
            None
        }
    }

    /// Billionths of the new flows.
    pub const fn parts(self) -> u32 {
        self.0
    }

    /// Whether the backend gets no new flows.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The weight in percent, printed exactly and without trailing zeros: `30`, `0.1`, `33.3333333`.
    pub const fn percent(self) -> Percent {
        Percent(self.0 as u64)
    }
}

impl From<Weight> for u32 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

impl TryFrom<u32> for Weight {
    type Error = WeightError;

    fn try_from(parts: u32) -> Result<Self, WeightError> {
        Self::from_parts(parts).ok_or(WeightError::OverTotalParts { parts })
    }
}

/// A number of billionths that prints as a percentage, without the `%`. May exceed 100: a sum of
/// mistaken weights is printed with it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u64);

impl Percent {
    /// Billionths in one percent.
    const ONE: u64 = Weight::TOTAL as u64 / 100;

    pub(crate) const fn from_parts(parts: u64) -> Self {
        Self(parts)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / Self::ONE, self.0 % Self::ONE);
        if fraction == 0 {
            return f.pad(&whole.to_string());
        }
        let digits = format!("{whole}.{fraction:07}");
        f.pad(digits.trim_end_matches('0'))
    }
}

/// The weights of backends given by relative numbers, in the same order, summing to
/// [`Weight::TOTAL`] exactly: `[3, 1]` is 75 % and 25 %.
///
/// # Errors
/// [`WeightError::Empty`] without numbers, [`WeightError::AllZero`] when all are 0.
pub fn from_relative(numbers: &[u64]) -> Result<Vec<Weight>, WeightError> {
    if numbers.is_empty() {
        return Err(WeightError::Empty);
    }
    let parts = apportion(numbers, u64::from(Weight::TOTAL)).ok_or(WeightError::AllZero)?;
    Ok(parts.into_iter().map(whole_parts).collect())
}

/// A share of a total that is itself at most [`Weight::TOTAL`].
fn whole_parts(parts: u64) -> Weight {
    debug_assert!(parts <= u64::from(Weight::TOTAL));
    Weight(parts as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_prints_the_exact_decimal() {
        let cases = [
            (0, "0"),
            (1, "0.0000001"),
            (1_000_000, "0.1"),
            (300_000_000, "30"),
            (333_333_333, "33.3333333"),
            (Weight::TOTAL, "100"),
        ];
        for (parts, text) in cases {
            assert_eq!(Weight(parts).percent().to_string(), text);
        }
        assert_eq!(format!("[{:>5}]", Weight(1_000_000).percent()), "[  0.1]");
    }

    #[test]
    fn relative_numbers_sum_exactly() {
        let thirds = from_relative(&[1, 1, 1]).unwrap();
        assert_eq!(
            thirds,
            [
                Weight(333_333_334),
                Weight(333_333_333),
                Weight(333_333_333)
            ]
        );
        assert_eq!(
            from_relative(&[3, 1]).unwrap(),
            [Weight(750_000_000), Weight(250_000_000)]
        );
        assert_eq!(
            from_relative(&[u64::MAX, u64::MAX]).unwrap()[0],
            Weight(500_000_000)
        );
    }

    #[test]
    fn relative_numbers_need_one_above_zero() {
        assert_eq!(from_relative(&[]), Err(WeightError::Empty));
        assert_eq!(from_relative(&[0, 0]), Err(WeightError::AllZero));
    }

    #[test]
    fn a_stored_weight_over_the_total_is_refused() {
        assert!(Weight::from_parts(Weight::TOTAL).is_some());
        assert!(Weight::from_parts(Weight::TOTAL + 1).is_none());
        assert!(Weight::try_from(Weight::TOTAL + 1).is_err());
    }
}
