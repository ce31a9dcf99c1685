//! Keyed hashing that never changes: tables of all versions and nodes must agree, so no hash of
//! the standard library or of a crate that may change it. Nothing here resists an attacker; flows
//! are kept from being aimed by the flow hash, not by the table.

/// 2^64 divided by the golden ratio, odd: multiples of it are spread evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of splitmix64: a bijection in which each input bit flips about half of the
/// output bits.
pub(super) const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The `index`-th number of the splitmix64 stream that starts at `key`.
pub(super) const fn stream(key: u64, index: usize) -> u64 {
    mix(key.wrapping_add((index as u64 + 1).wrapping_mul(GOLDEN)))
}

/// Hashes `parts` under `seed`. Lengths count: `["ab", "c"]` and `["a", "bc"]` differ.
pub(super) fn key(seed: u64, parts: &[&[u8]]) -> u64 {
    let absorb = |state: u64, word: u64| mix(state.wrapping_add(GOLDEN) ^ word);
    parts.iter().fold(absorb(0, seed), |state, part| {
        let state = absorb(state, part.len() as u64);
        part.chunks(8).fold(state, |state, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            absorb(mix(state), u64::from_le_bytes(word))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        // First outputs of the reference implementation for the seed 1234567.
        let known = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([stream(1_234_567, 0), stream(1_234_567, 1)], known);
    }

    #[test]
    fn keys_depend_on_every_part_and_on_where_it_ends() {
        let keys = [
            key(1, &[b"noise", b"old"]),
            key(2, &[b"noise", b"old"]),
            key(1, &[b"noise", b"new"]),
            key(1, &[b"nois", b"eold"]),
            key(1, &[b"noiseold"]),
            key(1, &[b"noise", b"old\0"]),
            key(1, &[b"noise", b"old", b""]),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
    }
}
