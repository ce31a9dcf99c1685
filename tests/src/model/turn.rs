//! A packet with other addresses and ports, one hop on.
//!
//! Checksums are found by what they mean, modulo 65 535: a field holds minus the sum of all else that
//! is summed. If it was wrong before it is wrong by the same amount after, which is what an
//! incremental update gives.

use std::net::{IpAddr, SocketAddr};

use super::Read;
use crate::packet::{UDP, ones_sum};

/// The frame with another source and destination.
pub fn turn(frame: &[u8], read: &Read, (source, destination): (SocketAddr, SocketAddr)) -> Vec<u8> {
    let mut turned = frame.to_owned();
    let ip = read.network;
    if source.is_ipv4() {
        turned[ip + 8] -= 1;
        put(&mut turned, ip + 12, &octets(source.ip()));
        put(&mut turned, ip + 16, &octets(destination.ip()));
        let header = ip..ip + usize::from(frame[ip] & 15) * 4;
        let checksum = moved(
            word(frame, ip + 10),
            ones_sum(&without(&frame[header.clone()], 10)),
            ones_sum(&without(&turned[header], 10)),
        );
        put(&mut turned, ip + 10, &checksum.to_be_bytes());
    } else {
        turned[ip + 7] -= 1;
        put(&mut turned, ip + 8, &octets(source.ip()));
        put(&mut turned, ip + 24, &octets(destination.ip()));
    }
    put(&mut turned, read.transport, &source.port().to_be_bytes());
    put(
        &mut turned,
        read.transport + 2,
        &destination.port().to_be_bytes(),
    );
    let checksum = segment_checksum(frame, &turned, read);
    put(&mut turned, read.checksum(), &checksum.to_be_bytes());
    turned
}

fn segment_checksum(before: &[u8], after: &[u8], read: &Read) -> u16 {
    let field = word(before, read.checksum());
    if read.protocol == UDP && field == 0 {
        return 0;
    }
    let (first, length) = match read.source {
        SocketAddr::V4(_) => (read.network + 12, 8),
        SocketAddr::V6(_) => (read.network + 8, 32),
    };
    let sum = |frame: &[u8]| {
        let segment = without(&frame[read.transport..], read.checksum() - read.transport);
        ones_sum(&[&frame[first..first + length], &segment].concat())
    };
    match moved(field, sum(before), sum(after)) {
        0 if read.protocol == UDP => 0xffff,
        checksum => checksum,
    }
}

/// A checksum field after the sum of all else went from `before` to `after`.
pub(super) fn moved(field: u16, before: u16, after: u16) -> u16 {
    let wide = u32::from(field) + u32::from(before) + 0xffff - u32::from(after);
    (wide % 0xffff) as u16
}

/// The bytes with a zero word at `at`.
pub(super) fn without(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_owned();
    put(&mut bytes, at, &[0, 0]);
    bytes
}

pub(super) fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
