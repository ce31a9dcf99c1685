//! Which ports of its address a service has.

use std::fmt;
use std::net::SocketAddr;

use super::{Endpoint, Service};

/// The ports of a service, from that of its address on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ports {
    /// That one only.
    #[default]
    One,
    /// All up to this one, which is above the first.
    To(u16),
}

impl Ports {
    /// The highest, `first` being the lowest.
    pub const fn last(self, first: u16) -> u16 {
        match self {
            Self::One => first,
            Self::To(last) => last,
        }
    }
}

impl Service {
    /// The highest port.
    pub fn last_port(&self) -> u16 {
        self.ports.last(self.address.port())
    }

    /// Whether packets to this address and port (of the service's protocol) may be for it.
    pub fn has(&self, address: SocketAddr) -> bool {
        let ports = self.address.port()..=self.last_port();
        self.address.ip() == address.ip() && ports.contains(&address.port())
    }

    /// Whether packets to an endpoint of this service may be for that one.
    pub fn reaches(&self, endpoint: &Endpoint, other: &Self) -> bool {
        if endpoint.address.port() != 0 {
            return other.has(endpoint.address);
        }
        let (first, last) = (self.address.port(), self.last_port());
        endpoint.address.ip() == other.address.ip()
            && first <= other.last_port()
            && other.address.port() <= last
    }

    /// Address and ports as they are written: `10.99.0.1:9000-9010`, `[fd99::1]:*`.
    pub fn written(&self) -> Written {
        Written(self.address, self.ports)
    }
}

impl Endpoint {
    /// As it is written: `10.64.1.2:9000`, `10.64.1.2`.
    pub fn written(&self) -> String {
        written_endpoint(self.address)
    }
}

/// An endpoint as it is written: without a port if it keeps that of packets.
#[must_use]
pub fn written_endpoint(address: SocketAddr) -> String {
    if address.port() == 0 {
        address.ip().to_string()
    } else {
        address.to_string()
    }
}

/// See [`Service::written`].
#[derive(Clone, Copy, Debug)]
pub struct Written(SocketAddr, Ports);

impl fmt::Display for Written {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(address, ports) = self;
        match ports {
            Ports::One => write!(out, "{address}"),
            Ports::To(last) => {
                let all = address.to_string();
                let host = all.rsplit_once(':').map_or("", |(host, _)| host);
                match (address.port(), last) {
                    (1, &u16::MAX) => write!(out, "{host}:*"),
                    (first, last) => write!(out, "{host}:{first}-{last}"),
                }
            }
        }
    }
}
