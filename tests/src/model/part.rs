//! What the IP headers of a frame say, whatever they carry.

use std::net::IpAddr;

use lb_common::verdict::Reason;

use super::read::{network, part, word};

/// An IP packet or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub network: usize,
    pub transport: usize,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub hops: u8,
    pub length: u16,
    /// Identification of what it is a fragment of.
    pub id: u32,
    /// Offset in bytes.
    pub offset: u16,
    /// Others follow.
    pub more: bool,
}

/// Reads a frame that is IP.
pub fn read_part(frame: &[u8]) -> Result<Part, Reason> {
    match network(frame)? {
        (0x0800, at) => part_at(frame, at, true),
        (0x86dd, at) => part_at(frame, at, false),
        _ => Err(Reason::NotIp),
    }
}

/// Reads an IP packet that stands anywhere.
pub fn part_at(frame: &[u8], at: usize, is_v4: bool) -> Result<Part, Reason> {
    if is_v4 { v4(frame, at) } else { v6(frame, at) }
}

fn v4(frame: &[u8], network: usize) -> Result<Part, Reason> {
    let ip = part(frame, network, 20)?;
    let header = usize::from(ip[0] & 15) * 4;
    if ip[0] >> 4 != 4 || header < 20 {
        return Err(Reason::Malformed);
    }
    part(frame, network, header)?;
    if usize::from(word(ip, 2)?) < header {
        return Err(Reason::Malformed);
    }
    let address = |at: usize| IpAddr::from([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]);
    Ok(Part {
        network,
        transport: network + header,
        source: address(12),
        destination: address(16),
        protocol: ip[9],
        hops: ip[8],
        length: word(ip, 2)?,
        id: word(ip, 4)?.into(),
        offset: (word(ip, 6)? & 0x1fff) * 8,
        more: ip[6] & 0x20 != 0,
    })
}

fn v6(frame: &[u8], network: usize) -> Result<Part, Reason> {
    let ip = part(frame, network, 40)?;
    if ip[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    let mut protocol = ip[6];
    let mut transport = network + 40;
    let mut skipped = 0;
    while matches!(protocol, 0 | 60) && skipped < 4 {
        let extension = part(frame, transport, 2)?;
        protocol = extension[0];
        transport += (usize::from(extension[1]) + 1) * 8;
        skipped += 1;
    }
    let (mut id, mut place) = (0, 0);
    if protocol == 44 {
        let header = part(frame, transport, 8)?;
        protocol = header[0];
        place = word(header, 2)?;
        id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        transport += 8;
    }
    if matches!(protocol, 0 | 43 | 44 | 51 | 60) {
        return Err(Reason::ExtensionHeader);
    }
    let address =
        |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap_or_default());
    Ok(Part {
        network,
        transport,
        source: address(8),
        destination: address(24),
        protocol,
        hops: ip[7],
        length: word(ip, 4)?.saturating_add(40),
        id,
        offset: place & 0xfff8,
        more: place & 1 != 0,
    })
}
