//! Replies of endpoints on this node, which XDP does not see as frames that can be sent.
//!
//! A pod's reply comes out of a veth, or of a bridge of them, as the kernel's own network code made it: its
//! checksum is not finished, and it may be larger than any packet. XDP in the driver has no place for
//! that, so the program stands at the ingress hook of the interface that leads to the endpoint, before the
//! kernel's IP layer takes the reply for one to the node itself. What is found, followed, turned and counted is
//! what `lb` would.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC},
    programs::TcContext,
};
use aya_log_ebpf::info;
use lb_common::{
    address::{V4, V6},
    flow::{Client, Flows},
    frame::Frame as _,
    parse::{self, Network, Packet, Parse, Parts, TCP},
    record::flag,
    rewrite::{Rewrite, Tuple},
    verdict::{Reason, Verdict},
};

use crate::aside::word;
use crate::flow;
use crate::forward::{Question, Route};
use crate::frame::Turn as _;
use crate::maps::{FlowMap, cpu, now};
use crate::rare::Rare;
use crate::skb::SkbFrame;
use crate::{count, deliver, fragment, icmp};

/// How large a frame is on its way.
struct Size {
    /// Packets it will be.
    packets: u32,
    /// Bytes of the largest one.
    largest: u16,
    /// Bytes of all.
    bytes: u64,
}

/// From the frame to the action.
#[inline(always)]
pub fn run(ctx: TcContext) -> i32 {
    let frame = SkbFrame::new(ctx);
    if frame.is_tagged() {
        return TC_ACT_UNSPEC;
    }
    let outcome = match sent(lb_reply(frame.ctx.skb.skb)) {
        Err(Reason::Fragment) => balance_fragment(&frame),
        Err(Reason::OtherProtocol) => balance_message(&frame),
        outcome => outcome,
    };
    let (reason, action) = match outcome {
        Ok(action) => (Reason::Returned, action),
        Err(reason) if reason.verdict() == Verdict::Drop => (reason, TC_ACT_SHOT),
        // Not "ok": programs after this one shall see the frame too.
        Err(reason) => (reason, TC_ACT_UNSPEC),
    };
    if let Some(cpu) = cpu() {
        count::reason(cpu, reason);
    }
    if action == TC_ACT_SHOT {
        info!(&frame.ctx, "not forwarded: reason {}", reason as u32);
    }
    action
}

#[inline(always)]
fn balance(frame: &mut SkbFrame) -> Result<i32, Reason> {
    match parse::network(frame)? {
        Network::V4(offset) => balance_family::<V4>(frame, offset),
        Network::V6(offset) => balance_family::<V6>(frame, offset),
    }
}

#[inline(always)]
fn balance_family<A>(frame: &mut SkbFrame, offset: usize) -> Result<i32, Reason>
where
    A: Parse + Rewrite + Client + Rare + Route,
    FlowMap: Flows<A>,
{
    let packet = A::parse(frame, offset)?;
    let to = flow::of_endpoint(&packet, now()).ok_or(Reason::NotForService)?;
    if packet.hops <= 1 {
        return Err(Reason::Expiring);
    }
    let tuple = to.tuple();
    let size = Size::of(frame, &packet);
    let mut question = Question::new();
    question.0.sport = tuple.source_port.to_be();
    question.0.dport = tuple.destination_port.to_be();
    ask(frame, &packet, &tuple, size.largest, &mut question)?;
    if to.service.flags & flag::CLAMP != 0 {
        frame.clamp(&packet, to.service.mss);
    }
    frame.turn(&packet, &tuple).ok_or(Reason::Inconsistent)?;
    size.count(to.id);
    Ok(deliver::redirect(&question.0))
}

#[inline(always)]
fn balance_fragment(frame: &SkbFrame) -> Result<i32, Reason> {
    let turned = word::to_turned(lb_turn_reply_fragment(frame.ctx.skb.skb))?;
    let action = send(frame)?;
    turned.count();
    Ok(action)
}

#[inline(always)]
fn balance_message(frame: &SkbFrame) -> Result<i32, Reason> {
    match word::to_message(lb_turn_reply_message(frame.ctx.skb.skb))? {
        Some(_) => Err(Reason::UnrelatedError),
        None => send(frame),
    }
}

/// Sends a packet that was turned already, where its own header says.
#[inline(always)]
fn send(frame: &SkbFrame) -> Result<i32, Reason> {
    sent(lb_send_reply(frame.ctx.skb.skb))
}

#[inline(always)]
fn sent(word: u64) -> Result<i32, Reason> {
    word::to_outcome(word).map(|action| action as i32)
}

#[inline(always)]
fn of_sent(sent: Result<i32, Reason>) -> u64 {
    word::of_outcome(sent.map(|action| action as u32))
}

// *Global functions* to the verifier, as in `aside`: each has the stack for itself.

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_reply(ctx: *mut __sk_buff) -> u64 {
    of_sent(balance(&mut gathered(ctx)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_turn_reply_fragment(ctx: *mut __sk_buff) -> u64 {
    word::of_turned(fragment::turn_reply(&mut gathered(ctx)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_turn_reply_message(ctx: *mut __sk_buff) -> u64 {
    word::of_message(icmp::turn(&mut gathered(ctx)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_send_reply(ctx: *mut __sk_buff) -> u64 {
    of_sent(send_turned(&gathered(ctx)))
}

#[inline(always)]
fn gathered(ctx: *mut __sk_buff) -> SkbFrame {
    SkbFrame::gathered(TcContext::new(ctx))
}

#[inline(always)]
fn send_turned(frame: &SkbFrame) -> Result<i32, Reason> {
    match parse::network(frame)? {
        Network::V4(offset) => send_turned_family::<V4>(frame, offset),
        Network::V6(offset) => send_turned_family::<V6>(frame, offset),
    }
}

#[inline(always)]
fn send_turned_family<A: Parts + Route>(frame: &SkbFrame, offset: usize) -> Result<i32, Reason> {
    // It was parsed before: whatever is wrong now is no reason to pass it.
    let part = A::part(frame, offset).map_err(|_| Reason::Inconsistent)?;
    let packet = &part.packet;
    let to = Tuple {
        source: packet.source,
        destination: packet.destination,
        source_port: 0,
        destination_port: 0,
    };
    // Its ports stay zero as they are: the compiler would write both at once, where it is not aligned.
    let mut question = Question::new();
    ask(frame, packet, &to, packet.length, &mut question)?;
    Ok(deliver::redirect(&question.0))
}

/// Asks the way to the client, for packets of at most so many bytes.
#[inline(always)]
fn ask<A: Route>(
    frame: &SkbFrame,
    packet: &Packet<A>,
    to: &Tuple<A>,
    largest: u16,
    question: &mut Question,
) -> Result<(), Reason> {
    let question = &mut question.0;
    A::ask(question, to.source, to.destination);
    question.l4_protocol = packet.protocol;
    question.__bindgen_anon_1.tot_len = largest;
    deliver::ask(&frame.ctx, question)
}

impl Size {
    #[inline(always)]
    fn of<A>(frame: &SkbFrame, packet: &Packet<A>) -> Self {
        let (packets, segment) = (frame.packets(), frame.segment());
        if segment == 0 {
            return Self {
                packets: 1,
                largest: packet.length,
                bytes: packet.length as u64,
            };
        }
        let headers = (packet.transport - packet.network + transport_length(frame, packet)) as u32;
        Self {
            packets,
            largest: (headers + segment) as u16,
            bytes: packet.length as u64 + (packets - 1) as u64 * headers as u64,
        }
    }

    #[inline(always)]
    fn count(&self, endpoint: u16) {
        if let Some(cpu) = cpu() {
            let lane = cpu.lane(endpoint);
            lane.packets_out += self.packets as u64;
            lane.bytes_out += self.bytes;
        }
    }
}

/// Bytes of the transport header with its options.
#[inline(always)]
fn transport_length<A>(frame: &SkbFrame, packet: &Packet<A>) -> usize {
    const LENGTH: usize = 12;
    const UDP: usize = 8;
    if packet.protocol != TCP {
        return UDP;
    }
    let length: Option<&[u8; 1]> = frame.header(packet.transport + LENGTH);
    length.map_or(0, |[length]| (length >> 4 << 2) as usize)
}
