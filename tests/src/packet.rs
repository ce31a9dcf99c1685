//! Described packets: what a frame says, from which its bytes are made with every checksum computed in
//! full. Nothing here is shared with the balancer.
//!
//! ```
//! use lb_tests::packet::{SYN, eth};
//! let frame = eth().ip([192, 0, 2, 7], [10, 99, 0, 1]).tcp(SYN, 40_000, 9000).payload(b"hello").bytes();
//! assert_eq!(frame.len(), 14 + 20 + 20 + 5);
//! ```

mod checksum;
#[cfg(test)]
mod tests;
mod write;

use std::net::IpAddr;

pub use checksum::{ones_sum, sum};

/// A link-layer address.
pub type Mac = [u8; 6];

/// TCP flags, the byte of the header.
pub const FIN: u8 = 0x01;
/// See [`FIN`].
pub const SYN: u8 = 0x02;
/// See [`FIN`].
pub const RST: u8 = 0x04;
/// See [`FIN`].
pub const PSH: u8 = 0x08;
/// See [`FIN`].
pub const ACK: u8 = 0x10;

/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// See [`ICMP`].
pub const TCP: u8 = 6;
/// See [`ICMP`].
pub const UDP: u8 = 17;
/// See [`ICMP`].
pub const ICMP6: u8 = 58;

/// IPv6 extension headers.
pub const HOP_BY_HOP: u8 = 0;
/// See [`HOP_BY_HOP`].
pub const ROUTING: u8 = 43;
/// See [`HOP_BY_HOP`].
pub const DESTINATION_OPTIONS: u8 = 60;

const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;

/// What a frame says. Made by [`eth`], changed by its methods, turned into bytes by
/// [`Packet::bytes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    source_mac: Mac,
    destination_mac: Mac,
    /// Announcing type and control word, outermost first.
    tags: Vec<(u16, u16)>,
    ether_type: Option<u16>,
    addresses: Option<(IpAddr, IpAddr)>,
    hops: u8,
    class: u8,
    /// IPv4: identification. IPv6: flow label, and identification of a fragment.
    label: u32,
    options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    /// Offset in units of 8 bytes, and whether more follow.
    fragment: Option<(u16, bool)>,
    transport: Transport,
    ports: (u16, u16),
    /// Options of a TCP header, in whole words.
    tcp_options: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp {
        flags: u8,
    },
    Udp {
        has_checksum: bool,
    },
    /// An ICMP or ICMPv6 message: type, code, and the four bytes after the checksum.
    Message {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    /// The payload is all there is.
    Other(u8),
}

/// A frame with nothing in it yet.
#[must_use]
pub fn eth() -> Packet {
    Packet {
        source_mac: [0x02, 0, 0, 0, 0, 0x0c],
        destination_mac: [0x02, 0, 0, 0, 0, 0x01],
        tags: Vec::new(),
        ether_type: None,
        addresses: None,
        hops: 64,
        class: 0,
        label: 0x1234,
        options: Vec::new(),
        extensions: Vec::new(),
        fragment: None,
        transport: Transport::Other(0),
        ports: (0, 0),
        tcp_options: Vec::new(),
        payload: Vec::new(),
    }
}

/// An ARP request for an IPv4 address.
#[must_use]
pub fn arp(target: [u8; 4]) -> Packet {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0x0c, 192, 0, 2, 7];
    body.extend([0; 6]);
    body.extend(target);
    eth()
        .macs([2, 0, 0, 0, 0, 0x0c], [0xff; 6])
        .raw(0x0806, &body)
}

impl Packet {
    /// Link-layer source and destination.
    #[must_use]
    pub fn macs(self, source_mac: Mac, destination_mac: Mac) -> Self {
        Self {
            source_mac,
            destination_mac,
            ..self
        }
    }

    /// One more 802.1Q tag, inside those there are.
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.tags.push((VLAN, id));
        self
    }

    /// A service tag (802.1ad) around a customer tag.
    #[must_use]
    pub fn qinq(mut self, outer: u16, inner: u16) -> Self {
        self.tags.extend([(QINQ, outer), (VLAN, inner)]);
        self
    }

    /// Something that is not IP.
    #[must_use]
    pub fn raw(self, ether_type: u16, body: &[u8]) -> Self {
        Self {
            ether_type: Some(ether_type),
            payload: body.to_owned(),
            ..self
        }
    }

    /// IP source and destination.
    ///
    /// # Panics
    /// If they are of two.
    #[must_use]
    pub fn ip(self, source: impl Address, destination: impl Address) -> Self {
        let addresses = (source.address(), destination.address());
        assert_eq!(addresses.0.is_ipv4(), addresses.1.is_ipv4(), "one family");
        Self {
            addresses: Some(addresses),
            ..self
        }
    }

    /// TTL or hop limit; 64 when not said.
    #[must_use]
    pub fn hops(self, hops: u8) -> Self {
        Self { hops, ..self }
    }

    /// Type of service or traffic class.
    #[must_use]
    pub fn class(self, class: u8) -> Self {
        Self { class, ..self }
    }

    /// IPv4: identification, the lower 16 bits. IPv6: flow label, and identification of a fragment.
    #[must_use]
    pub fn label(self, label: u32) -> Self {
        Self { label, ..self }
    }

    /// TCP options, in whole words.
    #[must_use]
    pub fn tcp_options(self, options: &[u8]) -> Self {
        assert!(
            options.len() <= 40 && options.len().is_multiple_of(4),
            "whole words"
        );
        Self {
            tcp_options: options.to_owned(),
            ..self
        }
    }

    /// The IP packet of another frame as what is carried.
    #[must_use]
    pub fn carrying(self, inner: &Self) -> Self {
        let from = 14 + 4 * inner.tags.len();
        self.payload(&inner.bytes()[from..])
    }

    /// The same packet one hop on.
    #[must_use]
    pub fn one_hop_on(self) -> Self {
        let hops = self.hops - 1;
        Self { hops, ..self }
    }

    /// Whether it is an IPv4 packet.
    #[must_use]
    pub fn is_v4(&self) -> bool {
        matches!(self.addresses, Some((IpAddr::V4(_), _)))
    }

    /// Type of service or traffic class.
    #[must_use]
    pub fn class_of(&self) -> u8 {
        self.class
    }

    /// IP protocol number, and source port.
    #[must_use]
    pub fn flow_of(&self) -> (u8, u16) {
        (self.protocol_number(), self.ports.0)
    }

    /// The tags of another frame.
    #[must_use]
    pub fn tagged_like(self, other: &Self) -> Self {
        Self {
            tags: other.tags.clone(),
            ..self
        }
    }

    /// IPv4 options, in whole words.
    #[must_use]
    pub fn options(self, options: &[u8]) -> Self {
        assert!(
            options.len() <= 40 && options.len().is_multiple_of(4),
            "whole words"
        );
        Self {
            options: options.to_owned(),
            ..self
        }
    }

    /// One more IPv6 extension header: its type, and its length in bytes, a multiple of 8.
    #[must_use]
    pub fn extension(mut self, kind: u8, length: usize) -> Self {
        assert!(
            (8..=2048).contains(&length) && length.is_multiple_of(8),
            "units of 8 bytes"
        );
        self.extensions.push((kind, vec![0; length]));
        self
    }

    /// A fragment at `offset` (in units of 8 bytes).
    #[must_use]
    pub fn fragment(self, offset: u16, more: bool) -> Self {
        Self {
            fragment: Some((offset, more)),
            ..self
        }
    }

    /// A TCP segment.
    #[must_use]
    pub fn tcp(self, flags: u8, source: u16, destination: u16) -> Self {
        Self {
            transport: Transport::Tcp { flags },
            ports: (source, destination),
            ..self
        }
    }

    /// A UDP datagram.
    #[must_use]
    pub fn udp(self, source: u16, destination: u16) -> Self {
        let transport = Transport::Udp { has_checksum: true };
        Self {
            transport,
            ports: (source, destination),
            ..self
        }
    }

    /// A UDP datagram whose checksum field says "none".
    #[must_use]
    pub fn without_checksum(self) -> Self {
        Self {
            transport: Transport::Udp {
                has_checksum: false,
            },
            ..self
        }
    }

    /// An ICMP message, for IPv6 an ICMPv6 message: type, code, and the four bytes after the checksum. The
    /// payload follows.
    #[must_use]
    pub fn message(self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        Self {
            transport: Transport::Message { kind, code, rest },
            ..self
        }
    }

    /// The fragments of this packet, each but the last with `length` bytes of it.
    ///
    /// # Panics
    /// If `length` is no multiple of 8.
    #[must_use]
    pub fn cut(&self, length: usize) -> Vec<Self> {
        assert!(length.is_multiple_of(8), "units of 8 bytes");
        let segment = self.segment();
        let pieces: Vec<_> = segment.chunks(length).collect();
        let last = pieces.len() - 1;
        let place = |index: usize| ((index * length / 8) as u16, index < last);
        pieces
            .iter()
            .enumerate()
            .map(|(index, piece)| Self {
                transport: Transport::Other(self.protocol_number()),
                payload: piece.to_vec(),
                fragment: Some(place(index)),
                ..self.clone()
            })
            .collect()
    }

    /// An IP packet of another protocol: its payload is all that follows.
    #[must_use]
    pub fn protocol(self, number: u8) -> Self {
        Self {
            transport: Transport::Other(number),
            ..self
        }
    }

    /// What the transport header carries.
    #[must_use]
    pub fn payload(self, payload: &[u8]) -> Self {
        Self {
            payload: payload.to_owned(),
            ..self
        }
    }

    /// Where it comes from.
    ///
    /// # Panics
    /// If it has no addresses.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.addresses.expect("an IP packet").0
    }

    /// The same packet from its destination to its source.
    #[must_use]
    pub fn answered(self) -> Self {
        Self {
            addresses: self
                .addresses
                .map(|(source, destination)| (destination, source)),
            ports: (self.ports.1, self.ports.0),
            ..self
        }
    }

    /// The same packet one hop on, with other addresses and ports.
    ///
    /// # Panics
    /// If it has no hop left, or an address is of another family.
    #[must_use]
    pub fn turned(
        self,
        (source, source_port): (impl Address, u16),
        (destination, destination_port): (impl Address, u16),
    ) -> Self {
        let hops = self.hops - 1;
        Self {
            ports: (source_port, destination_port),
            hops,
            ..self.ip(source, destination)
        }
    }
}

/// What can be meant as an address.
pub trait Address {
    /// The address.
    fn address(self) -> IpAddr;
}

impl<T: Into<IpAddr>> Address for T {
    fn address(self) -> IpAddr {
        self.into()
    }
}
