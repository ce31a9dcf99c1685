//! Who takes part.

use std::fmt;

/// The mode in which the server sees the node and nothing of the client.
const NAT: &str = "nat";

/// What stands between client and servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// Nothing: the node is a router, and the client talks to one endpoint's own address.
    Routed,
    /// lb in this mode, as its configuration names it.
    Lb(&'static str),
    /// Destination NAT by the kernel, which tracks connections.
    Nftables,
    /// A proxy: two connections for each.
    Haproxy,
    /// Another.
    Nginx,
}

impl Contestant {
    /// Everybody, the yardstick first.
    pub const ALL: [Self; 8] = [
        Self::Routed,
        Self::Lb(NAT),
        Self::Lb("dsr"),
        Self::Lb("ipip"),
        Self::Lb("gue"),
        Self::Nftables,
        Self::Haproxy,
        Self::Nginx,
    ];

    /// Whether a machine may lack what it takes; without the others there is nothing to compare.
    pub fn may_be_absent(self) -> bool {
        !matches!(self, Self::Routed | Self::Lb(_))
    }

    /// Whether the server holds the virtual address and answers the client itself.
    pub fn answers_directly(self) -> bool {
        matches!(self, Self::Lb(mode) if mode != NAT)
    }

    /// Whether the server unpacks what it gets.
    pub fn is_tunnelled(self) -> bool {
        matches!(self, Self::Lb("ipip" | "gue"))
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Routed => f.write_str("routed"),
            Self::Lb(mode) => write!(f, "lb {mode}"),
            Self::Nftables => f.write_str("nftables"),
            Self::Haproxy => f.write_str("HAProxy"),
            Self::Nginx => f.write_str("nginx"),
        }
    }
}
