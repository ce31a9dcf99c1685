//! Pseudo-random content and its hash.

use blake3::{Hash, Hasher, OutputReader};

/// Bytes made or hashed at a time.
pub(super) const CHUNK: usize = 64 * 1024;

/// An endless stream of bytes that is a function of its seed.
pub(super) struct Content(OutputReader);

impl Content {
    /// The stream of this seed, from its beginning.
    pub(super) fn new(seed: u64) -> Self {
        Self(Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    /// The next bytes of the stream.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// The hash of the first `length` bytes of a seed's stream.
pub(super) fn hash(seed: u64, length: u64) -> Hash {
    let mut content = Content::new(seed);
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        let part = part(&mut chunk, left);
        content.fill(part);
        hasher.update(part);
        left -= part.len() as u64;
    }
    hasher.finalize()
}

/// As much of the chunk as is left to do.
pub(super) fn part(chunk: &mut [u8], left: u64) -> &mut [u8] {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
    &mut chunk[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_a_function_of_seed_and_length() {
        assert_eq!(hash(1, 100_000), hash(1, 100_000));
        assert_ne!(hash(1, 100_000), hash(2, 100_000));
        assert_ne!(hash(1, 100_000), hash(1, 99_999));
    }
}
