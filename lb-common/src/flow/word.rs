//! One 64-bit word of the table, shared by processors: read whole, written whole, exchanged.
//!
//! On the host it is an atomic. The kernel program has the same instructions, but neither Rust's BPF
//! target (which says that it cannot compare and swap, for the sake of processors before v3) nor LLVM's
//! (which selects no atomic load before v4) will write them from an atomic, so they are spelled out.

#[cfg(not(target_arch = "bpf"))]
mod atomic {
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};

    /// A shared word.
    #[repr(transparent)]
    #[derive(Debug, Default)]
    pub struct Word(AtomicU64);

    impl Word {
        /// Reads it.
        pub fn load(&self) -> u64 {
            self.0.load(Relaxed)
        }

        /// Writes it.
        pub fn store(&self, value: u64) {
            self.0.store(value, Relaxed);
        }

        /// Writes `to` if it still is `from`; tells whether it was.
        pub fn compare_and_swap(&self, from: u64, to: u64) -> bool {
            self.0.compare_exchange(from, to, Relaxed, Relaxed).is_ok()
        }

        /// Adds to it; tells what it was.
        pub fn add(&self, value: u64) -> u64 {
            self.0.fetch_add(value, Relaxed)
        }
    }

    /// Keeps what is before it before what is after it, for this processor and all others.
    pub fn order() {
        fence(SeqCst);
    }
}

#[cfg(target_arch = "bpf")]
mod atomic {
    use core::cell::UnsafeCell;
    use core::sync::atomic::{Ordering::SeqCst, compiler_fence};

    /// A shared word.
    #[repr(transparent)]
    pub struct Word(UnsafeCell<u64>);

    // SAFETY: every access below is one instruction that reads or writes the whole word.
    unsafe impl Sync for Word {}

    impl Word {
        /// Reads it.
        #[inline(always)]
        pub fn load(&self) -> u64 {
            // SAFETY: the pointer comes from a reference; an aligned volatile read is one load.
            unsafe { self.0.get().read_volatile() }
        }

        /// Writes it.
        #[inline(always)]
        pub fn store(&self, value: u64) {
            // SAFETY: as in `load`; an aligned volatile write is one store.
            unsafe { self.0.get().write_volatile(value) }
        }

        /// Writes `to` if it still is `from`; tells whether it was. Since kernel 5.12.
        #[inline(always)]
        pub fn compare_and_swap(&self, from: u64, to: u64) -> bool {
            let found: u64;
            // SAFETY: the instruction reads and writes the one word that `word` points to.
            unsafe {
                core::arch::asm!(
                    "r0 = cmpxchg_64({word} + 0, r0, {to})",
                    word = in(reg) self.0.get(),
                    to = in(reg) to,
                    inlateout("r0") from => found,
                );
            }
            found == from
        }

        /// Adds to it; tells what it was. Since kernel 5.12.
        #[inline(always)]
        pub fn add(&self, value: u64) -> u64 {
            let mut sum = value;
            // SAFETY: the instruction reads and writes the one word that `word` points to.
            unsafe {
                core::arch::asm!(
                    "{sum} = atomic_fetch_add((u64 *)({word} + 0), {sum})",
                    word = in(reg) self.0.get(),
                    sum = inlateout(reg) sum,
                );
            }
            sum
        }
    }

    /// Keeps the compiler from moving accesses across it.
    ///
    /// x86 keeps stores in order by itself. Other processors have no fence in BPF before kernel 6.15
    /// (load-acquire): there a reader could, within nanoseconds of a takeover, pair a dead flow's key
    /// with a new flow's state; the packet would be one of a flow that is already over.
    #[inline(always)]
    pub fn order() {
        compiler_fence(SeqCst);
    }
}

pub use atomic::Word;
pub(super) use atomic::order;
