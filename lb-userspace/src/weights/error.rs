//! What can be wrong with weights. Each message says what, where, and what to do.

use super::Percent;

/// Why weights were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// Nothing was given.
    #[error("no weight given: write at least one NAME=VALUE, such as new=30")]
    Empty,
    /// An argument has no `=`.
    #[error("`{argument}` has no `=`: write NAME=VALUE, such as new=30")]
    NoEquals {
        /// What was typed.
        argument: String,
    },
    /// Nothing stands before the `=`.
    #[error("`{argument}` has no backend name before `=`: write NAME=VALUE, such as new=30")]
    NoName {
        /// What was typed.
        argument: String,
    },
    /// The value is not a number of the grammar.
    #[error(
        "`{argument}` is not a number: {} at character {position}; \
         write a percentage (30, 30%, 0.1%) or a step (+5%, -5%)",
        found(*.character)
    )]
    NotANumber {
        /// What was typed.
        argument: String,
        /// Where it stops being a number, counted from 1 over the whole argument.
        position: usize,
        /// What stands there; `None` when the argument ends there.
        character: Option<char>,
    },
    /// More decimals than a weight can keep.
    #[error("`{argument}` is finer than a weight can be: use at most 7 decimals (0.0000001%)")]
    TooFine {
        /// What was typed.
        argument: String,
    },
    /// A number above a billion.
    #[error("`{argument}` is too large: a relative weight goes up to 1000000000")]
    TooLarge {
        /// What was typed.
        argument: String,
    },
    /// One backend would get more than everything.
    #[error(
        "`{argument}` would give one backend {share}%: a weight is at most 100%{}",
        relative_hint(*.plain)
    )]
    OverWhole {
        /// What was typed.
        argument: String,
        /// The share it would come to.
        share: Percent,
        /// Whether it was a plain number, which could have been meant as a relative weight.
        plain: bool,
    },
    /// The named weights leave less than nothing to the others.
    #[error("{arguments} add up to {sum}%, over 100%: lower one of them")]
    OverTotal {
        /// What was typed, joined by blanks.
        arguments: String,
        /// What the named weights add up to.
        sum: Percent,
    },
    /// All backends are named and the percentages do not make a whole.
    #[error(
        "every backend is named, so the weights must add up to 100%, but {arguments} add up to \
         {sum}%: correct one, or leave one out to give it the rest, or use plain numbers for \
         relative weights"
    )]
    NotWhole {
        /// What was typed, joined by blanks.
        arguments: String,
        /// What the named weights add up to.
        sum: Percent,
    },
    /// A step down below 0.
    #[error(
        "`{argument}` would leave less than nothing: {name} has {now}%; use {name}=0 or a smaller step"
    )]
    BelowZero {
        /// What was typed.
        argument: String,
        /// The backend.
        name: String,
        /// What the backend has now.
        now: Percent,
    },
    /// The service has no backend of that name.
    #[error("no backend `{name}`: {}", name_hint(.suggestion.as_deref(), .known))]
    Unknown {
        /// The name that was typed.
        name: String,
        /// The most similar name there is, if one is similar.
        suggestion: Option<String>,
        /// The backends of the service.
        known: Vec<String>,
    },
    /// A backend is named twice.
    #[error("backend `{name}` is named twice: give each backend one weight")]
    Duplicate {
        /// The backend.
        name: String,
    },
    /// Nobody would get anything.
    #[error("all weights are 0, so no backend would get new flows: give at least one a weight")]
    AllZero,
    /// A rest is left, and the backends that would share it are all at 0.
    #[error(
        "{rest}% is left for {}, all at 0 now, so there is no proportion to share it by: \
         name them too, such as {}=PERCENT",
        .others.join(", "), .others.first().map_or("NAME", String::as_str)
    )]
    NoProportion {
        /// What is left.
        rest: Percent,
        /// The backends it is left for.
        others: Vec<String>,
    },
    /// A stored weight above the whole.
    #[error("a weight of {parts} billionths is over 1000000000: correct or remove it")]
    OverTotalParts {
        /// The stored number.
        parts: u32,
    },
}

fn found(character: Option<char>) -> String {
    match character {
        Some(character) => format!("`{character}` stands"),
        None => "a digit is missing".to_owned(),
    }
}

fn relative_hint(plain: bool) -> &'static str {
    if plain {
        "; for relative weights list every backend with a plain number"
    } else {
        ""
    }
}

fn name_hint(suggestion: Option<&str>, known: &[String]) -> String {
    match (suggestion, known) {
        (Some(suggestion), _) => format!("did you mean `{suggestion}`?"),
        (None, []) => "the service has no backends; add one first".to_owned(),
        (None, known) => format!("the service has {}", known.join(", ")),
    }
}
