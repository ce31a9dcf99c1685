//! The grammar of weight changes: what is typed after `set-weight`.

use std::fmt;
use std::str::FromStr;

use super::{Weight, WeightError};

/// Decimals of a percentage that a [`Weight`] can keep.
const DECIMALS: usize = 7;
/// Billionths in one percent: 10 to the [`DECIMALS`].
const ONE: u64 = 10_u64.pow(DECIMALS as u32);
/// The largest number taken, far above any use and far below overflow.
const LARGEST: u64 = 1_000_000_000;

/// One change of a weight, `NAME=VALUE` as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    name: String,
    value: Value,
    argument: String,
}

/// The right side of a change, in billionths: 1 % is 10 000 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// `30`: a percentage, or a relative weight when every backend is given one.
    Plain(u64),
    /// `30%`.
    Percent(u64),
    /// `+5%` or `+5`: percentage points more than now.
    Up(u64),
    /// `-5%` or `-5`: percentage points less than now.
    Down(u64),
}

impl Change {
    /// The backend to change.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What to change it to.
    pub fn value(&self) -> Value {
        self.value
    }
}

/// Prints what was typed.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.argument)
    }
}

/// Parses the arguments of `set-weight`, one `NAME=VALUE` each.
///
/// # Errors
/// [`WeightError::Empty`] without arguments, or the first argument's error.
pub fn parse<A: AsRef<str>>(arguments: &[A]) -> Result<Vec<Change>, WeightError> {
    if arguments.is_empty() {
        return Err(WeightError::Empty);
    }
    arguments
        .iter()
        .map(|argument| argument.as_ref().parse())
        .collect()
}

impl FromStr for Change {
    type Err = WeightError;

    fn from_str(argument: &str) -> Result<Self, WeightError> {
        let (name, value) = argument
            .split_once('=')
            .ok_or_else(|| WeightError::NoEquals {
                argument: argument.to_owned(),
            })?;
        if name.is_empty() {
            return Err(WeightError::NoName {
                argument: argument.to_owned(),
            });
        }
        let value = parse_value(value).map_err(|fault| fault.within(argument, value))?;
        if let Value::Percent(parts) = value
            && parts > u64::from(Weight::TOTAL)
        {
            return Err(WeightError::OverWhole {
                argument: argument.to_owned(),
                share: super::Percent::from_parts(parts),
                plain: false,
            });
        }
        Ok(Self {
            name: name.to_owned(),
            value,
            argument: argument.to_owned(),
        })
    }
}

fn parse_value(text: &str) -> Result<Value, Fault> {
    let (number, percent) = match text.strip_suffix('%') {
        Some(number) => (number, true),
        None => (text, false),
    };
    if let Some(step) = number.strip_prefix('+') {
        return parse_decimal(step)
            .map(Value::Up)
            .map_err(Fault::after_sign);
    }
    if let Some(step) = number.strip_prefix('-') {
        return parse_decimal(step)
            .map(Value::Down)
            .map_err(Fault::after_sign);
    }
    let parts = parse_decimal(number)?;
    Ok(if percent {
        Value::Percent(parts)
    } else {
        Value::Plain(parts)
    })
}

/// Parses `30`, `0.1` or `.5` to billionths of the whole, exactly.
fn parse_decimal(text: &str) -> Result<u64, Fault> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let digit_missing = whole.is_empty() && fraction.is_none() || fraction == Some("");
    let stray = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_digit() || c == '.' && at == whole.len()));
    if let Some((at, _)) = stray {
        return Err(Fault::Stray { at });
    }
    if digit_missing {
        return Err(Fault::Stray { at: text.len() });
    }
    let fraction = fraction.unwrap_or("").trim_end_matches('0');
    if fraction.len() > DECIMALS {
        return Err(Fault::TooFine);
    }
    let whole = digits(whole).filter(|&whole| whole <= LARGEST);
    let fraction = digits(&format!("{fraction:0<DECIMALS$}"));
    match (whole, fraction) {
        (Some(whole), Some(fraction)) => Ok(whole * ONE + fraction),
        _ => Err(Fault::TooLarge),
    }
}

/// The number that ASCII digits stand for, 0 for none; `None` when it does not fit.
fn digits(text: &str) -> Option<u64> {
    text.bytes().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// What is wrong with a value, before it is known which argument it stands in.
enum Fault {
    /// Byte `at` of the value is no part of a number.
    Stray {
        at: usize,
    },
    TooFine,
    TooLarge,
}

impl Fault {
    fn after_sign(self) -> Self {
        match self {
            Self::Stray { at } => Self::Stray { at: at + 1 },
            other => other,
        }
    }

    fn within(self, argument: &str, value: &str) -> WeightError {
        let typed = argument.to_owned();
        match self {
            Self::Stray { at } => {
                let before = argument.len() - value.len() + at;
                WeightError::NotANumber {
                    position: argument[..before].chars().count() + 1,
                    character: argument[before..].chars().next(),
                    argument: typed,
                }
            }
            Self::TooFine => WeightError::TooFine { argument: typed },
            Self::TooLarge => WeightError::TooLarge { argument: typed },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(argument: &str) -> Value {
        argument.parse::<Change>().unwrap().value
    }

    fn error(argument: &str) -> WeightError {
        argument.parse::<Change>().unwrap_err()
    }

    #[test]
    fn numbers_are_read_exactly() {
        assert_eq!(value("new=30"), Value::Plain(300_000_000));
        assert_eq!(value("new=30%"), Value::Percent(300_000_000));
        assert_eq!(value("new=0.0000001%"), Value::Percent(1));
        assert_eq!(value("new=.5"), Value::Plain(5_000_000));
        assert_eq!(value("new=0.10000000000%"), Value::Percent(1_000_000));
        assert_eq!(value("new=33.3333333%"), Value::Percent(333_333_333));
        assert_eq!(value("new=100%"), Value::Percent(1_000_000_000));
    }

    #[test]
    fn signs_make_steps() {
        assert_eq!(value("new=+5%"), Value::Up(50_000_000));
        assert_eq!(value("new=+5"), Value::Up(50_000_000));
        assert_eq!(value("new=-0.5%"), Value::Down(5_000_000));
        assert_eq!(value("new=-5"), Value::Down(50_000_000));
    }

    #[test]
    fn what_is_not_a_number_is_shown_with_its_place() {
        let cases = [
            ("new=3x", 6, Some('x')),
            ("new=", 5, None),
            ("new=%", 5, Some('%')),
            ("new=5.", 7, None),
            ("new=.", 6, None),
            ("new=+", 6, None),
            ("new=--5", 6, Some('-')),
            ("new=1.2.3", 8, Some('.')),
            ("new=30%%", 7, Some('%')),
            ("new=1e3", 6, Some('e')),
            ("new= 3", 5, Some(' ')),
            ("neü=3ü%", 6, Some('ü')),
            ("new=old=3", 5, Some('o')),
        ];
        for (argument, position, character) in cases {
            let expected = WeightError::NotANumber {
                argument: argument.to_owned(),
                position,
                character,
            };
            assert_eq!(error(argument), expected);
        }
    }

    #[test]
    fn messages_say_what_where_and_what_to_do() {
        let cases = [
            (
                "new30",
                "`new30` has no `=`: write NAME=VALUE, such as new=30",
            ),
            (
                "=30",
                "`=30` has no backend name before `=`: write NAME=VALUE, such as new=30",
            ),
            (
                "new=3x",
                "`new=3x` is not a number: `x` stands at character 6; \
                 write a percentage (30, 30%, 0.1%) or a step (+5%, -5%)",
            ),
            (
                "new=",
                "`new=` is not a number: a digit is missing at character 5; \
                 write a percentage (30, 30%, 0.1%) or a step (+5%, -5%)",
            ),
            (
                "new=0.00000001%",
                "`new=0.00000001%` is finer than a weight can be: \
                 use at most 7 decimals (0.0000001%)",
            ),
            (
                "new=99999999999999999999999",
                "`new=99999999999999999999999` is too large: \
                 a relative weight goes up to 1000000000",
            ),
            (
                "new=101%",
                "`new=101%` would give one backend 101%: a weight is at most 100%",
            ),
        ];
        for (argument, message) in cases {
            assert_eq!(error(argument).to_string(), message);
        }
        assert_eq!(parse::<&str>(&[]), Err(WeightError::Empty));
    }

    #[test]
    fn a_change_prints_as_typed() {
        let changes = parse(&["old=70%", "new=30.0%"]).unwrap();
        assert_eq!(changes[1].to_string(), "new=30.0%");
        assert_eq!(changes[1].name(), "new");
    }
}
