//! Turning a packet: addresses, ports, hop count and checksums. Nothing else of it changes.

mod echo;
mod error;

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
};

use crate::address::{Address, V4, V6};
use crate::checksum::Delta;
use crate::frame::Frame;
use crate::parse::{Packet, TCP};

pub use echo::{RewriteEcho, rewrite_echo};
pub use error::{RewriteQuote, rewrite_error};

/// What a packet's addresses and ports become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
}

/// The part of rewriting that differs between the families.
pub trait Rewrite: Address {
    /// Writes addresses and hop count of the IP header at `offset`, and its checksum if it has one.
    fn network<F: Frame + ?Sized>(
        frame: &mut F,
        packet: &Packet<Self>,
        to: &Tuple<Self>,
        addresses: Delta,
    ) -> Option<()>;
}

/// Writes `to` into the packet and takes one hop off it. Nothing only if the headers are no longer
/// where they were parsed.
#[inline(always)]
pub fn rewrite<A: Rewrite, F: Frame + ?Sized>(
    frame: &mut F,
    packet: &Packet<A>,
    to: &Tuple<A>,
) -> Option<()> {
    rewrite_by(frame, packet, to, addresses(packet, to))
}

/// As [`rewrite`], where the change of the addresses is known: [`towards_endpoint`], [`towards_client`].
#[inline(always)]
pub fn rewrite_by<A: Rewrite, F: Frame + ?Sized>(
    frame: &mut F,
    packet: &Packet<A>,
    to: &Tuple<A>,
    addresses: Delta,
) -> Option<()> {
    A::network(frame, packet, to, addresses)?;
    let ports = addresses.word(
        pair(packet.source_port, packet.destination_port),
        pair(to.source_port, to.destination_port),
    );
    if packet.protocol == TCP {
        let tcp: &mut TcpHdr = frame.header_mut(packet.transport)?;
        tcp.source = to.source_port.to_be_bytes();
        tcp.dest = to.destination_port.to_be_bytes();
        tcp.check = ports.apply(tcp.check);
    } else {
        let udp: &mut UdpHdr = frame.header_mut(packet.transport)?;
        udp.src = to.source_port.to_be_bytes();
        udp.dst = to.destination_port.to_be_bytes();
        udp.check = ports.apply_udp(udp.check);
    }
    Some(())
}

/// Writes `to` into the packet and takes one hop off it, but leaves its transport checksum to the caller,
/// who knows whether it is finished: the change of the addresses, and that of the ports.
#[inline(always)]
pub fn rewrite_unsummed<A: Rewrite, F: Frame + ?Sized>(
    frame: &mut F,
    packet: &Packet<A>,
    to: &Tuple<A>,
) -> Option<(Delta, Delta)> {
    let addresses = rewrite_addresses(frame, packet, to)?;
    let (before, after) = (
        pair(packet.source_port, packet.destination_port),
        pair(to.source_port, to.destination_port),
    );
    let ports: &mut [u8; 4] = frame.header_mut(packet.transport)?;
    *ports = after.to_ne_bytes();
    Some((addresses, Delta::NONE.word(before, after)))
}

/// Writes the addresses alone and takes one hop off: all there is to turn of a later fragment. The change
/// of the addresses.
#[inline(always)]
pub fn rewrite_addresses<A: Rewrite, F: Frame + ?Sized>(
    frame: &mut F,
    packet: &Packet<A>,
    to: &Tuple<A>,
) -> Option<Delta> {
    let addresses = addresses(packet, to);
    A::network(frame, packet, to, addresses)?;
    Some(addresses)
}

/// What changes in a checksum when a service's address gives way to an endpoint's and the node's, apart from
/// the client's: [`crate::record::Endpoint::base`] in mode `nat`. Half of the words need no adding up for each
/// packet.
pub fn base<A: Address>(service: A, source: A, endpoint: A) -> u16 {
    let mut base = Delta::NONE;
    for i in 0..A::WORDS {
        base = base
            .without(service.word(i))
            .with(source.word(i))
            .with(endpoint.word(i));
    }
    base.folded()
}

/// The change of the addresses of a client's packet that goes to an endpoint with this [`base`].
#[inline(always)]
pub fn towards_endpoint<A: Address>(client: A, base: u16) -> Delta {
    (0..A::WORDS).fold(Delta::of(base), |sum, i| sum.without(client.word(i)))
}

/// The change of the addresses of an endpoint's packet that goes to a client.
#[inline(always)]
pub fn towards_client<A: Address>(client: A, base: u16) -> Delta {
    (0..A::WORDS).fold(Delta::opposite(base), |sum, i| sum.with(client.word(i)))
}

#[inline(always)]
fn addresses<A: Address>(packet: &Packet<A>, to: &Tuple<A>) -> Delta {
    let mut addresses = Delta::NONE;
    for i in 0..A::WORDS {
        addresses = addresses
            .word(packet.source.word(i), to.source.word(i))
            .word(packet.destination.word(i), to.destination.word(i));
    }
    addresses
}

/// Both ports as the word they are in the packet.
#[inline(always)]
const fn pair(source: u16, destination: u16) -> u32 {
    ((source as u32) << 16 | destination as u32).to_be()
}

impl Rewrite for V4 {
    #[inline(always)]
    fn network<F: Frame + ?Sized>(
        frame: &mut F,
        packet: &Packet<Self>,
        to: &Tuple<Self>,
        addresses: Delta,
    ) -> Option<()> {
        let ip: &mut Ipv4Hdr = frame.header_mut(packet.network)?;
        let hops = addresses.and(Delta::ONE_HOP);
        ip.ttl = ip.ttl.wrapping_sub(1);
        ip.src_addr = to.source.to_bytes();
        ip.dst_addr = to.destination.to_bytes();
        ip.check = hops.apply(ip.check);
        Some(())
    }
}

impl Rewrite for V6 {
    #[inline(always)]
    fn network<F: Frame + ?Sized>(
        frame: &mut F,
        packet: &Packet<Self>,
        to: &Tuple<Self>,
        _addresses: Delta,
    ) -> Option<()> {
        let ip: &mut Ipv6Hdr = frame.header_mut(packet.network)?;
        ip.hop_limit = ip.hop_limit.wrapping_sub(1);
        ip.src_addr = to.source.to_bytes();
        ip.dst_addr = to.destination.to_bytes();
        Some(())
    }
}

#[cfg(test)]
mod tests;
