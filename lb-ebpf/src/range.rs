//! Services with several ports: looked at only when no service with one port is meant.
//!
//! In global functions, as in `rare`: the verifier walks the ranges once for each family.

use lb_common::{
    address::{Address, IPV4, IPV6, V4, V6},
    record::PortRanges,
};

use crate::maps::port_ranges;

/// Looks an address up among those with ranges of ports.
pub trait Ranged: Address {
    /// Id of the service that has the port (host order).
    fn of_range(self, port: u16, protocol: u8) -> Option<u16>;
}

impl Ranged for V4 {
    #[inline(always)]
    fn of_range(self, port: u16, protocol: u8) -> Option<u16> {
        to_id(lb_range4(self.0 as u64, to_word(port, protocol)))
    }
}

impl Ranged for V6 {
    #[inline(always)]
    fn of_range(self, port: u16, protocol: u8) -> Option<u16> {
        to_id(lb_range6(self.0[0], self.0[1], to_word(port, protocol)))
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_range4(address: u64, port: u64) -> u64 {
    find(IPV4, [0, address], port)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_range6(head: u64, tail: u64, port: u64) -> u64 {
    find(IPV6, [head, tail], port)
}

/// An id is 16 bits.
const NONE: u64 = u64::MAX;

#[inline(always)]
fn find(family: u8, [head, tail]: [u64; 2], port: u64) -> u64 {
    let identity = PortRanges::identity_of(family, (port >> 16) as u8);
    let ranges = port_ranges([head, tail, identity]);
    match ranges.and_then(|ranges| ranges.find(port as u16)) {
        Some(id) => id as u64,
        None => NONE,
    }
}

#[inline(always)]
fn to_word(port: u16, protocol: u8) -> u64 {
    (protocol as u64) << 16 | port as u64
}

#[inline(always)]
fn to_id(word: u64) -> Option<u16> {
    (word != NONE).then_some(word as u16)
}
