//! Turning an echo request into its reply.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::address::{V4, V6};
use crate::checksum::Delta;
use crate::frame::{Frame, IcmpHeader};
use crate::parse::{Messages, Packet};

/// TTL and hop limit of a reply.
const HOPS: u8 = 64;

/// The part of answering an echo request that differs between the families.
pub trait RewriteEcho: Messages {
    /// Exchanges the addresses of the IP header, for which no checksum changes, and gives it a new hop
    /// count.
    fn turn_back<F: Frame + ?Sized>(frame: &mut F, request: &Packet<Self>) -> Option<()>;
}

/// Makes the reply out of the request. Nothing only if the headers are no longer where they were parsed.
#[inline(always)]
pub fn rewrite_echo<A: RewriteEcho, F: Frame + ?Sized>(
    frame: &mut F,
    request: &Packet<A>,
) -> Option<()> {
    A::turn_back(frame, request)?;
    let icmp: &mut IcmpHeader = frame.header_mut(request.transport)?;
    icmp.checksum = Delta::NONE
        .half_word([icmp.kind, icmp.code], [A::ECHO_REPLY, icmp.code])
        .apply(icmp.checksum);
    icmp.kind = A::ECHO_REPLY;
    Some(())
}

impl RewriteEcho for V4 {
    #[inline(always)]
    fn turn_back<F: Frame + ?Sized>(frame: &mut F, request: &Packet<Self>) -> Option<()> {
        let ip: &mut Ipv4Hdr = frame.header_mut(request.network)?;
        ip.check = Delta::NONE
            .half_word([ip.ttl, ip.proto], [HOPS, ip.proto])
            .apply(ip.check);
        ip.ttl = HOPS;
        ip.src_addr = request.destination.to_bytes();
        ip.dst_addr = request.source.to_bytes();
        Some(())
    }
}

impl RewriteEcho for V6 {
    #[inline(always)]
    fn turn_back<F: Frame + ?Sized>(frame: &mut F, request: &Packet<Self>) -> Option<()> {
        let ip: &mut Ipv6Hdr = frame.header_mut(request.network)?;
        ip.hop_limit = HOPS;
        ip.src_addr = request.destination.to_bytes();
        ip.dst_addr = request.source.to_bytes();
        Some(())
    }
}
