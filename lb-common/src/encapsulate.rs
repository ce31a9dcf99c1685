//! A packet in a tunnel: an outer IP header before it, in mode `gue` a UDP header between.
//!
//! ```text
//!  link layer │ outer IPv4 or IPv6 │ (UDP) │ the client's packet, one hop on
//! ```
//! Traffic class and congestion bits are copied out (RFC 6040, normal mode), the hop limit is
//! [`HOPS`], an IPv4 tunnel's packet is never a fragment and may not become one.
//!
//! In mode `gue` the client's packet follows the UDP header at once (variant 1 of
//! draft-ietf-intarea-gue-09), because its first four bits say whether it is IPv4 or IPv6: four bytes
//! less than variant 0, and Linux decapsulates both (`ip fou add port N gue`). The UDP checksum is zero:
//! the client's packet has its own, and summing all of it is what a tunnel is spared by RFC 6935; Linux
//! takes such packets over IPv6 too, on the sockets of `fou`. The source port is the flow's own, so
//! that routers and the endpoint's host spread flows.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::address::{Address, V4, V6};
use crate::checksum::{Sum, one_hop_on};
use crate::frame::{Bytes, Elastic, Frame, link_layer};
use crate::parse::{ETHER_IPV4, ETHER_IPV6, Packet, UDP};
use crate::record::{Endpoint, mode};

/// IP protocol number of IPv4 in IP.
pub const IPV4_IN_IP: u8 = 4;
/// IP protocol number of IPv6 in IP.
pub const IPV6_IN_IP: u8 = 41;
/// Hop limit of outer headers.
pub const HOPS: u8 = 64;
/// Bytes of a UDP header.
const UDP_LENGTH: usize = 8;
/// Flags of an IPv4 header that is no fragment and may not become one.
const DO_NOT_FRAGMENT: u8 = 0x40;
/// The first of the ports that flows' tunnels come from: dynamic ports (RFC 6335).
const FIRST_SOURCE_PORT: u16 = 0xc000;

/// What a packet that is carried as it is loses and shows.
pub trait Inner: Address {
    /// Its IP protocol number in a tunnel.
    const PROTOCOL: u8;

    /// Takes one hop off the packet; its traffic class, or nothing if the header is gone.
    fn carry<F: Frame + ?Sized>(frame: &mut F, packet: &Packet<Self>) -> Option<u8>;
}

impl Inner for V4 {
    const PROTOCOL: u8 = IPV4_IN_IP;

    #[inline(always)]
    fn carry<F: Frame + ?Sized>(frame: &mut F, packet: &Packet<Self>) -> Option<u8> {
        let ip: &mut Ipv4Hdr = frame.header_mut(packet.network)?;
        ip.ttl = ip.ttl.wrapping_sub(1);
        ip.check = one_hop_on(ip.check);
        Some(ip.tos)
    }
}

impl Inner for V6 {
    const PROTOCOL: u8 = IPV6_IN_IP;

    #[inline(always)]
    fn carry<F: Frame + ?Sized>(frame: &mut F, packet: &Packet<Self>) -> Option<u8> {
        let ip: &mut Ipv6Hdr = frame.header_mut(packet.network)?;
        ip.hop_limit = ip.hop_limit.wrapping_sub(1);
        let [first, second, ..] = ip.vcf;
        Some(first << 4 | second >> 4)
    }
}

/// What a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Offset of its IP header in the frame, before there is another.
    pub network: usize,
    /// Length of the IP packet in bytes.
    pub length: u16,
    /// Its traffic class.
    pub class: u8,
    /// [`Inner::PROTOCOL`].
    pub protocol: u8,
    /// [`crate::hash::flow`].
    pub hash: u64,
}

/// A tunnel's family.
pub trait Outer: Address {
    /// Bytes of its header.
    const LENGTH: usize;
    /// What announces it at the link layer.
    const ETHER_TYPE: u16;

    /// Writes the header, `length` bytes of `protocol` following it.
    fn write<F: Frame + ?Sized>(
        frame: &mut F,
        load: &Load,
        endpoint: &Endpoint,
        protocol: u8,
        length: u16,
    ) -> Option<()>;
}

/// Bytes that a tunnel to the endpoint adds.
#[inline(always)]
pub const fn overhead<O: Outer>(endpoint: &Endpoint) -> usize {
    if endpoint.mode == mode::GUE {
        O::LENGTH + UDP_LENGTH
    } else {
        O::LENGTH
    }
}

/// The sum of an outer IPv4 header without its first word and without what the flow's hash adds to its
/// source. `protocol` is that of what follows the header: see [`Endpoint::base`].
pub const fn base(source: V4, destination: V4, protocol: u8) -> u32 {
    Sum::NONE
        .word(u32::from_ne_bytes([0, 0, DO_NOT_FRAGMENT, 0]))
        .word(u32::from_ne_bytes([HOPS, protocol, 0, 0]))
        .word(source.0)
        .word(destination.0)
        .folded() as u32
}

/// Puts a packet into the tunnel to its endpoint. Nothing only if the frame has no room before it.
#[inline(always)]
pub fn encapsulate<O: Outer, F: Elastic + ?Sized>(
    frame: &mut F,
    load: &Load,
    endpoint: &Endpoint,
) -> Option<()> {
    let added = overhead::<O>(endpoint);
    frame.grow(added)?;
    link_layer(frame, load.network, added, O::ETHER_TYPE)?;
    if endpoint.mode == mode::GUE {
        let length = load.length.wrapping_add(UDP_LENGTH as u16);
        O::write(frame, load, endpoint, UDP, length)?;
        let udp: &mut Bytes<UDP_LENGTH> = frame.header_mut(load.network + O::LENGTH)?;
        let [a, b] = (FIRST_SOURCE_PORT | (load.hash >> 48) as u16).to_be_bytes();
        let [c, d] = endpoint.tunnel_port.to_be_bytes();
        let [e, f] = length.to_be_bytes();
        udp.0 = [a, b, c, d, e, f, 0, 0];
        Some(())
    } else {
        O::write(frame, load, endpoint, load.protocol, load.length)
    }
}

impl Outer for V4 {
    const LENGTH: usize = 20;
    const ETHER_TYPE: u16 = ETHER_IPV4;

    #[inline(always)]
    fn write<F: Frame + ?Sized>(
        frame: &mut F,
        load: &Load,
        endpoint: &Endpoint,
        protocol: u8,
        length: u16,
    ) -> Option<()> {
        let [high, low] = length.wrapping_add(Self::LENGTH as u16).to_be_bytes();
        let first = u32::from_ne_bytes([0x45, load.class, high, low]);
        let spread = (load.hash >> 32) as u32 & endpoint.spread;
        let [c, d] = Sum::NONE
            .word(endpoint.base)
            .word(first)
            .word(spread)
            .checksum();
        let source = Self::from_wide(endpoint.source).0 | spread;
        let header: &mut Bytes<{ Self::LENGTH }> = frame.header_mut(load.network)?;
        let hops = u32::from_ne_bytes([HOPS, protocol, c, d]);
        let fragment = u32::from_ne_bytes([0, 0, DO_NOT_FRAGMENT, 0]);
        let [one, two] = [pair(first, fragment), pair(hops, source)];
        let destination = Self::from_wide(endpoint.address).to_bytes();
        header.0[..8].copy_from_slice(&one);
        header.0[8..16].copy_from_slice(&two);
        header.0[16..].copy_from_slice(&destination);
        Some(())
    }
}

impl Outer for V6 {
    const LENGTH: usize = 40;
    const ETHER_TYPE: u16 = ETHER_IPV6;

    #[inline(always)]
    fn write<F: Frame + ?Sized>(
        frame: &mut F,
        load: &Load,
        endpoint: &Endpoint,
        protocol: u8,
        length: u16,
    ) -> Option<()> {
        // The flow label, so that routers which look no further than this header spread flows.
        let label = (load.hash >> 32) as u32 & 0xf_ffff;
        let first = (6 << 28 | (load.class as u32) << 20 | label).to_be();
        let [high, low] = length.to_be_bytes();
        let second = u32::from_ne_bytes([high, low, protocol, HOPS]);
        let spread = (load.hash >> 32) as u32 & endpoint.spread;
        let [net, host] = endpoint.source;
        let [a, b] = endpoint.address;
        let header: &mut Bytes<{ Self::LENGTH }> = frame.header_mut(load.network)?;
        let words = [
            pair(first, second),
            net.to_ne_bytes(),
            (host | (spread as u64) << 32).to_ne_bytes(),
            a.to_ne_bytes(),
            b.to_ne_bytes(),
        ];
        for (i, word) in words.iter().enumerate() {
            header.0[8 * i..8 * i + 8].copy_from_slice(word);
        }
        Some(())
    }
}

/// Two words as the bytes they are in memory.
#[inline(always)]
const fn pair(first: u32, second: u32) -> [u8; 8] {
    (first as u64 | (second as u64) << 32).to_ne_bytes()
}

#[cfg(test)]
mod tests;
