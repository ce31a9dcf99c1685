//! "Did you mean": the known word nearest to a mistyped one.

/// The word of `known` nearest to `typed`; at most a third of its letters may be wrong.
pub(crate) fn to<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(typed, word), word))
        .filter(|&(distance, _)| distance <= (typed.chars().count() / 3).max(1))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::to;

    #[test]
    fn two_swapped_letters_are_a_typing_mistake() {
        assert_eq!(
            to("wieght", ["name", "weight", "endpoints"]),
            Some("weight")
        );
    }

    #[test]
    fn another_word_is_not() {
        assert_eq!(to("blue", ["old", "new"]), None);
    }
}
