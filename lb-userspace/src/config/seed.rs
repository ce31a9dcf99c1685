//! The key of all hashes, from what the file says.

/// Sixteen hex digits are the seed itself; any other string is hashed, equal on every node.
pub(super) fn parse(text: &str) -> u64 {
    if text.len() == 16
        && let Ok(seed) = u64::from_str_radix(text, 16)
    {
        return seed;
    }
    let digest = blake3::hash(text.as_bytes());
    u64::from_be_bytes(std::array::from_fn(|index| digest.as_bytes()[index]))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sixteen_hex_digits_are_the_seed_itself() {
        assert_eq!(parse("00000000000000ff"), 255);
    }

    #[test]
    fn any_other_string_is_the_head_of_its_blake3() {
        // printf abc | b3sum
        assert_eq!(parse("abc"), 0x6437_b3ac_3846_5133);
    }
}
