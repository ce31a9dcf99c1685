//! The frame under XDP: the only pointer arithmetic of the program.

use core::hint;

use aya_ebpf::{
    Global,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use lb_common::{
    frame::{Elastic, Frame, Header},
    parse::Packet,
    rewrite::{Rewrite, Tuple, rewrite},
};

/// A frame that packets can be turned in.
pub trait Turn: Frame {
    /// Writes `to` into the packet and takes one hop off it. Nothing only if the headers are no longer
    /// where they were parsed.
    fn turn<A: Rewrite>(&mut self, packet: &Packet<A>, to: &Tuple<A>) -> Option<()>;
}

/// 1 if the kernel gives frames that lie in several buffers to the program (since 5.18), and has the
/// helper that tells their length. Set by the loader.
#[unsafe(no_mangle)]
static FRAGS: Global<u8> = Global::new(0);

/// A frame, its bytes checked at each access. Of one that lies in several buffers only those in the first
/// are there: drivers put all headers in it.
pub struct XdpFrame {
    /// What the kernel calls the program with.
    pub ctx: XdpContext,
    /// Address of its first byte, and of the first one after it. Kept, and not asked of the context at each
    /// access: the compiler would read them anew each time.
    start: usize,
    end: usize,
}

impl XdpFrame {
    /// The frame the program was called for.
    #[inline(always)]
    pub fn new(ctx: XdpContext) -> Self {
        let (start, end) = (ctx.data(), ctx.data_end());
        Self { ctx, start, end }
    }

    /// Whether all of it lies in one buffer.
    #[inline(always)]
    pub fn is_whole(&self) -> bool {
        if FRAGS.load() == 0 {
            return true;
        }
        // SAFETY: the context is the program's own.
        let length = unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) };
        length == (self.end - self.start) as u64
    }

    /// Index of the interface the frame came in on.
    #[inline(always)]
    pub fn ingress(&self) -> u32 {
        self.ctx.ingress_ifindex() as u32
    }

    /// Address of a header that lies within the frame.
    #[inline(always)]
    fn locate<T: Header>(&self, offset: usize) -> Option<usize> {
        let start = self.start + offset;
        // Addresses are compared, not lengths: `end - start` is a bare number to the verifier and
        // proves nothing about the access that follows.
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: no frame lies at address 0. Otherwise "nothing" would be looked for once more.
        unsafe { hint::assert_unchecked(start != 0) };
        Some(start)
    }

    /// The frame lies elsewhere now.
    #[inline(always)]
    fn moved(&mut self, refused: i64) -> Option<()> {
        (self.start, self.end) = (self.ctx.data(), self.ctx.data_end());
        (refused == 0).then_some(())
    }
}

impl Frame for XdpFrame {
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
        // SAFETY: as in `header`; the program alone has the frame, and `&mut self` makes the borrow
        // exclusive.
        Some(unsafe { &mut *(address as *mut T) })
    }
}

impl Turn for XdpFrame {
    #[inline(always)]
    fn turn<A: Rewrite>(&mut self, packet: &Packet<A>, to: &Tuple<A>) -> Option<()> {
        rewrite(self, packet, to)
    }
}

// Every reference into the frame has ended when these are called: they take `&mut self`.
impl Elastic for XdpFrame {
    #[inline(always)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        // SAFETY: the context is the program's own.
        let refused = unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -(bytes as i32)) };
        self.moved(refused)
    }

    #[inline(always)]
    fn shrink(&mut self, bytes: usize) -> Option<()> {
        // SAFETY: as above.
        let refused = unsafe { bpf_xdp_adjust_head(self.ctx.ctx, bytes as i32) };
        self.moved(refused)
    }

    #[inline(always)]
    fn cut(&mut self, length: usize) -> Option<()> {
        // Where the program runs on an skb (on veth), kernels do not follow everywhere what it does to
        // buffers other than the first.
        if !self.is_whole() {
            return None;
        }
        let there = self.end - self.start;
        if length > there {
            return None;
        }
        // SAFETY: as above.
        let refused = unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, -((there - length) as i32)) };
        self.moved(refused)
    }
}
