//! Turning an ICMP error: the packet it comes in one way, the packet it quotes the other.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{Rewrite, Tuple, addresses, pair, rewrite_addresses};
use crate::address::{V4, V6};
use crate::checksum::Delta;
use crate::frame::{Frame, IcmpHeader};
use crate::parse::{Error, Packet, UDP};

/// The part of turning an error that differs between the families.
pub trait RewriteQuote: Rewrite {
    /// The message's checksum is also over its addresses.
    const HAS_PSEUDO_HEADER: bool;

    /// Writes addresses of the quoted IP header, and its checksum if it has one. What all that changes in
    /// the sum over the message; `addresses` is the change of the addresses.
    fn quoted<F: Frame + ?Sized>(
        frame: &mut F,
        quote: &Packet<Self>,
        to: &Tuple<Self>,
        addresses: Delta,
    ) -> Option<Delta>;
}

/// Turns an error as an answer to the quoted packet is turned: `to` is what that answer would get. The
/// quoted packet becomes the one that its sender sent. Nothing only if the headers are no longer where
/// they were parsed.
#[inline(always)]
pub fn rewrite_error<A: RewriteQuote, F: Frame + ?Sized>(
    frame: &mut F,
    error: &Error<A>,
    to: &Tuple<A>,
) -> Option<()> {
    let outer = rewrite_addresses(frame, &error.message, to)?;
    let message = rewrite_quote(frame, error, &to.reversed())?;
    let message = if A::HAS_PSEUDO_HEADER {
        message.and(outer)
    } else {
        message
    };
    let icmp: &mut IcmpHeader = frame.header_mut(error.message.transport)?;
    icmp.checksum = message.apply(icmp.checksum);
    Some(())
}

/// Writes `to` into the quoted packet. What that changes in the sum over the message.
#[inline(always)]
fn rewrite_quote<A: RewriteQuote, F: Frame + ?Sized>(
    frame: &mut F,
    error: &Error<A>,
    to: &Tuple<A>,
) -> Option<Delta> {
    let quote = &error.quote;
    let addresses = addresses(quote, to);
    let header = A::quoted(frame, quote, to, addresses)?;
    let (before, after) = (
        pair(quote.source_port, quote.destination_port),
        pair(to.source_port, to.destination_port),
    );
    let ports: &mut [u8; 4] = frame.header_mut(quote.transport)?;
    *ports = after.to_ne_bytes();
    let message = header.word(before, after);
    if error.quoted_checksum == 0 {
        return Some(message);
    }
    let segment = addresses.word(before, after);
    let checksum: &mut [u8; 2] = frame.header_mut(error.quoted_checksum)?;
    let before = *checksum;
    *checksum = if quote.protocol == UDP {
        segment.apply_udp(before)
    } else {
        segment.apply(before)
    };
    Some(message.half_word(before, *checksum))
}

impl<A: Copy> Tuple<A> {
    /// Of a packet the other way.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

impl RewriteQuote for V4 {
    const HAS_PSEUDO_HEADER: bool = false;

    #[inline(always)]
    fn quoted<F: Frame + ?Sized>(
        frame: &mut F,
        quote: &Packet<Self>,
        to: &Tuple<Self>,
        addresses: Delta,
    ) -> Option<Delta> {
        let ip: &mut Ipv4Hdr = frame.header_mut(quote.network)?;
        let before = ip.check;
        ip.src_addr = to.source.to_bytes();
        ip.dst_addr = to.destination.to_bytes();
        ip.check = addresses.apply(before);
        Some(addresses.half_word(before, ip.check))
    }
}

impl RewriteQuote for V6 {
    const HAS_PSEUDO_HEADER: bool = true;

    #[inline(always)]
    fn quoted<F: Frame + ?Sized>(
        frame: &mut F,
        quote: &Packet<Self>,
        to: &Tuple<Self>,
        addresses: Delta,
    ) -> Option<Delta> {
        let ip: &mut Ipv6Hdr = frame.header_mut(quote.network)?;
        ip.src_addr = to.source.to_bytes();
        ip.dst_addr = to.destination.to_bytes();
        Some(addresses)
    }
}
