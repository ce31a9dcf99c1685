//! What was measured round by round.

use super::Samples;

/// One figure of each round, in order.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    /// One more.
    pub fn add(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle one; NaN of none.
    pub fn median(&self) -> f64 {
        median(self.0.iter().copied())
    }

    /// The middle one of the rounds' ratios to the same rounds of another. What else the machine did
    /// in a round was met by both, so it is in the figures and not in their ratio.
    pub fn ratio(&self, other: &Self) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(mine, its)| mine / its))
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut samples = Samples::default();
    figures.for_each(|figure| samples.add(figure));
    samples.median()
}
