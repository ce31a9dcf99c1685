//! The ways of fragments and of messages, which `lb` leaves to programs of their own.
//!
//! It leaves them by a tail call: their ways are longer than the one that most packets go, and need the
//! stack for themselves. An ordinary call would cost every packet one, and returns are dear where the
//! processor must not guess them.
//!
//! Their steps are *global functions* to the verifier, as in `rare`, and one comes after the other.

use aya_ebpf::{EbpfContext as _, bindings::xdp_md, programs::XdpContext};
use lb_common::{fragment::FragmentWay, record::ways, verdict::Reason};

use crate::frame::XdpFrame;
use crate::maps::go_on;
use crate::pipeline::conclude;
use crate::{carry, forward, fragment, icmp};

/// The action, its reason counted; or the reason to pass or drop.
pub type Outcome = Result<u32, Reason>;

/// From a frame with a fragment to the action.
#[inline(always)]
pub fn run_fragment(ctx: XdpContext) -> u32 {
    let frame = XdpFrame::new(ctx);
    balance_fragment(&frame).unwrap_or_else(|reason| refuse(&frame, reason))
}

/// From a frame with what is neither TCP nor UDP to the action.
#[inline(always)]
pub fn run_message(ctx: XdpContext) -> u32 {
    let frame = XdpFrame::new(ctx);
    balance_message(&frame).unwrap_or_else(|reason| refuse(&frame, reason))
}

/// As of a whole packet, but for the ways that led here.
#[inline(always)]
fn refuse(frame: &XdpFrame, reason: Reason) -> u32 {
    if reason == Reason::TooBig {
        go_on(&frame.ctx, ways::TOO_BIG);
    }
    conclude(frame, reason)
}

#[inline(always)]
fn balance_fragment(frame: &XdpFrame) -> Outcome {
    let turned = word::to_turned(lb_turn_fragment(frame.ctx.as_ptr().cast()))?;
    if turned.side == FragmentWay::CARRIED {
        return carry(frame, turned.endpoint, turned.word);
    }
    let sent = send(frame)?;
    turned.count();
    Ok(sent)
}

#[inline(always)]
fn balance_message(frame: &XdpFrame) -> Outcome {
    match word::to_message(lb_turn_message(frame.ctx.as_ptr().cast()))? {
        Some((endpoint, hash)) => carry(frame, endpoint, hash),
        None => send(frame),
    }
}

#[inline(always)]
fn send(frame: &XdpFrame) -> Outcome {
    word::to_outcome(lb_send(frame.ctx.as_ptr().cast()))
}

#[inline(always)]
fn carry(frame: &XdpFrame, endpoint: u16, hash: u32) -> Outcome {
    let to = word::of_carried(endpoint, hash);
    word::to_outcome(lb_carry(frame.ctx.as_ptr().cast(), to))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_turn_fragment(ctx: *mut xdp_md) -> u64 {
    word::of_turned(fragment::turn(&mut frame(ctx)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_turn_message(ctx: *mut xdp_md) -> u64 {
    word::of_message(icmp::turn(&mut frame(ctx)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_send(ctx: *mut xdp_md) -> u64 {
    word::of_outcome(forward::turned(&mut frame(ctx)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_carry(ctx: *mut xdp_md, to: u64) -> u64 {
    let (endpoint, hash) = word::to_carried(to);
    word::of_outcome(carry::carry_part(&mut frame(ctx), endpoint, hash))
}

#[inline(always)]
fn frame(ctx: *mut xdp_md) -> XdpFrame {
    XdpFrame::new(XdpContext::new(ctx))
}

/// Values as the one number that the result of such a function is.
pub mod word {
    use super::{Outcome, Reason};
    use crate::fragment::Turned;

    const DONE: u64 = 1 << 63;

    #[inline(always)]
    pub fn of_outcome(outcome: Outcome) -> u64 {
        match outcome {
            Ok(action) => DONE | action as u64,
            Err(reason) => reason as u64,
        }
    }

    #[inline(always)]
    pub fn to_outcome(word: u64) -> Outcome {
        to_done(word)?;
        Ok(word as u32)
    }

    #[inline(always)]
    pub fn of_turned(turned: Result<Turned, Reason>) -> u64 {
        match turned {
            Ok(turned) => {
                let rest = of_carried(turned.endpoint, turned.word);
                DONE | (turned.side as u64) << 48 | rest
            }
            Err(reason) => reason as u64,
        }
    }

    #[inline(always)]
    pub fn to_turned(word: u64) -> Result<Turned, Reason> {
        to_done(word)?;
        let (endpoint, rest) = to_carried(word);
        Ok(Turned {
            endpoint,
            word: rest,
            side: (word >> 48) as u8,
        })
    }

    #[inline(always)]
    pub fn of_message(turned: Result<Option<(u16, u32)>, Reason>) -> u64 {
        match turned {
            Ok(Some((endpoint, hash))) => DONE | of_carried(endpoint, hash),
            // No endpoint has the id 0.
            Ok(None) => DONE,
            Err(reason) => reason as u64,
        }
    }

    #[inline(always)]
    pub fn to_message(word: u64) -> Result<Option<(u16, u32)>, Reason> {
        to_done(word)?;
        let (endpoint, hash) = to_carried(word);
        Ok((endpoint != 0).then_some((endpoint, hash)))
    }

    /// Endpoint id, and what else there is to know.
    #[inline(always)]
    pub fn of_carried(endpoint: u16, rest: u32) -> u64 {
        (endpoint as u64) << 32 | rest as u64
    }

    #[inline(always)]
    pub fn to_carried(word: u64) -> (u16, u32) {
        ((word >> 32) as u16, word as u32)
    }

    #[inline(always)]
    fn to_done(word: u64) -> Result<(), Reason> {
        if word & DONE == 0 {
            return Err(Reason::from_index(word as u8));
        }
        Ok(())
    }
}
