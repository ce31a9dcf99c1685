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
    let addresses = rewrite_addresses(frame, packet, to)?;
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
        let word = |ttl: u8| u32::from_ne_bytes([ttl, ip.proto, 0, 0]);
        let hops = addresses.word(word(ip.ttl), word(ip.ttl.wrapping_sub(1)));
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
