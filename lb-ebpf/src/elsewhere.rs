//! Services that do not stand where the hash of a packet's destination names, or have several ports: looked for
//! only when the service that stands there is not meant.
//!
//! In global functions, as in `rare`: the verifier walks the search once for each family.

use lb_common::{
    address::{Address, IPV4, IPV6, V4, V6},
    hash,
    limits::{SERVICE_PROBES, SERVICES as PLACES},
    record::{PortRanges, Service},
};

use crate::maps::{SERVICES, SecretKeys, has_ranges, identity_word, port_ranges};

/// Looks a destination up wherever it may stand.
pub trait Elsewhere: Address {
    /// Id of the service that has the port (host order).
    fn elsewhere(self, port: u16, protocol: u8) -> Option<u16>;
}

impl Elsewhere for V4 {
    #[inline(always)]
    fn elsewhere(self, port: u16, protocol: u8) -> Option<u16> {
        to_id(lb_elsewhere4(self.0 as u64, to_word(port, protocol)))
    }
}

impl Elsewhere for V6 {
    #[inline(always)]
    fn elsewhere(self, port: u16, protocol: u8) -> Option<u16> {
        to_id(lb_elsewhere6(self.0[0], self.0[1], to_word(port, protocol)))
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_elsewhere4(address: u64, port: u64) -> u64 {
    of_id(find(IPV4, [0, address], port))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_elsewhere6(head: u64, tail: u64, port: u64) -> u64 {
    of_id(find(IPV6, [head, tail], port))
}

#[inline(always)]
fn find(family: u8, address: [u64; 2], word: u64) -> Option<u16> {
    let (port, protocol) = (word as u16, (word >> 16) as u8);
    match with_port(address, Service::identity_of(family, port, protocol)) {
        None if has_ranges() => with_ports(family, address, port, protocol),
        found => found,
    }
}

/// The id of the service with this port alone.
#[inline(always)]
fn with_port(address: [u64; 2], identity: u64) -> Option<u16> {
    let place = hash::place(&SecretKeys, address, identity);
    for probe in 0..SERVICE_PROBES {
        let id = (place as u32).wrapping_add(probe) % PLACES;
        let service = SERVICES.get(id)?;
        let found = identity_word(service);
        if found == identity && service.address == address {
            return Some(id as u16);
        }
        if found == 0 {
            return None;
        }
    }
    None
}

/// The id of the service with several ports, one of which is this.
#[inline(always)]
fn with_ports(family: u8, address: [u64; 2], port: u16, protocol: u8) -> Option<u16> {
    let [head, tail] = address;
    let identity = PortRanges::identity_of(family, protocol);
    let id = port_ranges([head, tail, identity])?.find(port)?;
    let service = SERVICES.get(id as u32)?;
    let is_it = Service::has_range(identity_word(service)) && service.address == address;
    is_it.then_some(id)
}

/// An id is 16 bits.
const NONE: u64 = u64::MAX;

#[inline(always)]
fn of_id(id: Option<u16>) -> u64 {
    id.map_or(NONE, |id| id as u64)
}

#[inline(always)]
fn to_word(port: u16, protocol: u8) -> u64 {
    (protocol as u64) << 16 | port as u64
}

#[inline(always)]
fn to_id(word: u64) -> Option<u16> {
    (word != NONE).then_some(word as u16)
}
