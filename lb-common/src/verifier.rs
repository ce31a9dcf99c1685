//! What the kernel's verifier needs to be told, or not told.

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
