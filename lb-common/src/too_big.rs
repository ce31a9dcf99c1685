//! The answer to a packet that is larger than its way out: ICMP fragmentation needed (RFC 792, 1191),
//! ICMPv6 packet too big (RFC 4443), from the address the packet was sent to.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::address::{Address, V4, V6};
use crate::checksum::Sum;
use crate::encapsulate::HOPS;
use crate::frame::{Bytes, Elastic, Frame, link_layer};
use crate::parse::{ETHER_IPV4, ETHER_IPV6};

/// Bytes of the packet that the answer quotes: its headers and more. No packet so short is too big: an
/// IPv4 network that carries fewer would not carry the answer either.
const QUOTED: usize = 128;
/// IP protocol number of ICMP.
const ICMP: u8 = 1;
/// IP protocol number of ICMPv6.
const ICMP6: u8 = 58;
/// Bytes of an ICMP or ICMPv6 header.
const ICMP_LENGTH: usize = 8;
/// Traffic class of what routers tell each other (RFC 1812 section 4.3.2.5).
const CLASS: u8 = 0xc0;

/// The part of the answer that differs between the families.
pub trait Answer: Address {
    /// Bytes before what is quoted.
    const ADDED: usize;
    /// What announces it at the link layer.
    const ETHER_TYPE: u16;

    /// Source and destination of the IP packet at `network`.
    fn ends<F: Frame + ?Sized>(frame: &F, network: usize) -> Option<(Self, Self)>;

    /// Writes the headers at `network`, between these ends; what is quoted follows already.
    fn write<F: Frame + ?Sized>(
        frame: &mut F,
        network: usize,
        ends: (Self, Self),
        mtu: u32,
    ) -> Option<()>;
}

/// Turns a frame whose IP packet stands at `network` into the answer that packets of at most `mtu` bytes
/// would have gone on, but for its end: the length in bytes that the frame is to be cut to. Nothing if the
/// frame is shorter than what is quoted, or has no room before it; it is of no use then.
#[inline(always)]
pub fn answer<A: Answer, F: Elastic + ?Sized>(
    frame: &mut F,
    network: usize,
    mtu: u32,
) -> Option<usize> {
    let [a, b, c] = [macs(frame, 0)?, macs(frame, 4)?, macs(frame, 8)?];
    let (source, destination) = A::ends(frame, network)?;
    frame.grow(A::ADDED)?;
    link_layer(frame, network, A::ADDED, A::ETHER_TYPE)?;
    // The two halves of three words change places.
    for (at, low, high) in [(0, b, c), (4, c, a), (8, a, b)] {
        *frame.header_mut(at)? = Bytes((low >> 16 | high << 16).to_le_bytes());
    }
    A::write(frame, network, (destination, source), mtu)?;
    Some(network + A::ADDED + QUOTED)
}

/// Four bytes of the link-layer addresses: as a word, because six bytes would be copied one by one.
#[inline(always)]
fn macs<F: Frame + ?Sized>(frame: &F, at: usize) -> Option<u32> {
    let Bytes(bytes) = *frame.header(at)?;
    Some(u32::from_le_bytes(bytes))
}

/// The sum of what is quoted, which stands at `first`.
#[inline(always)]
fn sum<const N: usize>(whole: &Bytes<N>, first: usize) -> Sum {
    let mut sum = Sum::NONE;
    // By index: chunks would be unrolled, and not fit the stack.
    for i in 0..QUOTED / 4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|byte| whole.0[first + 4 * i + byte]);
        sum = sum.word(u32::from_ne_bytes([a, b, c, d]));
    }
    sum
}

impl Answer for V4 {
    const ADDED: usize = size_of::<Ipv4Hdr>() + ICMP_LENGTH;
    const ETHER_TYPE: u16 = ETHER_IPV4;

    #[inline(always)]
    fn ends<F: Frame + ?Sized>(frame: &F, network: usize) -> Option<(Self, Self)> {
        let ip: &Ipv4Hdr = frame.header(network)?;
        Some((Self::from_bytes(ip.src_addr), Self::from_bytes(ip.dst_addr)))
    }

    #[inline(always)]
    fn write<F: Frame + ?Sized>(
        frame: &mut F,
        network: usize,
        (source, destination): (Self, Self),
        mtu: u32,
    ) -> Option<()> {
        const LENGTH: [u8; 2] = ((V4::ADDED + QUOTED) as u16).to_be_bytes();
        const TYPE: [u8; 2] = [3, 4];
        // Both parts in one piece, so that one look at the frame's end is enough for the verifier too.
        let whole: &mut Bytes<{ Self::ADDED + QUOTED }> = frame.header_mut(network)?;
        let quoted = sum(whole, Self::ADDED);
        let first = u32::from_ne_bytes([0x45, CLASS, LENGTH[0], LENGTH[1]]);
        let hops = [HOPS, ICMP];
        let [a, b] = Sum::NONE
            .word(first)
            .word(two(hops))
            .word(source.0)
            .word(destination.0)
            .checksum();
        let limit = (mtu.min(u16::MAX as u32) as u16).to_be_bytes();
        let [c, d] = quoted.word(two(TYPE)).word(two(limit)).checksum();
        put(&mut whole.0, 0, first.to_ne_bytes());
        put(&mut whole.0, 1, [0; 4]);
        put(&mut whole.0, 2, [hops[0], hops[1], a, b]);
        put(&mut whole.0, 3, source.to_bytes());
        put(&mut whole.0, 4, destination.to_bytes());
        put(&mut whole.0, 5, [TYPE[0], TYPE[1], c, d]);
        put(&mut whole.0, 6, [0, 0, limit[0], limit[1]]);
        Some(())
    }
}

impl Answer for V6 {
    const ADDED: usize = size_of::<Ipv6Hdr>() + ICMP_LENGTH;
    const ETHER_TYPE: u16 = ETHER_IPV6;

    #[inline(always)]
    fn ends<F: Frame + ?Sized>(frame: &F, network: usize) -> Option<(Self, Self)> {
        let ip: &Ipv6Hdr = frame.header(network)?;
        Some((Self::from_bytes(ip.src_addr), Self::from_bytes(ip.dst_addr)))
    }

    #[inline(always)]
    fn write<F: Frame + ?Sized>(
        frame: &mut F,
        network: usize,
        (source, destination): (Self, Self),
        mtu: u32,
    ) -> Option<()> {
        const LENGTH: [u8; 2] = ((ICMP_LENGTH + QUOTED) as u16).to_be_bytes();
        const TYPE: [u8; 2] = [2, 0];
        let whole: &mut Bytes<{ Self::ADDED + QUOTED }> = frame.header_mut(network)?;
        let quoted = sum(whole, Self::ADDED);
        let mut sum = quoted
            .word(two(LENGTH))
            .word(u32::from_ne_bytes([0, 0, 0, ICMP6]))
            .word(two(TYPE))
            .word(mtu.to_be());
        for i in 0..Self::WORDS {
            sum = sum.word(source.word(i)).word(destination.word(i));
        }
        let [a, b] = sum.checksum();
        put(&mut whole.0, 0, [0x60 | CLASS >> 4, CLASS << 4, 0, 0]);
        put(&mut whole.0, 1, [LENGTH[0], LENGTH[1], ICMP6, HOPS]);
        for i in 0..Self::WORDS {
            put(&mut whole.0, 2 + i, source.word(i).to_ne_bytes());
            put(&mut whole.0, 6 + i, destination.word(i).to_ne_bytes());
        }
        put(&mut whole.0, 10, [TYPE[0], TYPE[1], a, b]);
        put(&mut whole.0, 11, mtu.to_be_bytes());
        Some(())
    }
}

/// Writes the `index`-th word, if there are so many.
#[inline(always)]
fn put(headers: &mut [u8], index: usize, word: [u8; 4]) {
    if let Some(place) = headers.as_chunks_mut().0.get_mut(index) {
        *place = word;
    }
}

/// Two bytes of a word, the others zero.
#[inline(always)]
const fn two([a, b]: [u8; 2]) -> u32 {
    u32::from_ne_bytes([a, b, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::full;

    const MACS: [u8; 12] = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2];

    /// A frame with tags, whose packet is 1500 bytes of anything between two addresses.
    fn frame(tags: &[u8], ether_type: u16, addresses: (usize, &[u8])) -> Vec<u8> {
        let mut frame = [&MACS[..], tags, &ether_type.to_be_bytes()].concat();
        let packet = frame.len();
        frame.extend((0..1500).map(|i| (i * 7) as u8));
        let at = packet + addresses.0;
        frame[at..at + addresses.1.len()].copy_from_slice(addresses.1);
        frame
    }

    #[test]
    fn an_ipv4_sender_is_told_what_fits() {
        for tags in [
            &[][..],
            &[0x81, 0, 0, 7],
            &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9],
        ] {
            let network = 14 + tags.len();
            let before = frame(tags, 0x0800, (12, &[10, 0, 0, 1, 10, 0, 0, 2]));
            let mut after = before.clone();
            let length = answer::<V4, _>(&mut after, network, 1480).unwrap();
            after.truncate(length);
            assert_eq!(after[..6], MACS[6..]);
            assert_eq!(after[6..12], MACS[..6]);
            assert_eq!(after[12..network], before[12..network]);
            let ip = &after[network..network + 20];
            assert_eq!(ip[..10], [0x45, 0xc0, 0, 156, 0, 0, 0, 0, 64, 1]);
            assert_eq!(ip[12..], [10, 0, 0, 2, 10, 0, 0, 1]);
            assert_eq!(full(ip), [0, 0]);
            let icmp = &after[network + 20..];
            assert_eq!(
                (icmp[0], icmp[1], &icmp[4..8]),
                (3, 4, &[0, 0, 5, 0xc8][..])
            );
            assert_eq!(icmp[8..], before[network..network + 128]);
            assert_eq!(full(icmp), [0, 0]);
        }
    }

    #[test]
    fn an_ipv6_sender_is_told_what_fits() {
        let addresses: Vec<u8> = (0..32).map(|i| 0xf0 ^ i).collect();
        let before = frame(&[], 0x86dd, (8, &addresses));
        let mut after = before.clone();
        let length = answer::<V6, _>(&mut after, 14, 1_452).unwrap();
        after.truncate(length);
        let ip = &after[14..54];
        assert_eq!(ip[..8], [0x6c, 0, 0, 0, 0, 136, 58, 64]);
        assert_eq!(ip[8..24], addresses[16..]);
        assert_eq!(ip[24..], addresses[..16]);
        let icmp = &after[54..];
        assert_eq!(
            (icmp[0], icmp[1], &icmp[4..8]),
            (2, 0, &[0, 0, 5, 0xac][..])
        );
        assert_eq!(icmp[8..], before[14..142]);
        let pseudo = [&ip[8..40], &[0, 0, 0, 136, 0, 0, 0, 58], icmp].concat();
        assert_eq!(full(&pseudo), [0, 0]);
    }

    #[test]
    fn a_frame_shorter_than_the_quotation_has_no_answer() {
        let mut short = frame(&[], 0x0800, (12, &[10, 0, 0, 1, 10, 0, 0, 2]));
        short.truncate(14 + QUOTED - 1);
        assert_eq!(answer::<V4, _>(&mut short, 14, 1480), None);
    }
}
