//! From the weights there are and the changes asked for to the weights there will be.

use super::{Change, Percent, Value, Weight, WeightError, apportion, from_relative, whole_parts};
use crate::nearest;

/// The weights of all backends after `changes`, in the order of `current`; they sum to
/// [`Weight::TOTAL`] exactly.
///
/// Every backend listed with a plain number: the numbers are relative weights. Otherwise the
/// named backends get their percentages, and the others share the rest in proportion to what they
/// have; a single other backend gets all of it.
///
/// # Errors
/// See [`WeightError`]; `current` is never partly changed.
pub fn resolve<N: AsRef<str>>(
    current: &[(N, Weight)],
    changes: &[Change],
) -> Result<Vec<Weight>, WeightError> {
    let asked = match_names(current, changes)?;
    if let Some(numbers) = relative_numbers(&asked) {
        return from_relative(&numbers);
    }
    let named = asked
        .iter()
        .zip(current)
        .map(|(change, (_, now))| change.map(|change| target(change, *now)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let sum: u64 = named.iter().flatten().map(|w| u64::from(w.parts())).sum();
    let total = u64::from(Weight::TOTAL);
    if sum != total && named.iter().all(Option::is_some) {
        return Err(WeightError::NotWhole {
            arguments: join(changes),
            sum: Percent::from_parts(sum),
        });
    }
    let Some(rest) = total.checked_sub(sum) else {
        return Err(WeightError::OverTotal {
            arguments: join(changes),
            sum: Percent::from_parts(sum),
        });
    };
    share_rest(current, &named, rest)
}

/// The change asked for each backend, in the order of `current`.
fn match_names<'c, N: AsRef<str>>(
    current: &[(N, Weight)],
    changes: &'c [Change],
) -> Result<Vec<Option<&'c Change>>, WeightError> {
    if changes.is_empty() {
        return Err(WeightError::Empty);
    }
    let mut asked = vec![None; current.len()];
    for change in changes {
        let place = current
            .iter()
            .position(|(name, _)| name.as_ref() == change.name())
            .ok_or_else(|| unknown(change.name(), current))?;
        if asked[place].replace(change).is_some() {
            return Err(WeightError::Duplicate {
                name: change.name().to_owned(),
            });
        }
    }
    Ok(asked)
}

fn unknown<N: AsRef<str>>(name: &str, current: &[(N, Weight)]) -> WeightError {
    let known: Vec<String> = current.iter().map(|(n, _)| n.as_ref().to_owned()).collect();
    let suggestion = nearest::to(name, known.iter().map(String::as_str)).map(str::to_owned);
    WeightError::Unknown {
        name: name.to_owned(),
        suggestion,
        known,
    }
}

/// The numbers when every backend is listed with a plain one.
fn relative_numbers(asked: &[Option<&Change>]) -> Option<Vec<u64>> {
    asked
        .iter()
        .map(|change| match change.map(Change::value) {
            Some(Value::Plain(number)) => Some(number),
            _ => None,
        })
        .collect()
}

/// What a backend that has `now` gets by `change` read as a percentage.
fn target(change: &Change, now: Weight) -> Result<Weight, WeightError> {
    let parts = match change.value() {
        Value::Plain(parts) | Value::Percent(parts) => parts,
        Value::Up(parts) => u64::from(now.parts()) + parts,
        Value::Down(parts) => {
            u64::from(now.parts())
                .checked_sub(parts)
                .ok_or_else(|| WeightError::BelowZero {
                    argument: change.to_string(),
                    name: change.name().to_owned(),
                    now: now.percent(),
                })?
        }
    };
    if parts > u64::from(Weight::TOTAL) {
        return Err(WeightError::OverWhole {
            argument: change.to_string(),
            share: Percent::from_parts(parts),
            plain: matches!(change.value(), Value::Plain(_)),
        });
    }
    Ok(whole_parts(parts))
}

/// Fills the unnamed places of `named` with `rest`.
fn share_rest<N: AsRef<str>>(
    current: &[(N, Weight)],
    named: &[Option<Weight>],
    rest: u64,
) -> Result<Vec<Weight>, WeightError> {
    let others: Vec<&(N, Weight)> = current
        .iter()
        .zip(named)
        .filter(|(_, named)| named.is_none())
        .map(|(backend, _)| backend)
        .collect();
    let numbers: Vec<u64> = others.iter().map(|(_, w)| u64::from(w.parts())).collect();
    let shares = match (others.as_slice(), rest) {
        ([_], _) => vec![rest],
        (_, 0) => vec![0; others.len()],
        _ => apportion(&numbers, rest).ok_or_else(|| WeightError::NoProportion {
            rest: Percent::from_parts(rest),
            others: others.iter().map(|(n, _)| n.as_ref().to_owned()).collect(),
        })?,
    };
    let mut shares = shares.into_iter().map(whole_parts);
    Ok(named
        .iter()
        .map(|named| named.or_else(|| shares.next()).unwrap_or(Weight::ZERO))
        .collect())
}

fn join(changes: &[Change]) -> String {
    let typed: Vec<String> = changes.iter().map(Change::to_string).collect();
    typed.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::parse;
    use proptest::prelude::*;

    /// Resolves `changes` on backends given as name and percent; the result in percent.
    fn set(current: &[(&str, u32)], changes: &[&str]) -> Result<Vec<String>, WeightError> {
        let current: Vec<_> = current
            .iter()
            .map(|&(name, percent)| (name, Weight::from_parts(percent * 10_000_000).unwrap()))
            .collect();
        let weights = resolve(&current, &parse(changes)?)?;
        let sum: u32 = weights.iter().map(|w| w.parts()).sum();
        assert_eq!(sum, Weight::TOTAL);
        Ok(weights.iter().map(|w| w.percent().to_string()).collect())
    }

    fn message(current: &[(&str, u32)], changes: &[&str]) -> String {
        set(current, changes).unwrap_err().to_string()
    }

    const TWO: &[(&str, u32)] = &[("old", 100), ("new", 0)];
    const THREE: &[(&str, u32)] = &[("a", 60), ("b", 30), ("new", 10)];
    const ONE: &[(&str, u32)] = &[("only", 100)];

    #[test]
    fn the_other_backend_gets_the_rest() {
        assert_eq!(set(TWO, &["new=30"]).unwrap(), ["70", "30"]);
        assert_eq!(set(TWO, &["new=30%"]).unwrap(), ["70", "30"]);
        assert_eq!(
            set(TWO, &["new=0.0000001%"]).unwrap(),
            ["99.9999999", "0.0000001"]
        );
        assert_eq!(set(TWO, &["new=100"]).unwrap(), ["0", "100"]);
        // Even when it is at 0.
        assert_eq!(set(TWO, &["old=40"]).unwrap(), ["40", "60"]);
    }

    #[test]
    fn others_share_the_rest_in_proportion() {
        assert_eq!(set(THREE, &["new=40"]).unwrap(), ["40", "20", "40"]);
        assert_eq!(
            set(THREE, &["new=50%"]).unwrap(),
            ["33.3333333", "16.6666667", "50"]
        );
        assert_eq!(set(THREE, &["a=0", "new=0"]).unwrap(), ["0", "100", "0"]);
        assert_eq!(set(THREE, &["new=100"]).unwrap(), ["0", "0", "100"]);
    }

    #[test]
    fn steps_count_from_what_is() {
        assert_eq!(set(THREE, &["new=+5%"]).unwrap()[2], "15");
        assert_eq!(set(THREE, &["new=-5"]).unwrap()[2], "5");
        assert_eq!(set(THREE, &["new=-10%"]).unwrap()[2], "0");
        assert_eq!(
            set(THREE, &["a=-5%", "b=+5%", "new=+0%"]).unwrap(),
            ["55", "35", "10"]
        );
    }

    #[test]
    fn plain_numbers_for_every_backend_are_relative() {
        assert_eq!(set(TWO, &["old=3", "new=1"]).unwrap(), ["75", "25"]);
        assert_eq!(set(TWO, &["new=30", "old=70"]).unwrap(), ["70", "30"]);
        assert_eq!(set(TWO, &["old=1.5", "new=0.5"]).unwrap(), ["75", "25"]);
        assert_eq!(
            set(TWO, &["old=300", "new=1"]).unwrap(),
            ["99.6677741", "0.3322259"]
        );
        assert_eq!(set(ONE, &["only=7"]).unwrap(), ["100"]);
    }

    #[test]
    fn every_backend_in_percent_must_make_a_whole() {
        assert_eq!(set(TWO, &["old=70%", "new=30%"]).unwrap(), ["70", "30"]);
        assert_eq!(set(TWO, &["old=70%", "new=30"]).unwrap(), ["70", "30"]);
        assert_eq!(
            message(TWO, &["old=70%", "new=20%"]),
            "every backend is named, so the weights must add up to 100%, but old=70% new=20% add \
             up to 90%: correct one, or leave one out to give it the rest, or use plain numbers \
             for relative weights"
        );
        assert!(message(ONE, &["only=30%"]).contains("add up to 30%"));
        assert!(message(TWO, &["old=0%", "new=0%"]).contains("add up to 0%"));
        assert!(message(TWO, &["old=70%", "new=30.5%"]).contains("add up to 100.5%"));
    }

    #[test]
    fn mistakes_say_what_to_do() {
        assert_eq!(
            message(THREE, &["a=80", "b=50"]),
            "a=80 b=50 add up to 130%, over 100%: lower one of them"
        );
        assert_eq!(
            message(TWO, &["nwe=30"]),
            "no backend `nwe`: did you mean `new`?"
        );
        assert_eq!(
            message(TWO, &["canary=30"]),
            "no backend `canary`: the service has old, new"
        );
        assert_eq!(
            message(&[], &["new=30"]),
            "no backend `new`: the service has no backends; add one first"
        );
        assert_eq!(
            message(TWO, &["new=1", "new=2"]),
            "backend `new` is named twice: give each backend one weight"
        );
        assert_eq!(
            message(TWO, &["old=0", "new=0"]),
            "all weights are 0, so no backend would get new flows: give at least one a weight"
        );
        assert_eq!(message(ONE, &["only=0"]), message(TWO, &["old=0", "new=0"]));
        assert_eq!(
            message(THREE, &["new=-11%"]),
            "`new=-11%` would leave less than nothing: new has 10%; use new=0 or a smaller step"
        );
        assert_eq!(
            message(THREE, &["a=+50%"]),
            "`a=+50%` would give one backend 110%: a weight is at most 100%"
        );
        assert_eq!(
            message(TWO, &["new=300"]),
            "`new=300` would give one backend 300%: a weight is at most 100%; \
             for relative weights list every backend with a plain number"
        );
        assert_eq!(
            message(&[("a", 0), ("b", 0), ("new", 100)], &["new=40"]),
            "60% is left for a, b, all at 0 now, so there is no proportion to share it by: \
             name them too, such as a=PERCENT"
        );
        assert_eq!(
            message(TWO, &[]),
            "no weight given: write at least one NAME=VALUE, such as new=30"
        );
    }

    proptest! {
        #[test]
        fn naming_one_backend_gives_it_its_share_and_keeps_the_others_order(
            numbers in prop::collection::vec(1_u64..1000, 2..8),
            parts in 0_u32..=Weight::TOTAL,
        ) {
            let current: Vec<_> = from_relative(&numbers).unwrap().into_iter()
                .enumerate().map(|(i, w)| (format!("b{i}"), w)).collect();
            let asked = format!("b0={}%", Weight::from_parts(parts).unwrap().percent());
            let after = resolve(&current, &parse(&[asked]).unwrap()).unwrap();
            prop_assert_eq!(after[0].parts(), parts);
            prop_assert_eq!(after.iter().map(|w| w.parts()).sum::<u32>(), Weight::TOTAL);
            for i in 1..after.len() {
                for j in 1..after.len() {
                    if current[i].1 < current[j].1 {
                        prop_assert!(after[i].parts() <= after[j].parts() + 1);
                    }
                }
            }
        }
    }
}
