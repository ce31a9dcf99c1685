//! ICMP: an error goes where an answer to the quoted packet would; an echo request is answered.

use std::net::SocketAddr;

use lb_common::verdict::Reason;

use super::part::{Part, part_at, read_part};
use super::turn::{moved, octets, put, without, word};
use super::{Back, Goal, Model, Tuple, Turn, Turned, UNKNOWN, fragment};
use crate::packet::{ICMP, ICMP6, TCP, UDP, ones_sum};

/// An error about a TCP or UDP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What it comes in.
    pub message: Part,
    /// The quoted packet.
    quote: Part,
    source: SocketAddr,
    destination: SocketAddr,
}

impl Model {
    pub(super) fn message(&self, frame: &[u8], now: u32) -> Result<Turned, Reason> {
        let part = read_part(frame)?;
        let is_v4 = part.source.is_ipv4();
        let is_message = part.protocol == if is_v4 { ICMP } else { ICMP6 };
        if !is_message || part.offset != 0 || part.more {
            return Err(Reason::OtherProtocol);
        }
        let icmp = part.transport..part.transport + 4;
        let icmp = frame.get(icmp).ok_or(Reason::Truncated)?;
        match (is_v4, icmp[0], icmp[1]) {
            (true, 3 | 11 | 12, _) | (false, 1..=4, _) => self.error(frame, part, now),
            (true, 8, 0) | (false, 128, 0) => {
                let is_plain = part.transport - part.network == if is_v4 { 20 } else { 40 };
                if is_plain && self.echo.contains(&part.destination) {
                    Ok(Turned::Echo(part))
                } else {
                    Err(Reason::OtherProtocol)
                }
            }
            _ => Err(Reason::OtherProtocol),
        }
    }

    fn error(&self, frame: &[u8], message: Part, now: u32) -> Result<Turned, Reason> {
        let is_v4 = message.source.is_ipv4();
        let quote =
            part_at(frame, message.transport + 8, is_v4).map_err(|_| Reason::UnclearQuote)?;
        let end = message.network + usize::from(message.length);
        if quote.offset != 0 || quote.transport + 8 > end {
            return Err(Reason::UnclearQuote);
        }
        if quote.protocol != TCP && quote.protocol != UDP {
            return Err(Reason::UnrelatedError);
        }
        if quote.transport + 4 > frame.len() {
            return Err(Reason::UnclearQuote);
        }
        if quote.source != message.destination {
            return Err(Reason::UnrelatedError);
        }
        let source = SocketAddr::new(quote.source, word(frame, quote.transport));
        let destination = SocketAddr::new(quote.destination, word(frame, quote.transport + 2));
        let to = self
            .answered(source, destination, quote.protocol, now)
            .ok_or(Reason::UnrelatedError)?;
        if message.hops <= 1 {
            return Err(Reason::Expiring);
        }
        let to = match to {
            Goal::Turn(to) => to,
            Goal::Carry(carry) => return Ok(Turned::Carried(message, carry)),
        };
        let error = Error {
            message,
            quote,
            source,
            destination,
        };
        Ok(Turned::Error(error, to))
    }

    /// What an answer from `destination` to `source` becomes.
    fn answered(
        &self,
        source: SocketAddr,
        destination: SocketAddr,
        protocol: u8,
        now: u32,
    ) -> Option<Goal> {
        if self.service(source, protocol).is_some() {
            let tuple = Tuple {
                client: destination,
                service: source,
                protocol,
            };
            let flow = self.flows.get(&tuple)?;
            let node = SocketAddr::new(flow.source, flow.node_port.unwrap_or(UNKNOWN));
            let turn = Goal::Turn((node, flow.endpoint));
            let goal = flow.carry.map_or(turn, Goal::Carry);
            return flow.life.is_live(now).then_some(goal);
        }
        let back = Back {
            endpoint: destination,
            protocol,
            node_port: source.port(),
        };
        let (tuple, _) = self.find_back(&back, source.ip(), now)?;
        Some(Goal::Turn((tuple.service, tuple.client)))
    }
}

/// The error turned, and its quote the other way.
pub fn turn_error(frame: &[u8], error: &Error, to: Turn) -> Vec<u8> {
    let (message, quote) = (&error.message, &error.quote);
    let mut turned = fragment::turn(frame, message, (to.0.ip(), to.1.ip()));
    let (source, destination) = (to.1, to.0);
    let addresses = [octets(source.ip()), octets(destination.ip())].concat();
    let place = quote.network + if source.is_ipv4() { 12 } else { 8 };
    put(&mut turned, place, &addresses);
    if source.is_ipv4() {
        let at = quote.network + 10;
        let sum = |frame: &[u8]| {
            // Of the addresses alone: options may lie beyond what is quoted.
            ones_sum(&frame[place..place + 8])
        };
        let checksum = moved(word(frame, at), sum(frame), sum(&turned));
        put(&mut turned, at, &checksum.to_be_bytes());
    }
    put(&mut turned, quote.transport, &source.port().to_be_bytes());
    put(
        &mut turned,
        quote.transport + 2,
        &destination.port().to_be_bytes(),
    );
    let at = quote.transport + if quote.protocol == TCP { 16 } else { 6 };
    let end = (message.network + usize::from(message.length)).min(frame.len());
    if at + 2 <= end {
        let field = word(frame, at);
        let sum = |frame: &[u8]| {
            let ports = &frame[quote.transport..quote.transport + 4];
            ones_sum(&[&frame[place..place + addresses.len()], ports].concat())
        };
        let checksum = match moved(field, sum(frame), sum(&turned)) {
            _ if quote.protocol == UDP && field == 0 => 0,
            0 if quote.protocol == UDP => 0xffff,
            checksum => checksum,
        };
        put(&mut turned, at, &checksum.to_be_bytes());
    }
    put_checksum(frame, &mut turned, message);
    turned
}

/// The reply to an echo request.
pub fn turn_echo(frame: &[u8], request: &Part) -> Vec<u8> {
    let mut turned = frame.to_owned();
    let ip = request.network;
    let hops = ip + if request.source.is_ipv4() { 8 } else { 7 };
    // One more than it leaves with: turning takes one off.
    turned[hops] = 65;
    let is_v4 = request.source.is_ipv4();
    if is_v4 {
        let sum = |frame: &[u8]| ones_sum(&without(&frame[ip..request.transport], 10));
        let checksum = moved(word(frame, ip + 10), sum(frame), sum(&turned));
        put(&mut turned, ip + 10, &checksum.to_be_bytes());
    }
    let mut turned = fragment::turn(&turned, request, (request.destination, request.source));
    turned[request.transport] = if is_v4 { 0 } else { 129 };
    put_checksum(frame, &mut turned, request);
    turned
}

/// Puts the message's checksum: what it was, moved by what has changed in all that it is over.
fn put_checksum(before: &[u8], after: &mut [u8], message: &Part) {
    let at = message.transport + 2;
    let sum = |frame: &[u8]| {
        let text = without(&frame[message.transport..], 2);
        if message.source.is_ipv4() {
            return ones_sum(&text);
        }
        let addresses = &frame[message.network + 8..message.network + 40];
        ones_sum(&[addresses, &text].concat())
    };
    let checksum = moved(word(before, at), sum(before), sum(after));
    put(after, at, &checksum.to_be_bytes());
}
