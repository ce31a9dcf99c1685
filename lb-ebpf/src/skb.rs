//! The frame as the kernel's own network code has it.
//!
//! What sets it apart from [`XdpFrame`](crate::frame::XdpFrame): it may come from a socket of this node, and
//! then its transport checksum is only begun (`CHECKSUM_PARTIAL`: the sum over the addresses, to which the
//! device that sends it adds the rest), and it may be larger than any packet, to be parted by that device.
//! It may also carry the sum over all its bytes, as a network card computed it (`CHECKSUM_COMPLETE`). The
//! kernel does not tell a program which of these it is; its checksum functions know.

use aya_ebpf::{
    bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::{bpf_csum_update, bpf_l4_csum_replace, bpf_skb_pull_data},
    programs::TcContext,
};
use lb_common::{
    address::{Address, IPV6},
    checksum::Delta,
    clamp::clamp_unsummed,
    frame::{Frame, Header},
    parse::{Packet, TCP},
    rewrite::{Rewrite, Tuple, rewrite_unsummed},
};

use crate::frame::Turn;

/// Bytes that are brought together before headers are read: what the parser may look at.
const HEADERS: usize = 192;
/// Offsets of the checksum in TCP's and UDP's header.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// A frame of the kernel's, its bytes checked at each access.
pub struct SkbFrame {
    /// What the kernel calls the program with.
    pub ctx: TcContext,
}

impl SkbFrame {
    /// The frame the program was called for, its headers in one piece.
    #[inline(always)]
    pub fn new(ctx: TcContext) -> Self {
        let frame = Self::gathered(ctx);
        if frame.locate::<[u8; HEADERS]>(0).is_none() && frame.length() > frame.there() {
            let wanted = frame.length().min(HEADERS) as u32;
            // SAFETY: the context is the program's own. Refused, the headers stay where they are, and
            // are found to be cut off.
            unsafe { bpf_skb_pull_data(frame.ctx.skb.skb, wanted) };
        }
        frame
    }

    /// The same, once its headers are in one piece.
    #[inline(always)]
    pub fn gathered(ctx: TcContext) -> Self {
        Self { ctx }
    }

    /// Whether it is of a VLAN whose tag the kernel has taken off: then it is for another interface.
    #[inline(always)]
    pub fn is_tagged(&self) -> bool {
        // SAFETY: `skb` is valid while the program runs.
        unsafe { (*self.ctx.skb.skb).vlan_present != 0 }
    }

    /// How many packets it will be once it is parted.
    #[inline(always)]
    pub fn packets(&self) -> u32 {
        // SAFETY: as above.
        let segments = unsafe { (*self.ctx.skb.skb).gso_segs };
        segments.max(1)
    }

    /// Bytes after the headers in each of its packets, if it is to be parted; else 0.
    #[inline(always)]
    pub fn segment(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.ctx.skb.skb).gso_size }
    }

    /// Lowers the segment size that a SYN announces to `most` bytes.
    #[inline(always)]
    pub fn clamp<A: Address>(&mut self, packet: &Packet<A>, most: u16) {
        if let Some(change) = clamp_unsummed(self, packet, most) {
            self.sum(packet, Delta::NONE, change);
        }
    }

    /// Lets the transport checksum follow a change of the addresses and of what else it covers. One that
    /// is only begun is over the addresses, and so follows them alone.
    #[inline(always)]
    fn sum<A: Address>(
        &mut self,
        packet: &Packet<A>,
        addresses: Delta,
        others: Delta,
    ) -> Option<()> {
        let (at, flags) = if packet.protocol == TCP {
            (TCP_CHECKSUM, 0)
        } else {
            // None at all stays none.
            (UDP_CHECKSUM, BPF_F_MARK_MANGLED_0 as u64)
        };
        let at = (packet.transport + at) as u32;
        let skb = self.ctx.skb.skb;
        let [pseudo, plain] = [addresses, others].map(|it| it.wide() as u64);
        // SAFETY: the context is the program's own, and no reference into the frame is held: `&mut self`.
        let refused = unsafe {
            bpf_l4_csum_replace(skb, at, 0, pseudo, flags | BPF_F_PSEUDO_HDR as u64)
                | bpf_l4_csum_replace(skb, at, 0, plain, flags)
        };
        if A::FAMILY == IPV6 {
            // The helper takes every change of addresses to have been made good by the IP header's
            // checksum, which IPv6 has not (`inet_proto_csum_replace_by_diff`; a flag to say so came with
            // 6.16).
            self.recount(addresses);
        }
        (refused == 0).then_some(())
    }

    /// Lets the sum over all bytes, if there is one, follow a change.
    #[inline(always)]
    fn recount(&mut self, change: Delta) {
        // SAFETY: as in `sum`. Refused if there is no such sum, which is as good.
        unsafe { bpf_csum_update(self.ctx.skb.skb, change.wide()) };
    }

    /// Bytes of the whole frame.
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: as in `is_tagged`.
        unsafe { (*self.ctx.skb.skb).len as usize }
    }

    /// Bytes of it that are in one piece.
    #[inline(always)]
    fn there(&self) -> usize {
        self.ctx.data_end() - self.ctx.data()
    }

    /// Address of a header that lies within the piece.
    #[inline(always)]
    fn locate<T>(&self, offset: usize) -> Option<usize> {
        let start = self.ctx.data() + offset;
        // Addresses are compared, not lengths: see `XdpFrame`.
        if start + size_of::<T>() > self.ctx.data_end() {
            return None;
        }
        Some(start)
    }
}

impl Turn for SkbFrame {
    #[inline(always)]
    fn turn<A: Rewrite>(&mut self, packet: &Packet<A>, to: &Tuple<A>) -> Option<()> {
        let (addresses, ports) = rewrite_unsummed(self, packet, to)?;
        if A::FAMILY == IPV6 {
            // No checksum covers its hop count.
            let word = |hops: u8| [0, hops];
            let (before, after) = (word(packet.hops), word(packet.hops.wrapping_sub(1)));
            self.recount(Delta::NONE.half_word(before, after));
        }
        self.sum(packet, addresses, ports)
    }
}

impl Frame for SkbFrame {
    #[inline(always)]
    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let address = self.locate::<T>(offset)?;
        // SAFETY: the bytes lie within the frame, `T` has alignment 1 and takes any bits. The frame
        // is not moved while the reference lives: nothing that moves it is called.
        Some(unsafe { &*(address as *const T) })
    }

    #[inline(always)]
    fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        let address = self.locate::<T>(offset)?;
        // SAFETY: as in `header`; the kernel has given the program its own copy of what it writes to,
        // and `&mut self` makes the borrow exclusive.
        Some(unsafe { &mut *(address as *mut T) })
    }
}
