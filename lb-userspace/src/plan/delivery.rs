//! How packets reach the endpoints, as the records hold it.

use std::net::IpAddr;

use lb_common::address::{Address, IPV4, V4, V6, wide};
use lb_common::encapsulate::{self, IPV4_IN_IP, IPV6_IN_IP};
use lb_common::parse::UDP;
use lb_common::record::{Endpoint, Service, flag, mode};
use lb_common::rewrite;

use crate::desired::{self, Mode, Network};

/// What a service asks for, in one word of its record: written in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// [`Service::mode`].
    pub mode: u8,
    /// [`Service::flags`].
    pub flags: u8,
    /// [`Service::client_bits`].
    pub client_bits: u8,
    /// [`Service::tunnel_port`].
    pub tunnel_port: u16,
    /// [`Service::mss`].
    pub mss: u16,
}

impl Traits {
    /// Those of a service.
    pub(super) fn of(service: &desired::Service) -> Self {
        let desired::Delivery { mode, mss, .. } = service.delivery;
        Self {
            mode: number(mode),
            flags: service.selection.flags() | if mss.is_some() { flag::CLAMP } else { 0 },
            client_bits: service.selection.affinity.client_bits(),
            tunnel_port: port(mode),
            mss: mss.unwrap_or(0),
        }
    }

    /// A record with them.
    #[must_use]
    pub fn within(self, record: Service) -> Service {
        Service {
            mode: self.mode,
            flags: self.flags,
            client_bits: self.client_bits,
            tunnel_port: self.tunnel_port,
            mss: self.mss,
            ..record
        }
    }

    /// The word, as it lies in the record.
    #[must_use]
    pub const fn word(self) -> u64 {
        let [a, b] = self.tunnel_port.to_ne_bytes();
        let [c, d] = self.mss.to_ne_bytes();
        u64::from_ne_bytes([self.mode, self.flags, self.client_bits, 0, a, b, c, d])
    }
}

/// An endpoint's record with what the service's mode needs.
pub(super) fn towards(record: Endpoint, service: &desired::Service) -> Endpoint {
    let desired::Delivery {
        mode,
        tunnel_source,
        ..
    } = service.delivery;
    let (source, spread) = match tunnel_source {
        Some(network) => (wide(network.address).1, free(network)),
        None => (record.source, 0),
    };
    let carried = match (mode, service.address) {
        (Mode::Gue { .. }, _) => UDP,
        (_, it) if it.is_ipv4() => IPV4_IN_IP,
        _ => IPV6_IN_IP,
    };
    let base = match (mode, record.family) {
        (Mode::Nat, IPV4) => nat_base::<V4>(service, &record),
        (Mode::Nat, _) => nat_base::<V6>(service, &record),
        (Mode::Ipip | Mode::Gue { .. }, IPV4) => {
            let ends = (V4::from_wide(source), V4::from_wide(record.address));
            encapsulate::base(ends.0, ends.1, carried)
        }
        _ => 0,
    };
    Endpoint {
        source,
        mode: number(mode),
        tunnel_port: port(mode),
        spread,
        base,
        ..record
    }
}

fn nat_base<A: Address>(service: &desired::Service, record: &Endpoint) -> u32 {
    let [service, source, endpoint] =
        [wide(service.address.ip()).1, record.source, record.address].map(A::from_wide);
    rewrite::base(service, source, endpoint).into()
}

const fn number(mode: Mode) -> u8 {
    match mode {
        Mode::Nat => mode::NAT,
        Mode::Dsr => mode::DSR,
        Mode::Ipip => mode::IPIP,
        Mode::Gue { .. } => mode::GUE,
    }
}

const fn port(mode: Mode) -> u16 {
    match mode {
        Mode::Gue { port } => port,
        _ => 0,
    }
}

/// [`Endpoint::spread`]: the free bits of a network, at most the last 32.
fn free(network: Network) -> u32 {
    let length = match network.address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let free = u32::from(length - network.bits);
    u32::MAX
        .checked_shl(free)
        .map_or(u32::MAX, |fixed| !fixed)
        .to_be()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_bits_of_a_network_are_at_the_end_of_its_addresses() {
        let free = |address: &str, bits| {
            let address = address.parse().unwrap();
            free(Network { address, bits }).to_ne_bytes()
        };
        assert_eq!(free("172.16.0.0", 16), [0, 0, 0xff, 0xff]);
        assert_eq!(free("172.16.0.0", 12), [0, 0x0f, 0xff, 0xff]);
        assert_eq!(free("172.16.0.0", 31), [0, 0, 0, 1]);
        assert_eq!(free("fd00::", 64), [0xff; 4]);
        assert_eq!(free("fd00::", 120), [0, 0, 0, 0xff]);
    }

    #[test]
    fn the_word_is_what_the_record_holds() {
        let traits = Traits {
            mode: 3,
            flags: 16,
            client_bits: 24,
            tunnel_port: 6080,
            mss: 1400,
        };
        let record: [u64; 8] = bytemuck::cast(traits.within(Service::EMPTY));
        assert_eq!(record, [0, 0, 0, 0, 0, 0, traits.word(), 0]);
    }
}
