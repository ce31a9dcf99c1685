//! The largest segment a TCP side announces when it opens, made smaller.

use crate::checksum::Delta;
use crate::frame::{Bytes, Frame};
use crate::limits::TCP_OPTIONS;
use crate::parse::{Packet, TCP};
use crate::verifier::obscure;

/// Offsets in the TCP header (RFC 9293 section 3.1).
const LENGTH_AND_FLAGS: usize = 12;
const CHECKSUM: usize = 16;
const OPTIONS: usize = 20;
/// Bit of the flags.
const SYN: u8 = 2;
/// Kinds of options.
const END: u8 = 0;
const NOTHING: u8 = 1;
const SEGMENT_SIZE: u8 = 2;
/// Bytes of the option that matters.
const OPTION_LENGTH: u8 = 4;
/// No option begins further from the start of the header. A mask.
const MAX_OPTION: usize = 0x3f;

/// Lowers the segment size that a SYN announces to `most` bytes. Any other packet, and one that announces
/// less or nothing, stays as it is.
#[inline(always)]
pub fn clamp<A, F: Frame + ?Sized>(frame: &mut F, packet: &Packet<A>, most: u16) {
    if let Some(change) = clamp_unsummed(frame, packet, most) {
        sum(frame, packet.transport, change);
    }
}

/// As [`clamp`], but leaves the checksum to the caller, who knows whether it is finished: what changed,
/// if anything.
#[inline(always)]
pub fn clamp_unsummed<A, F: Frame + ?Sized>(
    frame: &mut F,
    packet: &Packet<A>,
    most: u16,
) -> Option<Delta> {
    if packet.protocol != TCP {
        return None;
    }
    let option = find(frame, packet)?;
    lower(frame, packet.transport, option, most)
}

/// Where in the TCP header of a SYN its segment size is announced.
#[inline(always)]
fn find<A, F: Frame + ?Sized>(frame: &F, packet: &Packet<A>) -> Option<usize> {
    let Bytes([length, flags]) = *frame.header(packet.transport + LENGTH_AND_FLAGS)?;
    if flags & SYN == 0 {
        return None;
    }
    let end = (length >> 4 << 2) as usize;
    let noise = packet.source_port as u64;
    let mut option = OPTIONS;
    for _ in 0..TCP_OPTIONS {
        if option + OPTION_LENGTH as usize > end {
            return None;
        }
        let Bytes([kind, length]) = *frame.header(packet.transport + option)?;
        let next = match (kind, length) {
            (SEGMENT_SIZE, OPTION_LENGTH) => return Some(option),
            (NOTHING, _) => option + 1,
            (END, _) | (_, 0 | 1) => return None,
            _ => option + length as usize,
        };
        // Before the mask: one that claims more than the header has would lead back to its beginning.
        if next > end {
            return None;
        }
        option = obscure(next, noise) & MAX_OPTION;
    }
    None
}

#[inline(always)]
fn lower<F: Frame + ?Sized>(
    frame: &mut F,
    transport: usize,
    option: usize,
    most: u16,
) -> Option<Delta> {
    let size: &mut Bytes<2> = frame.header_mut(transport + option + 2)?;
    let before = u16::from_be_bytes(size.0);
    if before <= most {
        return None;
    }
    size.0 = most.to_be_bytes();
    // A number that starts at an odd byte is summed with its bytes the other way round.
    let word = |number: u16| match option % 2 {
        0 => u16::from_ne_bytes(number.to_be_bytes()) as u32,
        _ => u16::from_ne_bytes(number.to_le_bytes()) as u32,
    };
    Some(Delta::NONE.word(word(before), word(most)))
}

#[inline(always)]
fn sum<F: Frame + ?Sized>(frame: &mut F, transport: usize, change: Delta) -> Option<()> {
    let checksum: &mut Bytes<2> = frame.header_mut(transport + CHECKSUM)?;
    checksum.0 = change.apply(checksum.0);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::V4;
    use crate::checksum::full;
    use crate::parse::Parse;

    /// A SYN with these options. Its checksum is valid without the pseudo-header, which does not change.
    fn syn(flags: u8, options: &[u8]) -> Vec<u8> {
        assert!(options.len().is_multiple_of(4));
        let mut frame = vec![0; 14];
        frame[12] = 8;
        let total = (40 + options.len()) as u8;
        frame.extend([
            0x45, 0, 0, total, 0, 0, 0, 0, 64, TCP, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2,
        ]);
        let length = ((20 + options.len()) / 4 * 16) as u8;
        frame.extend([
            0x9c, 0x40, 0x23, 0x28, 0, 0, 0, 1, 0, 0, 0, 0, length, flags,
        ]);
        frame.extend([0xfa, 0xf0, 0, 0, 0, 0]);
        frame.extend(options);
        let sum = full(&frame[34..]);
        frame[34 + CHECKSUM..][..2].copy_from_slice(&sum);
        frame
    }

    fn clamped(mut frame: Vec<u8>, most: u16) -> Vec<u8> {
        let packet = V4::parse(frame.as_slice(), 14).unwrap();
        assert_eq!(packet.protocol, TCP);
        clamp(frame.as_mut_slice(), &packet, most);
        frame
    }

    #[test]
    fn a_larger_size_becomes_the_largest_allowed_wherever_it_stands() {
        for before in 0..8 {
            let with = |size: u16| {
                let [high, low] = size.to_be_bytes();
                let mut options = vec![NOTHING; before];
                options.extend([SEGMENT_SIZE, 4, high, low, 4, 2]);
                options.resize(options.len().next_multiple_of(4), END);
                syn(SYN, &options)
            };
            assert_eq!(clamped(with(1460), 1400), with(1400), "after {before}");
            assert_eq!(clamped(with(1400), 1400), with(1400));
            assert_eq!(clamped(with(536), 1400), with(536));
        }
    }

    #[test]
    fn options_of_other_kinds_are_stepped_over() {
        let with = |low: u8| {
            let mut options = vec![8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 3, 3, 7, NOTHING];
            options.extend([4, 2, SEGMENT_SIZE, 4, 5, low, END, END, END, END]);
            syn(SYN | 0x10, &options)
        };
        assert_eq!(clamped(with(0xb4), 1400), with(0x78));
    }

    #[test]
    fn an_option_that_claims_more_than_the_header_ends_the_search() {
        // By so much that, modulo 64, it leads to the segment size, or to the sequence number.
        for length in [64 + 4, 64 - 16, 200, 255] {
            let options = [9, length, 0, 0, SEGMENT_SIZE, 4, 5, 0xb4];
            let mut frame = syn(SYN, &options);
            frame[34 + 4..34 + 8].copy_from_slice(&[SEGMENT_SIZE, 4, 5, 0xb4]);
            assert_eq!(clamped(frame.clone(), 1400), frame, "length {length}");
        }
    }

    #[test]
    fn what_is_no_syn_or_announces_nothing_stays() {
        for (flags, options) in [
            (0x10, vec![SEGMENT_SIZE, 4, 5, 0xb4]),
            (SYN, vec![]),
            (SYN, vec![END, 0, 0, 0, SEGMENT_SIZE, 4, 5, 0xb4]),
            (SYN, vec![9, 0, 0, 0, SEGMENT_SIZE, 4, 5, 0xb4]),
            (SYN, vec![9, 200, 0, 0, SEGMENT_SIZE, 4, 5, 0xb4]),
            (SYN, vec![NOTHING, NOTHING, SEGMENT_SIZE, 4]),
        ] {
            let frame = syn(flags, &options);
            assert_eq!(clamped(frame.clone(), 1400), frame, "{flags} {options:?}");
        }
    }

    #[test]
    fn a_frame_that_ends_within_its_options_stays() {
        let frame = syn(SYN, &[NOTHING, NOTHING, SEGMENT_SIZE, 4, 5, 0xb4, 0, 0]);
        for length in 54..frame.len() - 3 {
            let cut = frame[..length].to_vec();
            assert_eq!(clamped(cut.clone(), 1400), cut, "{length}");
        }
    }
}
