//! Array maps as memory: read and written word by word, without system calls.
//!
//! The kernel program and the daemon look at the same words at the same time, so each word is an
//! atomic; what belongs together must fit one word or be written before anything names it.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use bytemuck::NoUninit;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A mapped array map with values of `width` words.
pub struct Mapped {
    start: NonNull<AtomicU64>,
    values: usize,
    width: usize,
}

// SAFETY: the memory is the kernel's and lives until `drop`; all access is by atomics.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps an array that was made with BPF_F_MMAPABLE (kernel 5.5).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new(map: &MapData, name: &str) -> Result<Self> {
        let info = map
            .info()
            .with_context(|| format!("ask about map {name}"))?;
        let width = info.value_size() as usize / size_of::<u64>();
        let values = info.max_entries() as usize;
        ensure!(
            width * size_of::<u64>() == info.value_size() as usize,
            "odd values in {name}"
        );
        let bytes = NonZeroUsize::new(width * values * size_of::<u64>())
            .with_context(|| format!("map {name} is empty"))?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; the map is as long as asked.
        let start = unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, map.fd(), 0) }
            .with_context(|| format!("map {name} into memory"))?;
        Ok(Self {
            start: start.cast(),
            values,
            width,
        })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values
    }

    /// All words of all values.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the whole mapping, which lives as long as `self`; all access is by atomics.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.values * self.width) }
    }

    /// One word of a value.
    pub fn load(&self, value: usize, word: usize) -> u64 {
        self.word(value, word).load(Ordering::Relaxed)
    }

    /// Writes one word of a value, after everything written before.
    pub fn store(&self, value: usize, word: usize, to: u64) {
        self.word(value, word).store(to, Ordering::Release);
    }

    /// Empties one word if it still is `from`.
    pub fn clear(&self, value: usize, word: usize, from: u64) {
        // Lost to the kernel program: then the word is in use again, and that is that.
        let _ =
            self.word(value, word)
                .compare_exchange(from, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A value as a record.
    pub fn read<T: bytemuck::AnyBitPattern + NoUninit>(&self, value: usize) -> T {
        let words: Vec<u64> = (0..self.width).map(|word| self.load(value, word)).collect();
        bytemuck::pod_read_unaligned(bytemuck::cast_slice(&words))
    }

    /// Writes a record that nothing names yet, its words in order.
    pub fn write<T: NoUninit>(&self, value: usize, record: &T) {
        for (word, bytes) in bytemuck::bytes_of(record)
            .chunks_exact(size_of::<u64>())
            .enumerate()
        {
            self.store(value, word, bytemuck::pod_read_unaligned(bytes));
        }
    }

    fn word(&self, value: usize, word: usize) -> &AtomicU64 {
        assert!(value < self.values && word < self.width, "outside the map");
        // SAFETY: within the mapping, as just asserted; aligned, because the mapping begins at a page.
        unsafe { self.start.add(value * self.width + word).as_ref() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let bytes = self.values * self.width * size_of::<u64>();
        // SAFETY: the mapping of `new`, whole; no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.start.cast(), bytes) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

/// Waits until every program run that is under way now has ended.
///
/// MEMBARRIER_CMD_GLOBAL (kernel 4.3) is the kernel's `synchronize_rcu`, and XDP programs run within
/// an RCU read section.
///
/// # Errors
/// If the kernel has no such call.
pub fn barrier() -> Result<()> {
    let global = libc::MEMBARRIER_CMD_GLOBAL;
    // SAFETY: a system call with numbers only.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, global, 0, 0) };
    ensure!(done == 0, "membarrier: {}", std::io::Error::last_os_error());
    Ok(())
}
