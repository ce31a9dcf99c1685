//! Addresses as the packet holds them, and the two families.
//!
//! Words are the packet's bytes in memory order: comparing, hashing and (ones' complement) summing
//! need no byte swap, and the kernel loads them in one or two instructions.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address, bytes in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4(pub u32);

/// An IPv6 address, bytes in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6(pub [u64; 2]);

/// Byte that names a family in map records.
pub const IPV4: u8 = 4;
/// Byte that names a family in map records.
pub const IPV6: u8 = 6;

/// What differs between the families, and nothing else.
pub trait Address: Copy + Eq {
    /// [`IPV4`] or [`IPV6`].
    const FAMILY: u8;
    /// 32-bit words.
    const WORDS: usize;

    /// The `index`-th 32-bit word; `index` is below `WORDS`.
    fn word(self, index: usize) -> u32;

    /// As map records hold it: IPv4 in the second word, the first zero.
    fn wide(self) -> [u64; 2];

    /// Back from [`Address::wide`].
    fn from_wide(wide: [u64; 2]) -> Self;

    /// Its leading bits, the others zero; all of it from the family's length on.
    #[must_use]
    fn leading(self, bits: u8) -> Self;
}

impl V4 {
    /// From the four bytes of the packet.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(bytes))
    }

    /// The four bytes of the packet.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }
}

impl V6 {
    /// From the sixteen bytes of the packet.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ])
    }

    /// The sixteen bytes of the packet.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.0[0].to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.0[1].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

impl Address for V4 {
    const FAMILY: u8 = IPV4;
    const WORDS: usize = 1;

    #[inline(always)]
    fn word(self, _index: usize) -> u32 {
        self.0
    }

    #[inline(always)]
    fn wide(self) -> [u64; 2] {
        [0, self.0 as u64]
    }

    #[inline(always)]
    fn from_wide(wide: [u64; 2]) -> Self {
        Self(wide[1] as u32)
    }

    #[inline(always)]
    fn leading(self, bits: u8) -> Self {
        Self(self.0 & ((leading_ones(bits) >> 32) as u32).to_be())
    }
}

impl Address for V6 {
    const FAMILY: u8 = IPV6;
    const WORDS: usize = 4;

    #[inline(always)]
    fn word(self, index: usize) -> u32 {
        // A shift, not an index into bytes: it is known when the loop over words is unrolled.
        (self.0[index / 2] >> (32 * (index % 2))) as u32
    }

    #[inline(always)]
    fn wide(self) -> [u64; 2] {
        self.0
    }

    #[inline(always)]
    fn from_wide(wide: [u64; 2]) -> Self {
        Self(wide)
    }

    #[inline(always)]
    fn leading(self, bits: u8) -> Self {
        let [head, tail] = self.0;
        Self([
            head & leading_ones(bits).to_be(),
            tail & leading_ones(bits.saturating_sub(64)).to_be(),
        ])
    }
}

/// A word whose first bits are ones; all 64 from 64 on.
#[inline(always)]
const fn leading_ones(bits: u8) -> u64 {
    match bits {
        0 => 0,
        1..64 => u64::MAX << (64 - bits),
        _ => u64::MAX,
    }
}

/// The family byte and wide form of a standard address.
pub fn wide(address: IpAddr) -> (u8, [u64; 2]) {
    match address {
        IpAddr::V4(v4) => (IPV4, V4::from_bytes(v4.octets()).wide()),
        IpAddr::V6(v6) => (IPV6, V6::from_bytes(v6.octets()).wide()),
    }
}

/// The standard address of a family byte and wide form; nothing if the byte names no family.
pub fn standard(family: u8, wide: [u64; 2]) -> Option<IpAddr> {
    match family {
        IPV4 => Some(Ipv4Addr::from(V4::from_wide(wide).to_bytes()).into()),
        IPV6 => Some(Ipv6Addr::from(V6::from_wide(wide).to_bytes()).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_address_survives_the_map_record() {
        for text in [
            "10.99.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "fd99::1",
            "::",
            "::1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            let (family, wide) = wide(address);
            assert_eq!(standard(family, wide), Some(address));
        }
        assert_eq!(standard(0, [0, 0]), None);
    }

    #[test]
    fn leading_bits_are_those_of_the_text() {
        let v4 = |text: &str| V4::from_bytes(text.parse::<Ipv4Addr>().unwrap().octets());
        let v6 = |text: &str| V6::from_bytes(text.parse::<Ipv6Addr>().unwrap().octets());
        for (bits, text) in [
            (0, "0.0.0.0"),
            (1, "128.0.0.0"),
            (20, "192.168.240.0"),
            (24, "192.168.255.0"),
            (31, "192.168.255.254"),
            (32, "192.168.255.255"),
            (128, "192.168.255.255"),
        ] {
            assert_eq!(v4("192.168.255.255").leading(bits), v4(text), "/{bits}");
        }
        let full = v6("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
        for (bits, text) in [
            (0, "::"),
            (3, "2000::"),
            (48, "2001:db8:ffff::"),
            (64, "2001:db8:ffff:ffff::"),
            (65, "2001:db8:ffff:ffff:8000::"),
            (127, "2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"),
        ] {
            assert_eq!(full.leading(bits), v6(text), "/{bits}");
        }
        assert_eq!(full.leading(128), full);
    }

    #[test]
    fn words_follow_the_bytes() {
        let bytes: [u8; 16] = core::array::from_fn(|i| i as u8);
        let address = V6::from_bytes(bytes);
        for i in 0..4 {
            let word = address.word(i).to_ne_bytes();
            assert_eq!(word, bytes[i * 4..i * 4 + 4]);
        }
        assert_eq!(V6::from_bytes(bytes).to_bytes(), bytes);
    }
}
