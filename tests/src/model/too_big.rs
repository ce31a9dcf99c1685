//! The answer to a packet that is larger than its way out.

use std::net::IpAddr;

use super::part::read_part;
use crate::packet::{ICMP, ICMP6, eth, sum};

/// Bytes of a packet that are quoted.
const QUOTED: usize = 128;

/// Where what is quoted of a frame ends.
///
/// # Panics
/// If the frame is no IP packet.
pub fn told_of(frame: &[u8]) -> usize {
    read_part(frame).expect("a packet").network + QUOTED
}

/// What the sender of a frame is told: packets of `mtu` bytes would have gone.
///
/// # Panics
/// If the frame is no IP packet.
#[must_use]
pub fn too_big(frame: &[u8], mtu: u32) -> Vec<u8> {
    let packet = read_part(frame).expect("a packet");
    let quoted = &frame[packet.network..packet.network + QUOTED];
    let (from, to) = (packet.destination, packet.source);
    let (kind, protocol) = match from {
        IpAddr::V4(_) => ([3, 4], ICMP),
        IpAddr::V6(_) => ([2, 0], ICMP6),
    };
    let message = [&kind[..], &[0, 0], &mtu.to_be_bytes(), quoted].concat();
    let mut summed = message.clone();
    if let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) {
        summed.extend([from.octets(), to.octets()].concat());
        summed.extend((message.len() as u32).to_be_bytes());
        summed.extend([0, 0, 0, ICMP6]);
    }
    let checksum = sum(&summed);
    let message = [&kind[..], &checksum, &message[4..]].concat();
    let answer = eth()
        .ip(from, to)
        .label(0)
        .class(0xc0)
        .protocol(protocol)
        .payload(&message)
        .bytes();
    // The same link-layer header, the other way round.
    let (macs, rest) = frame[..packet.network].split_at(12);
    [&macs[6..], &macs[..6], rest, &answer[14..]].concat()
}
