//! The largest segment that a SYN may announce.

use lb_common::limits::TCP_OPTIONS;

use super::Read;
use super::turn::{moved, put, without, word};
use crate::packet::ones_sum;

/// The frame with no larger segment size in its TCP options than `most`.
pub fn clamp(frame: &[u8], read: &Read, most: u16) -> Vec<u8> {
    let mut clamped = frame.to_owned();
    let Some(at) = announced(frame, read.transport) else {
        return clamped;
    };
    if word(frame, at) <= most {
        return clamped;
    }
    put(&mut clamped, at, &most.to_be_bytes());
    let sum = |frame: &[u8]| {
        let segment = without(&frame[read.transport..], 16);
        ones_sum(&segment)
    };
    let checksum = read.transport + 16;
    let moved = moved(word(frame, checksum), sum(frame), sum(&clamped));
    put(&mut clamped, checksum, &moved.to_be_bytes());
    clamped
}

/// Where the segment size stands: in a whole option of kind 2 and length 4, behind whole options. As many of
/// them are looked through as the balancer promises.
fn announced(frame: &[u8], transport: usize) -> Option<usize> {
    let header = usize::from(frame[transport + 12] >> 4) * 4;
    let mut at = 20;
    for _ in 0..TCP_OPTIONS {
        if at >= header {
            return None;
        }
        let kind = *frame.get(transport + at)?;
        let length = match kind {
            0 => return None,
            1 => 1,
            _ => usize::from(*frame.get(transport + at + 1)?),
        };
        if kind != 1 && length < 2 || at + length > header {
            return None;
        }
        if (kind, length) == (2, 4) {
            frame.get(transport + at + 3)?;
            return Some(transport + at + 2);
        }
        at += length;
    }
    None
}
