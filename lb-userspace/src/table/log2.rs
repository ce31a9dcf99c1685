//! The binary logarithm in fixed point.

/// Bits after the point of what [`log2`] gives.
pub(super) const BITS: u32 = 32;

/// Steps of the table between a power of two and the next: 257 × 8 B fit a small part of L1.
const STEPS: usize = 1 << STEP_BITS;
const STEP_BITS: u32 = 8;

/// `MANTISSA[i]` = log2(1 + i / STEPS), rounded down.
const MANTISSA: [u64; STEPS + 1] = mantissa();

/// log2(`x`) with [`BITS`] bits after the point, at most 3e-6 below the true value and never
/// above it; exact at powers of two, never decreasing. 0 for `x` = 0.
pub(super) const fn log2(x: u64) -> u64 {
    let Some(whole) = x.checked_ilog2() else {
        return 0;
    };
    // The bits after the leading one, moved to the top.
    let rest = (x << (63 - whole)) << 1;
    let step = (rest >> (64 - STEP_BITS)) as usize;
    let between = (rest << STEP_BITS) >> 32;
    let (low, high) = (MANTISSA[step], MANTISSA[step + 1]);
    ((whole as u64) << BITS) + low + (((high - low) * between) >> 32)
}

/// Bit by bit: squaring a number doubles its logarithm.
const fn mantissa() -> [u64; STEPS + 1] {
    /// Bits after the point of the number that is squared.
    const POINT: u32 = 62;
    let mut table = [1 << BITS; STEPS + 1];
    let mut i = 0;
    while i < STEPS {
        let mut number = ((STEPS + i) as u128) << (POINT - STEP_BITS);
        let mut log = 0;
        let mut bit = 0;
        while bit < BITS {
            number = (number * number) >> POINT;
            log <<= 1;
            if number >> (POINT + 1) == 1 {
                number >>= 1;
                log |= 1;
            }
            bit += 1;
        }
        table[i] = log;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_exact() {
        assert_eq!(log2(0), 0);
        for power in 0..64 {
            assert_eq!(log2(1 << power), power << BITS);
        }
    }

    #[test]
    fn it_is_close_to_the_true_logarithm_and_never_decreases() {
        let mut last = 0;
        for step in 0..200_000_u64 {
            let x = (1 << 40) + step * ((1 << 40) / 200_000);
            let log = log2(x);
            assert!(log >= last);
            last = log;
            let miss = (x as f64).log2() - log as f64 / f64::from(BITS).exp2();
            assert!((-1e-9..3e-6).contains(&miss), "{x}: {miss}");
        }
        assert!(log2(u64::MAX) < 64 << BITS);
    }
}
