//! What was decided about a packet, and why. Each reason is a counter.

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Translated and sent on.
    Forward,
    /// Left as it came, to the kernel.
    Pass,
    /// Thrown away.
    Drop,
}

impl Verdict {
    /// Name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $verdict:ident, $name:literal, $meaning:literal;)+) => {
        /// Why a packet met its verdict. The discriminant is the index of its counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        // As wide as an action: a result that is one or the other then is two registers and not one with both
        // packed into it.
        #[repr(u32)]
        pub enum Reason {
            $(#[doc = $meaning] $reason,)+
        }

        impl Reason {
            /// The reason of a counter; [`Reason::Inconsistent`] if there is no such counter.
            #[inline(always)]
            pub const fn from_index(index: u8) -> Self {
                $(if index == Self::$reason as u8 {
                    return Self::$reason;
                })+
                Self::Inconsistent
            }

            /// Every reason, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)+];

            /// What became of the packet.
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$reason => Verdict::$verdict,)+ }
            }

            /// Name in listings and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$reason => $name,)+ }
            }

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$reason => $meaning,)+ }
            }
        }
    };
}

reasons! {
    Transmitted = Forward, "transmitted", "Translated and sent out where it came in (XDP_TX).";
    Redirected = Forward, "redirected", "Translated and sent out of another interface (XDP_REDIRECT).";
    HandedOver = Forward, "handed-over", "Translated and given to the kernel to deliver: no neighbour entry yet, or a device XDP cannot send on.";
    NotIp = Pass, "not-ip", "Neither IPv4 nor IPv6, such as ARP.";
    NotForService = Pass, "not-for-service", "No service has this address, port and protocol.";
    OtherProtocol = Pass, "other-protocol", "IP, but neither TCP nor UDP, nor an ICMP error or an echo request to a service that answers.";
    Truncated = Pass, "truncated", "The frame ends before its headers do.";
    Malformed = Pass, "malformed", "A header contradicts itself.";
    Fragment = Pass, "fragment", "A later fragment of a packet whose first one was not forwarded, or has not come yet.";
    ExtensionHeader = Pass, "extension-header", "An IPv6 extension header that is not looked through.";
    Expiring = Pass, "expiring", "For a service, but with a TTL or hop limit of 1: the kernel answers.";
    UnclearQuote = Pass, "unclear-quote", "An ICMP error that quotes too little of a packet to tell its flow.";
    UnrelatedError = Pass, "unrelated-error", "An ICMP error about a packet of no known flow.";
    NoFlow = Drop, "no-flow", "For a service, in the middle of a TCP connection that no flow is known of.";
    EmptySlot = Drop, "empty-slot", "A new flow met a slot without an endpoint: the service has none.";
    FlowTableFull = Drop, "flow-table-full", "A new flow found no room beside live flows.";
    NodePortsExhausted = Drop, "node-ports-exhausted", "A new flow found no free node port towards its endpoint.";
    NoRoute = Drop, "no-route", "The kernel has no route to the endpoint or client, or forwarding is off on the interface.";
    TooBig = Drop, "too-big", "Larger than the MTU of the way out, and the sender not told: it was told of many others this second, or the frame ends too early.";
    Inconsistent = Drop, "inconsistent", "A map entry that cannot be: a bug worth a report.";
    TooBigTold = Drop, "too-big-told", "Larger than the MTU of the way out; the sender was told (ICMP fragmentation needed, ICMPv6 packet too big).";
    NotOnLink = Drop, "not-on-link", "The endpoint of a service in mode dsr is behind a router, not on a network of the node's own.";
    NotPlain = Pass, "not-plain", "With VLAN tags, IPv4 options or IPv6 extension headers, and the program for these is missing: a bug worth a report.";
    Returned = Forward, "returned", "The reply of an endpoint on this node, translated and sent on by the kernel.";
}

/// Number of reasons, and of their counters.
pub const REASONS: u32 = Reason::ALL.len() as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_index_of_its_counter() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(Reason::from_index(index as u8), *reason);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
