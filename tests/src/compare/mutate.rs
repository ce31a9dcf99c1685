//! Damage: what a broken sender, or one that tries, makes of a good frame.
//!
//! Bits are flipped anywhere; but most of what a parser can get wrong lies in a few fields, so these are found
//! (headers, options, extension headers, the packet that an error quotes) and given the values at which
//! comparisons turn.

use fastrand::Rng;

/// What a field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// A number of one byte.
    Byte,
    /// The next header.
    Protocol,
    /// TTL or hop limit.
    Hops,
    /// A number of two bytes: a length, a port, a fragment's place.
    Word,
    /// A checksum.
    Checksum,
    /// What the link layer carries, or a tag.
    EtherType,
}

/// Next headers that somebody looks at, and some that nobody does.
const PROTOCOLS: [u8; 16] = [0, 1, 2, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 135];
const ETHER_TYPES: [u16; 7] = [0x0800, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x0806, 0];
/// Words at which comparisons turn, besides those next to the one that is there.
const WORDS: [u16; 14] = [
    0, 1, 7, 8, 19, 20, 28, 39, 40, 48, 0x7fff, 0x8000, 0xfffe, 0xffff,
];
/// Headers behind each other that are looked at.
const HEADERS: usize = 12;

/// Damages a frame in one way or some.
pub fn mutate(dice: &mut Rng, frame: &mut Vec<u8>) {
    let times = [1, 1, 1, 1, 2, 3][dice.usize(..6)];
    for _ in 0..times {
        let fields = fields(frame);
        let (at, field) = fields[dice.usize(..fields.len())];
        match dice.u8(..16) {
            0..=2 => flip(dice, frame, 80),
            3..=9 => change(dice, frame, at, field),
            10 => {
                let at = dice.usize(..frame.len().min(90));
                frame[at] = dice.u8(..);
            }
            // Right before, within and behind a field.
            11 => frame.truncate((at + dice.usize(..3)).max(14)),
            12 => frame.truncate(dice.usize(14..=frame.len())),
            13 => frame.extend((0..dice.usize(1..60)).map(|_| 0)),
            14 => insert(dice, frame, at),
            _ => remove(dice, frame, at),
        }
    }
}

/// A frame cut at every length up to so many bytes, and one with more of it.
pub fn cut_everywhere(frame: &[u8], most: usize) -> impl Iterator<Item = Vec<u8>> {
    let lengths = 14..frame.len().min(most);
    lengths.map(|length| frame[..length].to_owned())
}

fn flip(dice: &mut Rng, frame: &mut [u8], within: usize) {
    for _ in 0..dice.u8(1..4) {
        let at = dice.usize(..frame.len().min(within));
        frame[at] ^= 1 << dice.u8(..8);
    }
}

fn change(dice: &mut Rng, frame: &mut [u8], at: usize, field: Field) {
    match field {
        Field::Byte => frame[at] = byte(dice, frame[at]),
        Field::Protocol => frame[at] = PROTOCOLS[dice.usize(..PROTOCOLS.len())],
        Field::Hops => frame[at] = [0, 1, 2, 255][dice.usize(..4)],
        Field::Word | Field::Checksum | Field::EtherType if at + 2 > frame.len() => {}
        Field::EtherType => {
            put(frame, at, ETHER_TYPES[dice.usize(..ETHER_TYPES.len())]);
        }
        Field::Word => {
            let old = u16::from_be_bytes([frame[at], frame[at + 1]]);
            let left = (frame.len() - at) as u16;
            put(frame, at, word(dice, old, left));
        }
        Field::Checksum => {
            let old = u16::from_be_bytes([frame[at], frame[at + 1]]);
            put(frame, at, [0, 0xffff, !old, dice.u16(..)][dice.usize(..4)]);
        }
    }
}

fn byte(dice: &mut Rng, old: u8) -> u8 {
    match dice.u8(..8) {
        0 => 0,
        1 => 1,
        2 => 0xff,
        3 => old.wrapping_add(1),
        4 => old.wrapping_sub(1),
        5 => old ^ 1 << dice.u8(..8),
        _ => dice.u8(..),
    }
}

fn word(dice: &mut Rng, old: u16, left: u16) -> u16 {
    match dice.u8(..8) {
        0 | 1 => WORDS[dice.usize(..WORDS.len())],
        2 => old.wrapping_add(1 + dice.u16(..2)),
        3 => old.wrapping_sub(1 + dice.u16(..2)),
        4 => old ^ 1 << dice.u8(..16),
        5 => left.wrapping_add(dice.u16(..45)).wrapping_sub(22),
        6 => dice.u16(..100),
        _ => dice.u16(..),
    }
}

/// Bytes of any kind in front of a field, or a tag in front of what is carried.
fn insert(dice: &mut Rng, frame: &mut Vec<u8>, at: usize) {
    if dice.bool() {
        let tag = [[0x81, 0], [0x88, 0xa8]][dice.usize(..2)];
        frame.splice(12..12, [tag[0], tag[1], dice.u8(..), dice.u8(..)]);
        return;
    }
    let some: Vec<u8> = (0..dice.usize(1..24)).map(|_| dice.u8(..)).collect();
    frame.splice(at..at, some);
}

fn remove(dice: &mut Rng, frame: &mut Vec<u8>, at: usize) {
    let end = (at + dice.usize(1..24)).min(frame.len());
    frame.drain(at..end);
    // The kernel takes no frame without a whole link-layer header.
    frame.resize(frame.len().max(14), 0);
}

fn put(frame: &mut [u8], at: usize, word: u16) {
    frame[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

/// Where the fields of a frame are, as far as it goes; at least one.
fn fields(frame: &[u8]) -> Vec<(usize, Field)> {
    let mut found = vec![(12, Field::EtherType)];
    let mut at = 14;
    while frame.len() > at + 4 && matches!(frame[at - 2..at], [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
        found.push((at - 2, Field::EtherType));
    }
    let mut walk = Walk { frame, found };
    walk.ip(at, true);
    let mut found = walk.found;
    found.retain(|&(at, _)| at < frame.len());
    found
}

struct Walk<'a> {
    frame: &'a [u8],
    found: Vec<(usize, Field)>,
}

impl Walk<'_> {
    fn note(&mut self, start: usize, fields: &[(usize, Field)]) {
        let fields = fields.iter().map(|(at, field)| (start + at, *field));
        self.found.extend(fields);
    }

    fn byte(&self, at: usize) -> u8 {
        self.frame.get(at).copied().unwrap_or(0)
    }

    fn bytes(&mut self, range: std::ops::Range<usize>) {
        self.found.extend(range.map(|at| (at, Field::Byte)));
    }

    /// An IP header and what follows; within an error if not `outermost`.
    fn ip(&mut self, at: usize, outermost: bool) {
        use Field::{Byte, Checksum, Hops, Protocol, Word};
        if self.byte(at) >> 4 == 4 {
            self.note(at, &[(0, Byte), (0, Byte), (2, Word), (4, Word), (6, Word)]);
            self.note(at, &[(8, Hops), (9, Protocol), (10, Checksum), (1, Byte)]);
            let end = at + usize::from(self.byte(at) & 15).max(5) * 4;
            self.bytes(at + 20..end);
            return self.transport(end, self.byte(at + 9), outermost);
        }
        self.note(
            at,
            &[(0, Byte), (4, Word), (4, Word), (6, Protocol), (7, Hops)],
        );
        let (mut protocol, mut next) = (self.byte(at + 6), at + 40);
        for _ in 0..HEADERS {
            let length = usize::from(self.byte(next + 1));
            let length = match protocol {
                0 | 43 | 60 => 8 + 8 * length,
                51 => 8 + 4 * length,
                44 => {
                    self.note(next, &[(2, Word), (3, Byte), (4, Word), (6, Word)]);
                    8
                }
                _ => break,
            };
            self.note(next, &[(0, Protocol), (1, Byte), (2, Byte)]);
            (protocol, next) = (self.byte(next), next + length);
        }
        self.transport(next, protocol, outermost);
    }

    fn transport(&mut self, at: usize, protocol: u8, outermost: bool) {
        use Field::{Byte, Checksum, Word};
        match protocol {
            6 => {
                self.note(
                    at,
                    &[(0, Word), (2, Word), (12, Byte), (13, Byte), (16, Checksum)],
                );
                let end = at + usize::from(self.byte(at + 12) >> 4) * 4;
                self.bytes(at + 20..end.max(at + 20));
            }
            17 => self.note(at, &[(0, Word), (2, Word), (4, Word), (6, Checksum)]),
            1 | 58 => {
                self.note(
                    at,
                    &[(0, Byte), (1, Byte), (2, Checksum), (4, Word), (6, Word)],
                );
                if outermost {
                    self.ip(at + 8, false);
                }
            }
            _ => {}
        }
    }
}
