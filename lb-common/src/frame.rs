//! The one-method view of a frame.
//!
//! The parser and the rewriter are written against [`Frame`]; the kernel program implements it with
//! checked packet pointers, the host with a byte slice. So one parser runs on both sides.

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
};

/// A header that may stand at any address and hold any bytes.
///
/// # Safety
/// The type must have alignment 1, no padding, and be valid for every bit pattern.
pub unsafe trait Header: Copy {}

/// Bytes of one Ethernet frame.
pub trait Frame {
    /// The header at `offset` bytes, or nothing if the frame ends before it does.
    fn header<T: Header>(&self, offset: usize) -> Option<&T>;
    /// As [`Frame::header`], to write.
    fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T>;
}

/// A frame whose length can change. Its bytes stay what they were; every offset is from the new front.
pub trait Elastic: Frame {
    /// Puts room for `bytes` before the frame. Nothing if there is none.
    fn grow(&mut self, bytes: usize) -> Option<()>;
    /// Takes `bytes` off the front. Nothing if the frame has not so many.
    fn shrink(&mut self, bytes: usize) -> Option<()>;
    /// Keeps the first `length` bytes. Nothing if the frame has not so many.
    fn cut(&mut self, length: usize) -> Option<()>;
}

/// Some bytes of a frame. Two, four and eight are read and written in one instruction.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes<const N: usize>(pub [u8; N]);

/// Ethernet header, IEEE 802.3. All fields in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Ethernet {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// Source MAC address.
    pub source: [u8; 6],
    /// What follows; a VLAN tag if 0x8100 or 0x88a8.
    pub ether_type: [u8; 2],
}

/// 802.1Q or 802.1ad tag after the type that announced it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct VlanTag {
    /// Priority, drop eligibility, VLAN id.
    pub control: [u8; 2],
    /// What follows.
    pub ether_type: [u8; 2],
}

/// The two bytes every IPv6 extension header begins with (RFC 8200 section 4.3).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    /// Protocol number of the header that follows.
    pub next_header: u8,
    /// Length in units of 8 bytes, the first 8 not counted.
    pub length: u8,
}

/// IPv6 fragment header (RFC 8200 section 4.5). All fields in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FragmentHeader {
    /// Protocol number of the header that follows.
    pub next_header: u8,
    /// Zero.
    pub reserved: u8,
    /// Offset in units of 8 bytes, shifted left by 3; the last bit: more fragments follow.
    pub place: [u8; 2],
    /// Identification of the packet.
    pub id: [u8; 4],
}

/// The first four bytes of an ICMP or ICMPv6 message.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct IcmpHeader {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum of the message; for ICMPv6 with the pseudo-header.
    pub checksum: [u8; 2],
}

const _: () = {
    assert!(size_of::<FragmentHeader>() == 8 && align_of::<FragmentHeader>() == 1);
    assert!(size_of::<IcmpHeader>() == 4 && align_of::<IcmpHeader>() == 1);
    assert!(size_of::<Ethernet>() == 14 && align_of::<Ethernet>() == 1);
    assert!(size_of::<VlanTag>() == 4 && align_of::<VlanTag>() == 1);
    assert!(align_of::<Ipv4Hdr>() == 1 && align_of::<Ipv6Hdr>() == 1);
    assert!(align_of::<TcpHdr>() == 1 && align_of::<UdpHdr>() == 1);
};

// SAFETY: byte arrays only: alignment 1 (asserted above), no padding, any bits.
unsafe impl Header for Ethernet {}
// SAFETY: as above.
unsafe impl<const N: usize> Header for Bytes<N> {}
// SAFETY: as above.
unsafe impl Header for VlanTag {}
// SAFETY: as above.
unsafe impl Header for Extension {}
// SAFETY: as above.
unsafe impl Header for Ipv4Hdr {}
// SAFETY: as above.
unsafe impl Header for Ipv6Hdr {}
// SAFETY: as above.
unsafe impl Header for TcpHdr {}
// SAFETY: as above.
unsafe impl Header for UdpHdr {}
// SAFETY: as above.
unsafe impl Header for FragmentHeader {}
// SAFETY: as above.
unsafe impl Header for IcmpHeader {}
/// The last byte of a header that is not read.
// SAFETY: a byte.
unsafe impl Header for [u8; 1] {}
/// A checksum wherever it stands.
// SAFETY: bytes.
unsafe impl Header for [u8; 2] {}
/// Both ports of a transport header, of which no more may be there.
// SAFETY: bytes.
unsafe impl Header for [u8; 4] {}

#[cfg(test)]
impl Frame for Vec<u8> {
    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        self.as_slice().header(offset)
    }

    fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        self.as_mut_slice().header_mut(offset)
    }
}

#[cfg(test)]
impl Elastic for Vec<u8> {
    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.splice(0..0, core::iter::repeat_n(0xee, bytes));
        Some(())
    }

    fn shrink(&mut self, bytes: usize) -> Option<()> {
        (bytes <= self.len()).then(|| drop(self.drain(..bytes)))
    }

    fn cut(&mut self, length: usize) -> Option<()> {
        (length <= self.len()).then(|| self.truncate(length))
    }
}

/// Length of the link-layer header of a frame without tags.
pub const UNTAGGED: usize = size_of::<Ethernet>();

/// Makes the link-layer header of a frame that has grown by `added` bytes: VLAN tags come to the front,
/// the IP header at `network` is announced as `ether_type`. MAC addresses are the caller's to write.
#[inline(always)]
pub fn link_layer<F: Frame + ?Sized>(
    frame: &mut F,
    network: usize,
    added: usize,
    ether_type: u16,
) -> Option<()> {
    let announced = Bytes(ether_type.to_be_bytes());
    // Offsets that are constants: `network` less two could be before the frame, for all the kernel's
    // verifier knows.
    if network == UNTAGGED {
        *frame.header_mut(UNTAGGED - 2)? = announced;
        return Some(());
    }
    let tag: Bytes<4> = *frame.header(added + UNTAGGED - 2)?;
    *frame.header_mut(UNTAGGED - 2)? = tag;
    if network == UNTAGGED + size_of::<VlanTag>() {
        *frame.header_mut(UNTAGGED + 2)? = announced;
        return Some(());
    }
    let tag: Bytes<4> = *frame.header(added + UNTAGGED + 2)?;
    *frame.header_mut(UNTAGGED + 2)? = tag;
    *frame.header_mut(UNTAGGED + 6)? = announced;
    Some(())
}

/// A frame held in memory: what tests and tools parse.
impl Frame for [u8] {
    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let bytes = self.get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: `bytes` is as long as `T`, which has alignment 1 and takes any bits.
        Some(unsafe { &*bytes.as_ptr().cast::<T>() })
    }

    fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        let bytes = self.get_mut(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: as in `header`; the borrow is exclusive.
        Some(unsafe { &mut *bytes.as_mut_ptr().cast::<T>() })
    }
}
