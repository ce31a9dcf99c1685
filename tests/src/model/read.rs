//! What a frame says, read from a slice.

use std::net::{IpAddr, SocketAddr};

use lb_common::verdict::Reason;

use crate::packet::{ACK, FIN, RST, SYN, TCP, UDP};

/// A TCP or UDP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where the IP header stands.
    pub network: usize,
    /// Where the transport header stands.
    pub transport: usize,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hops: u8,
    /// Bytes of the IP packet, as its header says.
    pub length: u16,
    flags: u8,
}

impl Read {
    /// SYN without ACK or RST.
    #[must_use]
    pub fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST) == SYN
    }

    /// SYN, whatever else.
    #[must_use]
    pub fn has_syn(&self) -> bool {
        self.flags & SYN != 0
    }

    /// FIN.
    #[must_use]
    pub fn finishes(&self) -> bool {
        self.flags & FIN != 0
    }

    /// RST.
    #[must_use]
    pub fn resets(&self) -> bool {
        self.flags & RST != 0
    }

    /// Where the transport checksum stands.
    #[must_use]
    pub fn checksum(&self) -> usize {
        self.transport + if self.protocol == TCP { 16 } else { 6 }
    }
}

/// Where the IP header stands, and what kind of header it is.
pub(super) fn network(frame: &[u8]) -> Result<(u16, usize), Reason> {
    let mut ether_type = word(frame, 12)?;
    let mut network = 14;
    for _ in 0..2 {
        if matches!(ether_type, 0x8100 | 0x88a8) {
            ether_type = word(frame, network + 2)?;
            network += 4;
        }
    }
    Ok((ether_type, network))
}

/// Reads a frame.
///
/// # Errors
/// Why it is left alone.
pub fn read(frame: &[u8]) -> Result<Read, Reason> {
    let (ether_type, network) = network(frame)?;
    match ether_type {
        0x0800 => ipv4(frame, network),
        0x86dd => ipv6(frame, network),
        _ => Err(Reason::NotIp),
    }
}

fn ipv4(frame: &[u8], network: usize) -> Result<Read, Reason> {
    let ip = part(frame, network, 20)?;
    let (version, header) = (ip[0] >> 4, usize::from(ip[0] & 15) * 4);
    if version != 4 || header < 20 {
        return Err(Reason::Malformed);
    }
    let protocol = ip[9];
    if protocol != TCP && protocol != UDP {
        return Err(Reason::OtherProtocol);
    }
    let (more, offset) = (ip[6] & 0x20 != 0, word(ip, 6)? & 0x1fff);
    if more || offset != 0 {
        return Err(Reason::Fragment);
    }
    let address =
        |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap_or_default());
    let addresses = (address(12), address(16));
    let length = word(ip, 2)?;
    transport(
        frame,
        (network, network + header),
        addresses,
        (protocol, ip[8]),
        length,
        length,
    )
}

fn ipv6(frame: &[u8], network: usize) -> Result<Read, Reason> {
    let ip = part(frame, network, 40)?;
    if ip[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    let mut protocol = ip[6];
    let mut at = network + 40;
    let mut skipped = 0;
    while matches!(protocol, 0 | 60) && skipped < 4 {
        let extension = part(frame, at, 2)?;
        protocol = extension[0];
        at += (usize::from(extension[1]) + 1) * 8;
        skipped += 1;
    }
    match protocol {
        TCP | UDP => {}
        44 => return Err(Reason::Fragment),
        0 | 43 | 51 | 60 => return Err(Reason::ExtensionHeader),
        _ => return Err(Reason::OtherProtocol),
    }
    let address =
        |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap_or_default());
    let addresses = (address(8), address(24));
    let payload = word(ip, 4)?;
    // The IP packet's whole length, as far as 16 bits can say it, and what it says without wrapping.
    let length = payload.saturating_add(40);
    transport(
        frame,
        (network, at),
        addresses,
        (protocol, ip[7]),
        length,
        payload,
    )
}

/// `said` is the length the IP header gives: for IPv4 with its own header, for IPv6 without.
pub(super) fn transport(
    frame: &[u8],
    (network, transport): (usize, usize),
    (source, destination): (IpAddr, IpAddr),
    (protocol, hops): (u8, u8),
    length: u16,
    said: u16,
) -> Result<Read, Reason> {
    let header = part(frame, transport, if protocol == TCP { 20 } else { 8 })?;
    let counted_from = network + if source.is_ipv6() { 40 } else { 0 };
    if usize::from(said) < transport - counted_from + header.len() {
        return Err(Reason::Malformed);
    }
    Ok(Read {
        network,
        transport,
        source: SocketAddr::new(source, word(header, 0)?),
        destination: SocketAddr::new(destination, word(header, 2)?),
        protocol,
        hops,
        length,
        flags: if protocol == TCP { header[13] } else { 0 },
    })
}

pub(super) fn part(frame: &[u8], at: usize, length: usize) -> Result<&[u8], Reason> {
    frame.get(at..at + length).ok_or(Reason::Truncated)
}

pub(super) fn word(bytes: &[u8], at: usize) -> Result<u16, Reason> {
    let pair = part(bytes, at, 2)?;
    Ok(u16::from_be_bytes([pair[0], pair[1]]))
}
