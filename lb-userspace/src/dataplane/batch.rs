//! Many elements of a map in one system call; aya has one call for each.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::Pod;
use aya::maps::MapData;
use aya::maps::lpm_trie::Key;

/// Puts elements into a trie. Returns how many were put, from the first on: none if the kernel has no
/// such batches (before 5.13).
pub fn update<K: Pod>(map: &MapData, keys: &[Key<K>], values: &[u32]) -> usize {
    batch(
        UPDATE,
        map,
        &keys[..keys.len().min(values.len())],
        Some(values),
    )
}

/// Takes elements out of a trie. Returns how many are out, as [`update`].
pub fn delete<K: Pod>(map: &MapData, keys: &[Key<K>]) -> usize {
    batch(DELETE, map, keys, None)
}

/// Reads the first elements of a per-CPU array, at most `count`: of each the values of all CPUs, one after the
/// other, of `words` words each. Nothing if the kernel has no such batches (before 5.13).
pub fn read_per_cpu(map: &MapData, count: u32, words: usize, cpus: usize) -> Option<Vec<u64>> {
    let mut keys = vec![0_u32; count as usize];
    let mut values = vec![0_u64; count as usize * words * cpus];
    let mut position = 0_u32;
    let mut batch = Batch {
        in_batch: 0,
        out_batch: (&raw mut position).expose_provenance() as u64,
        keys: keys.as_mut_ptr().expose_provenance() as u64,
        values: values.as_mut_ptr().expose_provenance() as u64,
        count,
        map_fd: map.fd().as_fd().as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    let size = size_of::<Batch>();
    // SAFETY: `batch` is as long as said. The kernel writes at most `count` keys and, for each, the values of
    // all possible CPUs, which the vectors have room for; and where it stopped to `position`.
    let done = unsafe { libc::syscall(libc::SYS_bpf, LOOKUP, &raw mut batch, size) };
    // ENOENT: that was the last one.
    let is_read = done == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT);
    is_read.then(|| {
        values.truncate(batch.count as usize * words * cpus);
        values
    })
}

// enum bpf_cmd of include/uapi/linux/bpf.h.
const LOOKUP: libc::c_long = 24;
const UPDATE: libc::c_long = 26;
const DELETE: libc::c_long = 27;
/// What the kernel says of an operation that a map has not got. Not for user space, and yet there.
const ENOTSUPP: i32 = 524;

/// The `batch` part of union bpf_attr.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

fn batch<K: Pod>(
    command: libc::c_long,
    map: &MapData,
    keys: &[Key<K>],
    values: Option<&[u32]>,
) -> usize {
    if keys.is_empty() {
        return 0;
    }
    let mut batch = Batch {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr().expose_provenance() as u64,
        values: values.map_or(0, |it| it.as_ptr().expose_provenance() as u64),
        count: keys.len() as u32,
        map_fd: map.fd().as_fd().as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    let size = size_of::<Batch>();
    // SAFETY: `batch` is as long as said, and its pointers are to `count` keys and values of the map's
    // sizes, which outlive the call. The kernel writes nothing but `count`.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut batch, size) };
    let refused = io::Error::last_os_error().raw_os_error();
    match (done, refused) {
        (0, _) => keys.len(),
        // Before it looked at the first one.
        (_, Some(libc::EINVAL | libc::EPERM | libc::EFAULT | ENOTSUPP)) => 0,
        _ => (batch.count as usize).min(keys.len()),
    }
}
