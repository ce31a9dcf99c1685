//! Which addresses the hosts of a lab have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 address for services, routed by the client to the node and configured nowhere.
pub const VIP_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// IPv6 address for services, routed by the client to the node and configured nowhere.
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);

/// Prefix length of every IPv4 segment.
pub(super) const PREFIX_V4: u8 = 24;
/// Prefix length of every IPv6 segment.
pub(super) const PREFIX_V6: u8 = 64;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both versions, for tests that try each.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The virtual address of this version.
    #[must_use]
    pub fn vip(self) -> IpAddr {
        match self {
            Self::V4 => VIP_V4.into(),
            Self::V6 => VIP_V6.into(),
        }
    }

    /// The address that means "any" in this version.
    pub(super) fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// One interface of a host with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name of the device inside the host's namespace.
    pub interface: String,
    /// IPv4 address, in a /24.
    pub v4: Ipv4Addr,
    /// IPv6 address, in a /64.
    pub v6: Ipv6Addr,
}

impl Link {
    /// The link of host number `host` on segment number `segment`: 10.64.segment.host and
    /// fd64:0:0:segment::host.
    pub(super) fn new(interface: &str, segment: u8, host: u8) -> Self {
        let (s, h) = (u16::from(segment), u16::from(host));
        Self {
            interface: interface.to_owned(),
            v4: Ipv4Addr::new(10, 64, segment, host),
            v6: Ipv6Addr::new(0xfd64, 0, 0, s, 0, 0, 0, h),
        }
    }

    /// The address of the given version.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }
}
