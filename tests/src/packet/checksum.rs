//! The internet checksum the plain way (RFC 1071): big-endian words, summed one by one.

/// The ones' complement sum of 16-bit words; an odd last byte counts as if a zero followed.
#[must_use]
pub fn ones_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for (place, byte) in bytes.iter().enumerate() {
        sum += if place % 2 == 0 {
            u32::from(*byte) << 8
        } else {
            u32::from(*byte)
        };
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    sum as u16
}

/// The checksum of `bytes`, in which the checksum's own place holds zero.
#[must_use]
pub fn sum(bytes: &[u8]) -> [u8; 2] {
    (!ones_sum(bytes)).to_be_bytes()
}
