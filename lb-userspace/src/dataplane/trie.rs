//! The prefixes of rules, in the kernel's tries of longest prefixes.
//!
//! A key begins with the service's id, so one trie serves all services of a family. Prefixes go there
//! in batches where the kernel has them (5.13), else one by one.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Map, MapData};
use aya::{Ebpf, Pod};
use lb_common::address::{Address as _, V4, V6};

use crate::desired::Prefix;
use crate::plan::{PrefixChange, Prefixes};

/// Bits of the service id at the beginning of a key.
const SERVICE: u32 = u32::BITS;

/// A family's keys: service id, then the words of the address.
trait Family: Pod {
    const MAP: &'static str;

    /// Nothing if the prefix is of the other family.
    fn key(service: u16, prefix: Prefix) -> Option<Key<Self>>;

    /// Back from [`Family::key`].
    fn read(key: Key<Self>) -> Option<(u16, Prefix)>;
}

impl Family for [u32; 2] {
    const MAP: &'static str = "RULES4";

    fn key(service: u16, Prefix { address, length }: Prefix) -> Option<Key<Self>> {
        let IpAddr::V4(v4) = address else { return None };
        let data = [service.into(), V4::from_bytes(v4.octets()).0];
        Some(Key::new(SERVICE + u32::from(length), data))
    }

    fn read(key: Key<Self>) -> Option<(u16, Prefix)> {
        let [service, address] = key.data();
        let address = Ipv4Addr::from(V4(address).to_bytes());
        prefix(service, address.into(), key.prefix_len())
    }
}

impl Family for [u32; 5] {
    const MAP: &'static str = "RULES6";

    fn key(service: u16, Prefix { address, length }: Prefix) -> Option<Key<Self>> {
        let IpAddr::V6(v6) = address else { return None };
        let v6 = V6::from_bytes(v6.octets());
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| v6.word(i));
        let data = [service.into(), a, b, c, d];
        Some(Key::new(SERVICE + u32::from(length), data))
    }

    fn read(key: Key<Self>) -> Option<(u16, Prefix)> {
        let [service, words @ ..] = key.data();
        let mut bytes = [0; 16];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        prefix(service, Ipv6Addr::from(bytes).into(), key.prefix_len())
    }
}

fn prefix(service: u32, address: IpAddr, length: u32) -> Option<(u16, Prefix)> {
    let length = u8::try_from(length.checked_sub(SERVICE)?).ok()?;
    let service = u16::try_from(service).ok()?;
    Some((service, Prefix { address, length }))
}

/// Changes which clients of a service have which rule.
///
/// # Errors
/// If the kernel has no memory for it. Some of the change has then been made: see [`read`].
pub fn change(ebpf: &mut Ebpf, service: u16, change: &PrefixChange) -> Result<()> {
    change_family::<[u32; 2]>(ebpf, service, change)?;
    change_family::<[u32; 5]>(ebpf, service, change)
}

fn change_family<F: Family>(ebpf: &mut Ebpf, service: u16, change: &PrefixChange) -> Result<()> {
    let put = change.put.iter();
    let (keys, rules): (Vec<Key<F>>, Vec<u32>) = put
        .filter_map(|&(prefix, rule)| Some((F::key(service, prefix)?, rule)))
        .unzip();
    let take = change.take.iter();
    let taken: Vec<Key<F>> = take.filter_map(|&it| F::key(service, it)).collect();
    let Some(Map::LpmTrie(data)) = ebpf.map_mut(F::MAP) else {
        bail!("the object has no trie {}", F::MAP)
    };
    // What a batch left undone, one by one: all of it on an older kernel, or to be told what is wrong.
    let put = batch(UPDATE_BATCH, data, &keys, Some(&rules));
    let gone = batch(DELETE_BATCH, data, &taken, None);
    let Some(map) = ebpf.map_mut(F::MAP) else {
        bail!("the object has no trie {}", F::MAP)
    };
    let mut trie: LpmTrie<&mut MapData, F, u32> = map.try_into()?;
    for (key, rule) in keys.iter().zip(&rules).skip(put) {
        trie.insert(key, rule, 0)
            .with_context(|| format!("put a prefix into {}", F::MAP))?;
    }
    for key in taken.iter().skip(gone) {
        trie.remove(key)
            .with_context(|| format!("take a prefix out of {}", F::MAP))?;
    }
    Ok(())
}

// enum bpf_cmd of include/uapi/linux/bpf.h.
const UPDATE_BATCH: libc::c_long = 26;
const DELETE_BATCH: libc::c_long = 27;
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

/// How many were done, from the first on: none if the kernel has no such batches.
fn batch<F: Family>(
    command: libc::c_long,
    map: &MapData,
    keys: &[Key<F>],
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

/// Every prefix in the tries, by service id.
///
/// # Errors
/// If they cannot be read.
pub fn read(ebpf: &Ebpf) -> Result<BTreeMap<u16, Arc<Prefixes>>> {
    let mut all: BTreeMap<u16, Vec<(Prefix, u32)>> = BTreeMap::new();
    read_family::<[u32; 2]>(ebpf, &mut all)?;
    read_family::<[u32; 5]>(ebpf, &mut all)?;
    let prefixes = all
        .into_iter()
        .map(|(id, all)| (id, Arc::new(Prefixes::of(all))));
    Ok(prefixes.collect())
}

fn read_family<F: Family>(ebpf: &Ebpf, all: &mut BTreeMap<u16, Vec<(Prefix, u32)>>) -> Result<()> {
    let map = ebpf
        .map(F::MAP)
        .with_context(|| format!("the object has no map {}", F::MAP))?;
    let trie: LpmTrie<&MapData, F, u32> = map.try_into()?;
    for entry in trie.iter() {
        let (key, rule) = entry.with_context(|| format!("read {}", F::MAP))?;
        if let Some((service, prefix)) = F::read(key) {
            all.entry(service).or_default().push((prefix, rule));
        }
    }
    Ok(())
}
