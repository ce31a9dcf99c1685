//! A packet that is carried as it is, one hop on: alone or in a tunnel.

use std::net::IpAddr;

use lb_userspace::desired::{Endpoint, Mode, Service};

use crate::packet::{Packet, eth, ones_sum};

/// Where a flow's packets are carried, and in what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carry {
    /// `dsr`, `ipip` or `gue`.
    pub mode: Mode,
    /// The endpoint.
    pub to: IpAddr,
    /// Where its tunnel comes from.
    pub from: IpAddr,
    /// Hash of the flow.
    pub hash: u64,
    /// Where its tunnels come from but for some bits of the hash, and which these are.
    spread: (IpAddr, u128),
}

impl Carry {
    /// How a service's packets reach an endpoint; nothing if they are translated.
    #[must_use]
    pub fn to(service: &Service, endpoint: &Endpoint, hash: u64) -> Option<Self> {
        let mode = service.delivery.mode;
        let host = |bits: u32| u128::MAX.checked_shr(bits).unwrap_or(0);
        let spread = match service.delivery.tunnel_source {
            None => (endpoint.source, 0),
            Some(network) => {
                let family = if network.address.is_ipv4() { 96 } else { 0 };
                (network.address, host(family + u32::from(network.bits)))
            }
        };
        let carry = Self {
            mode,
            to: endpoint.address.ip(),
            from: endpoint.source,
            hash,
            spread,
        };
        (mode != Mode::Nat).then_some(carry.with(hash))
    }

    fn with(self, hash: u64) -> Self {
        let (network, free) = self.spread;
        let bits = free & u128::from(((hash >> 32) as u32).swap_bytes());
        let from = match network {
            IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) | bits as u32).into()),
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) | bits).into()),
        };
        Self { from, hash, ..self }
    }

    /// Bytes that are added.
    #[must_use]
    pub fn overhead(&self) -> u32 {
        let ip = if self.to.is_ipv4() { 20 } else { 40 };
        match self.mode {
            Mode::Nat | Mode::Dsr => 0,
            Mode::Ipip => ip,
            Mode::Gue { .. } => ip + 8,
        }
    }

    /// The outer packet, without what it carries.
    fn outer(&self, is_v4: bool, class: u8) -> Option<Packet> {
        let label = if self.to.is_ipv4() {
            0
        } else {
            (self.hash >> 32) as u32 & 0xf_ffff
        };
        let outer = eth().ip(self.from, self.to).class(class).label(label);
        let outer = if self.to.is_ipv4() {
            outer.fragment(0x4000, false)
        } else {
            outer
        };
        match self.mode {
            Mode::Nat | Mode::Dsr => None,
            Mode::Ipip => Some(outer.protocol(if is_v4 { 4 } else { 41 })),
            Mode::Gue { port } => {
                let source = 0xc000 | (self.hash >> 48) as u16 & 0x3fff;
                Some(outer.udp(source, port).without_checksum())
            }
        }
    }
}

/// The frame as it is carried on, its packet of `length` bytes at `ip`.
pub fn wrap(frame: &[u8], ip: usize, length: u16, carry: &Carry) -> Vec<u8> {
    let mut inner = frame.to_owned();
    let is_v4 = frame[ip] >> 4 == 4;
    let class = if is_v4 {
        inner[ip + 8] -= 1;
        // One less of the first byte of a word: minus 0x100, modulo 0xffff.
        let check = u16::from_be_bytes([inner[ip + 10], inner[ip + 11]]);
        let (check, carried) = check.overflowing_add(0x100);
        let check = (check + u16::from(carried)).to_be_bytes();
        // Of the two zeros of ones' complement it is the other one, as from a sum made anew.
        let check = if check == [0xff, 0xff] { [0, 0] } else { check };
        inner[ip + 10..ip + 12].copy_from_slice(&check);
        inner[ip + 1]
    } else {
        inner[ip + 7] -= 1;
        inner[ip] << 4 | inner[ip + 1] >> 4
    };
    let Some(outer) = carry.outer(is_v4, class) else {
        return inner;
    };
    let end = ip + usize::from(length);
    let mut whole = outer.payload(&inner[ip..inner.len().min(end)]).bytes();
    // What follows the packet in the frame, or what it promises and the frame lacks.
    correct_lengths(&mut whole, inner.len(), end);
    whole.extend(&inner[inner.len().min(end)..]);
    let front = &frame[..ip - 2];
    [front, &whole[12..]].concat()
}

/// The outer headers count the packet's length as its own header says it.
fn correct_lengths(whole: &mut [u8], there: usize, end: usize) {
    let Some(lacking) = end.checked_sub(there).filter(|&it| it > 0) else {
        return;
    };
    let add = |bytes: &mut [u8], at: usize| {
        // A packet that promises nearly 65 536 bytes has not got them: nobody can do anything with it.
        let length = u16::from_be_bytes([bytes[at], bytes[at + 1]]).wrapping_add(lacking as u16);
        bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
    };
    let is_udp = if whole[14] >> 4 == 4 {
        add(whole, 16);
        whole[24..26].fill(0);
        let check = !ones_sum(&whole[14..34]);
        whole[24..26].copy_from_slice(&check.to_be_bytes());
        (whole[23] == 17).then_some(34)
    } else {
        add(whole, 18);
        (whole[20] == 17).then_some(54)
    };
    if let Some(udp) = is_udp {
        add(whole, udp + 4);
    }
}
