//! ICMP and ICMPv6 messages that concern services: errors about a flow, and echo requests.

use super::part::Parts;
use super::{ICMP, ICMP6, Packet, Signals, TCP, UDP};
use crate::address::{Address, V4, V6};
use crate::frame::{Frame, IcmpHeader};
use crate::verdict::Reason;

/// From the beginning of an error to the packet it quotes.
const QUOTE: usize = 8;
/// What an error quotes of the transport header at least (RFC 792).
const QUOTED: usize = 8;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<A> {
    /// Asks for an echo, in a packet without options: the packet, its `transport` the message.
    EchoRequest(Packet<A>),
    /// Says what became of a packet.
    Error(Error<A>),
}

/// An error about a TCP or UDP packet, sent to who sent that packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error<A> {
    /// The packet it comes in, its `transport` the message.
    pub message: Packet<A>,
    /// The quoted packet; of its transport header only the ports are there for certain.
    pub quote: Packet<A>,
    /// Offset of the quoted transport checksum; 0 if the quote ends before.
    pub quoted_checksum: usize,
}

impl<A: Address> Error<A> {
    /// The packet that would answer the quoted one, in the place of the error: the error goes where
    /// that one would.
    #[inline(always)]
    pub fn answer(&self) -> Packet<A> {
        Packet {
            source: self.quote.destination,
            destination: self.quote.source,
            source_port: self.quote.destination_port,
            destination_port: self.quote.source_port,
            protocol: self.quote.protocol,
            signals: Signals::NONE,
            ..self.message
        }
    }
}

/// What differs between ICMP and ICMPv6.
pub trait Messages: Parts {
    /// IP protocol number.
    const PROTOCOL: u8;
    /// Type of an echo request.
    const ECHO_REQUEST: u8;
    /// Type of an echo reply.
    const ECHO_REPLY: u8;
    /// Length of the IP header without anything optional.
    const HEADER: usize;

    /// A message of this type is an error that quotes a packet.
    fn is_error(kind: u8) -> bool;

    /// Parses a message; the IP header stands at `offset`.
    ///
    /// # Errors
    /// A reason whose verdict is to pass.
    #[inline(always)]
    fn message<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<Message<Self>, Reason> {
        let part = Self::part(frame, offset)?;
        let message = part.packet;
        if message.protocol != Self::PROTOCOL || !part.is_whole() {
            return Err(Reason::OtherProtocol);
        }
        let icmp: &IcmpHeader = frame.header(message.transport).ok_or(Reason::Truncated)?;
        if Self::is_error(icmp.kind) {
            return error(frame, message).map(Message::Error);
        }
        let is_plain = message.transport - message.network == Self::HEADER;
        if icmp.kind == Self::ECHO_REQUEST && icmp.code == 0 && is_plain {
            return Ok(Message::EchoRequest(message));
        }
        Err(Reason::OtherProtocol)
    }
}

#[inline(always)]
fn error<A: Messages, F: Frame + ?Sized>(
    frame: &F,
    message: Packet<A>,
) -> Result<Error<A>, Reason> {
    let part = A::part(frame, message.transport + QUOTE).map_err(|_| Reason::UnclearQuote)?;
    let quote = part.packet;
    let end = message.network + message.length as usize;
    if !part.is_first() || quote.transport + QUOTED > end {
        return Err(Reason::UnclearQuote);
    }
    let checksum = match quote.protocol {
        TCP => quote.transport + 16,
        UDP => quote.transport + 6,
        _ => return Err(Reason::UnrelatedError),
    };
    let ports: &[u8; 4] = frame.header(quote.transport).ok_or(Reason::UnclearQuote)?;
    let [a, b, c, d] = *ports;
    if quote.source != message.destination {
        return Err(Reason::UnrelatedError);
    }
    let is_quoted = checksum + 2 <= end && frame.header::<[u8; 2]>(checksum).is_some();
    Ok(Error {
        message,
        quote: Packet {
            source_port: u16::from_be_bytes([a, b]),
            destination_port: u16::from_be_bytes([c, d]),
            ..quote
        },
        quoted_checksum: if is_quoted { checksum } else { 0 },
    })
}

impl Messages for V4 {
    const PROTOCOL: u8 = ICMP;
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;
    const HEADER: usize = 20;

    /// Unreachable, time exceeded, parameter problem (RFC 792). Not source quench, which is obsolete
    /// (RFC 6633), and not redirect, which is for the node itself.
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }
}

impl Messages for V6 {
    const PROTOCOL: u8 = ICMP6;
    const ECHO_REQUEST: u8 = 128;
    const ECHO_REPLY: u8 = 129;
    const HEADER: usize = 40;

    /// Unreachable, packet too big, time exceeded, parameter problem (RFC 4443).
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }
}
