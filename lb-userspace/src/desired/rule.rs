//! Clients that a service treats differently.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Scheduling, Service};
use crate::weights::Weight;

/// Clients of some networks, whose new flows have shares of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The networks, of the service's family; each in one rule of the service only.
    pub from: Vec<Prefix>,
    /// Shares of the service's backends, in their order. They sum to [`Weight::TOTAL`].
    pub weights: Vec<Weight>,
}

/// A network: the addresses that begin with these bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// Its first address.
    pub address: IpAddr,
    /// How many bits count.
    pub length: u8,
}

impl Rule {
    /// How many slots the rule's table has at most. A rule to a single endpoint needs one only, and one
    /// to a backend 64 or more for each endpoint, so that their shares differ by 1.6 % at most.
    pub fn slots(&self, service: &Service) -> u32 {
        let mut backends = service.backends.iter().zip(&self.weights);
        let mut shared = backends.by_ref().filter(|(_, weight)| !weight.is_zero());
        let (Some((only, _)), None) = (shared.next(), shared.next()) else {
            return service.slots;
        };
        if service.selection.scheduling == Scheduling::Exact {
            return service.slots;
        }
        match only.endpoints.len() {
            0 | 1 => 1,
            endpoints => {
                let slots = (64 * endpoints as u32).next_power_of_two();
                slots.max(256).min(service.slots)
            }
        }
    }
}

impl Prefix {
    /// The network of `address`; nothing if there are bits set after the first `length`, or the address
    /// has not as many.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let prefix = Self { address, length };
        (prefix.first()? == address).then_some(prefix)
    }

    /// The address with only its first bits.
    fn first(self) -> Option<IpAddr> {
        let Self { address, length } = self;
        Some(match address {
            IpAddr::V4(v4) => {
                let rest = 32_u32.checked_sub(length.into())?;
                let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
                Ipv4Addr::from(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let rest = 128_u32.checked_sub(length.into())?;
                let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
                Ipv6Addr::from(v6.to_bits() & mask).into()
            }
        })
    }

    /// The network that was meant, if there are bits set after its length.
    pub fn without_host(self) -> Option<Self> {
        let address = self.first()?;
        Some(Self { address, ..self })
    }

    /// Whether an address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        let network = Self { address, ..self };
        address.is_ipv4() == self.address.is_ipv4() && network.first() == Some(self.address)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str, length: u8) -> Option<Prefix> {
        Prefix::new(address.parse().unwrap(), length)
    }

    #[test]
    fn a_prefix_is_a_networks_first_address() {
        for (address, length) in [
            ("10.0.0.0", 8),
            ("0.0.0.0", 0),
            ("10.0.0.1", 32),
            ("2001:db8::", 32),
            ("::", 0),
            ("fd00::1", 128),
        ] {
            assert!(prefix(address, length).is_some(), "{address}/{length}");
        }
        for (address, length) in [("10.0.0.1", 8), ("10.0.0.0", 33), ("fd00::1", 127)] {
            assert_eq!(prefix(address, length), None, "{address}/{length}");
        }
    }

    #[test]
    fn a_prefix_contains_what_begins_with_its_bits() {
        let ten = prefix("10.0.0.0", 8).unwrap();
        let all = prefix("0.0.0.0", 0).unwrap();
        for (address, in_ten, in_all) in [
            ("10.255.0.1", true, true),
            ("11.0.0.0", false, true),
            ("a00::", false, false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(
                (ten.contains(address), all.contains(address)),
                (in_ten, in_all)
            );
        }
    }
}
