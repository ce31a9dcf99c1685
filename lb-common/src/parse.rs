//! Frame → [`Packet`]: where its headers are and what they say.
//!
//! A packet that is not understood in full is passed, with the reason: only a packet known to be for a
//! service may be touched.

mod message;
mod part;

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
};

use crate::address::{Address, V4, V6};
use crate::frame::{Ethernet, Extension, Frame, VlanTag};
use crate::limits::{EXTENSION_HEADERS, VLAN_TAGS};
use crate::verdict::Reason;
use crate::verifier::obscure;

pub use message::{Error, Message, Messages};
pub use part::{Part, Parts};

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of ICMPv6.
pub const ICMP6: u8 = 58;

/// What announces IPv4 at the link layer.
pub const ETHER_IPV4: u16 = 0x0800;
/// What announces IPv6 at the link layer.
pub const ETHER_IPV6: u16 = 0x86dd;
/// Version 4, and a header of five words: no options.
const PLAIN_VIHL: u8 = 0x45;
const ETHER_VLAN: u16 = 0x8100;
const ETHER_QINQ: u16 = 0x88a8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// No offset of an IP header is larger: 14 bytes of Ethernet and two tags. A mask.
pub const MAX_NETWORK: usize = 0x1f;
/// No offset of a transport header is larger: four extension headers of 2 KiB. A mask.
const MAX_TRANSPORT: usize = 0x3fff;

/// What the link layer carries, and from which byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 header at this offset.
    V4(usize),
    /// IPv6 header at this offset.
    V6(usize),
}

/// A TCP or UDP packet, whole and not a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<A> {
    /// Offset of the IP header in the frame.
    pub network: usize,
    /// Offset of the TCP or UDP header in the frame.
    pub transport: usize,
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// Signals of a TCP header; none for UDP.
    pub signals: Signals,
    /// TTL or hop limit.
    pub hops: u8,
    /// Length of the IP packet in bytes, its header included.
    pub length: u16,
}

/// The TCP flags that open and end a flow, as the header has them (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals(u8);

impl Signals {
    /// None set: data or a bare acknowledgement.
    pub const NONE: Self = Self(0);
    /// One side has finished.
    pub const FIN: Self = Self(1);
    /// A client opens: see [`Signals::opens`].
    pub const SYN: Self = Self(1 << 1);
    /// One side has given up.
    pub const RST: Self = Self(1 << 2);
    const ACK: Self = Self(1 << 4);

    /// SYN without ACK or RST.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0 | Self::RST.0) == Self::SYN.0
    }

    /// FIN is set.
    #[inline(always)]
    pub const fn finishes(self) -> bool {
        self.0 & Self::FIN.0 != 0
    }

    /// RST is set.
    #[inline(always)]
    pub const fn resets(self) -> bool {
        self.0 & Self::RST.0 != 0
    }

    /// Neither SYN nor FIN nor RST: most packets tell nothing of their flow but that it lives.
    #[inline(always)]
    pub const fn are_none(self) -> bool {
        self.0 & (Self::SYN.0 | Self::FIN.0 | Self::RST.0) == 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline(always)]
    fn of(tcp: &TcpHdr) -> Self {
        const FLAGS: usize = 8;
        Self(tcp._bitfield_1.get(FLAGS, 8) as u8)
    }
}

/// The part of parsing that differs between the families.
pub trait Parse: Address {
    /// Parses the IP and transport headers; the IP header stands at `offset`.
    ///
    /// # Errors
    /// A reason whose verdict is to pass.
    #[inline(always)]
    fn parse<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<Packet<Self>, Reason> {
        Self::parse_as::<false, F>(frame, offset)
    }

    /// The same; where `PLAIN` of a packet without IPv4 options or IPv6 extension headers only. Then all offsets
    /// are constants, which saves a packet of IPv6 one instruction in ten, one of IPv4 about half as many.
    ///
    /// # Errors
    /// As there; [`Reason::NotPlain`].
    fn parse_as<const PLAIN: bool, F: Frame + ?Sized>(
        frame: &F,
        offset: usize,
    ) -> Result<Packet<Self>, Reason>;
}

/// Finds the IP header behind at most [`VLAN_TAGS`] tags.
///
/// # Errors
/// [`Reason::Truncated`] or [`Reason::NotIp`].
#[inline(always)]
pub fn network<F: Frame + ?Sized>(frame: &F) -> Result<Network, Reason> {
    network_as::<false, F>(frame)
}

/// The same; where `PLAIN` of a frame without tags only: see [`Parse::parse_as`].
///
/// # Errors
/// As there; [`Reason::NotPlain`].
#[inline(always)]
pub fn network_as<const PLAIN: bool, F: Frame + ?Sized>(frame: &F) -> Result<Network, Reason> {
    let ethernet: &Ethernet = frame.header(0).ok_or(Reason::Truncated)?;
    if PLAIN {
        return match u16::from_be_bytes(ethernet.ether_type) {
            ETHER_IPV4 => Ok(Network::V4(size_of::<Ethernet>())),
            ETHER_IPV6 => Ok(Network::V6(size_of::<Ethernet>())),
            ETHER_VLAN | ETHER_QINQ => Err(Reason::NotPlain),
            _ => Err(Reason::NotIp),
        };
    }
    let mut ether_type = u16::from_be_bytes(ethernet.ether_type);
    let mut offset = size_of::<Ethernet>();
    for _ in 0..VLAN_TAGS {
        if ether_type != ETHER_VLAN && ether_type != ETHER_QINQ {
            break;
        }
        let tag: &VlanTag = frame.header(offset).ok_or(Reason::Truncated)?;
        ether_type = u16::from_be_bytes(tag.ether_type);
        offset += size_of::<VlanTag>();
    }
    let [.., noise] = ethernet.source;
    let offset = obscure(offset, noise as u64) & MAX_NETWORK;
    match ether_type {
        ETHER_IPV4 => Ok(Network::V4(offset)),
        ETHER_IPV6 => Ok(Network::V6(offset)),
        _ => Err(Reason::NotIp),
    }
}

impl Parse for V4 {
    #[inline(always)]
    fn parse_as<const PLAIN: bool, F: Frame + ?Sized>(
        frame: &F,
        offset: usize,
    ) -> Result<Packet<Self>, Reason> {
        let ip: &Ipv4Hdr = frame.header(offset).ok_or(Reason::Truncated)?;
        if PLAIN && ip.vihl != PLAIN_VIHL {
            return Err(Reason::NotPlain);
        }
        let header_length = if PLAIN {
            size_of::<Ipv4Hdr>()
        } else {
            ((ip.vihl & 0x0f) as usize) << 2
        };
        let length = u16::from_be_bytes(ip.tot_len);
        if ip.vihl >> 4 != 4 || header_length < size_of::<Ipv4Hdr>() {
            return Err(Reason::Malformed);
        }
        let (protocol, hops) = (ip.proto, ip.ttl);
        let (source, destination) = (Self::from_bytes(ip.src_addr), Self::from_bytes(ip.dst_addr));
        // More-fragments bit or an offset (RFC 791): all but "don't fragment".
        let fragment = u16::from_be_bytes(ip.frags) & 0x3fff != 0;
        if protocol != TCP && protocol != UDP {
            return Err(Reason::OtherProtocol);
        }
        if fragment {
            return Err(Reason::Fragment);
        }
        let transport = offset + header_length;
        let ports = ports(frame, transport, protocol)?;
        if (length as usize) < header_length + transport_length(protocol) {
            return Err(Reason::Malformed);
        }
        Ok(packet(
            offset,
            transport,
            protocol,
            hops,
            length,
            source,
            destination,
            ports,
        ))
    }
}

impl Parse for V6 {
    #[inline(always)]
    fn parse_as<const PLAIN: bool, F: Frame + ?Sized>(
        frame: &F,
        offset: usize,
    ) -> Result<Packet<Self>, Reason> {
        let ip: &Ipv6Hdr = frame.header(offset).ok_or(Reason::Truncated)?;
        if ip.vcf[0] >> 4 != 6 {
            return Err(Reason::Malformed);
        }
        let hops = ip.hop_limit;
        let (source, destination) = (Self::from_bytes(ip.src_addr), Self::from_bytes(ip.dst_addr));
        let payload = u16::from_be_bytes(ip.payload_len);
        if PLAIN && matches!(ip.next_hdr, HOP_BY_HOP | DESTINATION_OPTIONS) {
            return Err(Reason::NotPlain);
        }
        let (protocol, transport) = if PLAIN {
            (ip.next_hdr, offset + size_of::<Ipv6Hdr>())
        } else {
            behind_extensions(frame, ip.next_hdr, offset)?
        };
        match protocol {
            TCP | UDP => {}
            FRAGMENT => return Err(Reason::Fragment),
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING | AUTHENTICATION => {
                return Err(Reason::ExtensionHeader);
            }
            _ => return Err(Reason::OtherProtocol),
        }
        let transport = if PLAIN {
            transport
        } else {
            obscure(transport, source.0[1]) & MAX_TRANSPORT
        };
        let ports = ports(frame, transport, protocol)?;
        let needed = transport - offset - size_of::<Ipv6Hdr>() + transport_length(protocol);
        // A jumbogram says 0 here (RFC 2675); no link of ours carries one.
        if (payload as usize) < needed {
            return Err(Reason::Malformed);
        }
        let length = payload.saturating_add(size_of::<Ipv6Hdr>() as u16);
        Ok(packet(
            offset,
            transport,
            protocol,
            hops,
            length,
            source,
            destination,
            ports,
        ))
    }
}

/// Number and offset of the first header that is not an extension header looked through. The IPv6
/// header stands at `offset`, and `protocol` is what it says follows.
#[inline(always)]
fn behind_extensions<F: Frame + ?Sized>(
    frame: &F,
    mut protocol: u8,
    offset: usize,
) -> Result<(u8, usize), Reason> {
    let mut transport = offset + size_of::<Ipv6Hdr>();
    for _ in 0..EXTENSION_HEADERS {
        if protocol != HOP_BY_HOP && protocol != DESTINATION_OPTIONS {
            break;
        }
        let extension: &Extension = frame.header(transport).ok_or(Reason::Truncated)?;
        protocol = extension.next_header;
        transport += 8 + ((extension.length as usize) << 3);
    }
    Ok((protocol, transport))
}

/// What a transport header says.
#[derive(Clone, Copy)]
struct Ports {
    // Wide, or all of it would be packed into one register and unpacked again.
    source: u64,
    destination: u64,
    signals: Signals,
}

impl Ports {
    const NONE: Self = Self {
        source: 0,
        destination: 0,
        signals: Signals::NONE,
    };
}

#[inline(always)]
fn ports<F: Frame + ?Sized>(frame: &F, offset: usize, protocol: u8) -> Result<Ports, Reason> {
    if protocol == TCP {
        let tcp: &TcpHdr = frame.header(offset).ok_or(Reason::Truncated)?;
        Ok(Ports {
            source: u16::from_be_bytes(tcp.source) as u64,
            destination: u16::from_be_bytes(tcp.dest) as u64,
            signals: Signals::of(tcp),
        })
    } else {
        let udp: &UdpHdr = frame.header(offset).ok_or(Reason::Truncated)?;
        Ok(Ports {
            source: u16::from_be_bytes(udp.src) as u64,
            destination: u16::from_be_bytes(udp.dst) as u64,
            signals: Signals::NONE,
        })
    }
}

#[inline(always)]
const fn transport_length(protocol: u8) -> usize {
    if protocol == TCP {
        size_of::<TcpHdr>()
    } else {
        size_of::<UdpHdr>()
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "the fields of one struct, from two families"
)]
#[inline(always)]
fn packet<A>(
    network: usize,
    transport: usize,
    protocol: u8,
    hops: u8,
    length: u16,
    source: A,
    destination: A,
    ports: Ports,
) -> Packet<A> {
    Packet {
        network,
        transport,
        source,
        destination,
        source_port: ports.source as u16,
        destination_port: ports.destination as u16,
        protocol,
        signals: ports.signals,
        hops,
        length,
    }
}

#[cfg(test)]
mod tests;
