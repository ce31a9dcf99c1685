//! What the kernel's verifier needs to be told, or not told, and the compiler not to know.

/// `value`, but the verifier takes every value for possible that `noise` can have.
///
/// It walks all that follows once for each state it can tell from the others. An index or offset that
/// it knows exactly on each of several paths makes as many states; one that it does not know makes one.
/// The caller bounds the result again. `noise` is any number the verifier cannot know, such as a hash
/// or bytes of the packet.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn obscure(value: usize, noise: u64) -> usize {
    let mut hidden = value as u64;
    // SAFETY: exclusive or of two registers. Spelled out, because the compiler would see that two of
    // them cancel.
    unsafe {
        core::arch::asm!(
            "{value} ^= {noise}",
            value = inlateout(reg) hidden,
            noise = in(reg) noise,
            options(pure, nomem, nostack),
        );
    }
    (hidden ^ noise) as usize
}

/// `value`: the host has no verifier.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub fn obscure(value: usize, _noise: u64) -> usize {
    value
}

/// A word whose uppermost bit says whether `value` is anything but zero.
///
/// Spelled out, because of a comparison the compiler makes a branch. Where it is chance which way that goes the
/// processor foresees it wrong half of the time, and has all that follows to do again.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn nonzero(value: u64) -> u64 {
    let mut negative = value;
    // SAFETY: arithmetic on two registers.
    unsafe {
        core::arch::asm!(
            "{negative} = -{negative}",
            negative = inlateout(reg) negative,
            options(pure, nomem, nostack),
        );
    }
    negative | value
}

/// As in the kernel.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub fn nonzero(value: u64) -> u64 {
    value.wrapping_neg() | value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uppermost_bit_says_whether_there_is_any() {
        assert_eq!(nonzero(0) >> 63, 0);
        for bit in 0..64 {
            assert_eq!(nonzero(1 << bit) >> 63, 1, "bit {bit}");
            assert_eq!(nonzero(u64::MAX << bit) >> 63, 1, "bits from {bit}");
        }
    }
}
