//! Who takes part.

use std::fmt;

/// What stands between client and servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// Nothing: the node is a router, and the client talks to one endpoint's own address.
    Routed,
    /// lb in mode nat.
    Lb,
    /// Destination NAT by the kernel, which tracks connections.
    Nftables,
    /// A proxy: two connections for each.
    Haproxy,
    /// Another.
    Nginx,
}

impl Contestant {
    /// Everybody, the yardstick first.
    pub const ALL: [Self; 5] = [
        Self::Routed,
        Self::Lb,
        Self::Nftables,
        Self::Haproxy,
        Self::Nginx,
    ];

    /// Whether a machine may lack what it takes; without the others there is nothing to compare.
    pub fn may_be_absent(self) -> bool {
        !matches!(self, Self::Routed | Self::Lb)
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routed => "routed",
            Self::Lb => "lb",
            Self::Nftables => "nftables",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        })
    }
}
