//! Fragments: the first one is a packet with ports; the others get its addresses, or are carried as it is.

use std::net::IpAddr;

use lb_common::verdict::Reason;

use super::part::{Part, read_part};
use super::read::transport;
use super::turn::{moved, octets, put, without, word};
use super::{Effect, Goal, Model, Onward, Remembered, Turned};
use crate::packet::{TCP, UDP, ones_sum};

/// Ticks that a first fragment is remembered.
const TICKS: u32 = 4;

/// What fragments of one packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragments {
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    protocol: u8,
}

impl Model {
    pub(super) fn fragment(
        &self,
        frame: &[u8],
        now: u32,
        effect: &mut Effect,
        remembered: &mut Remembered,
    ) -> Result<Turned, Reason> {
        let part = read_part(frame)?;
        if part.protocol != TCP && part.protocol != UDP {
            return Err(Reason::OtherProtocol);
        }
        let fragments = Fragments {
            source: part.source,
            destination: part.destination,
            id: part.id,
            protocol: part.protocol,
        };
        if part.offset == 0 {
            let read = transport(
                frame,
                (part.network, part.transport),
                (part.source, part.destination),
                (part.protocol, part.hops),
                part.length,
                part.length - if part.source.is_ipv6() { 40 } else { 0 },
            )?;
            let (goal, onward) = match self.to_other_side(&read, now, effect)? {
                Goal::Turn(to) => (Goal::Turn(to), Onward::Turn((to.0.ip(), to.1.ip()))),
                Goal::Carry(carry) => (Goal::Carry(carry), Onward::Carry(carry)),
            };
            if part.more {
                *remembered = Some((fragments, onward));
            }
            return Ok(Turned::Packet(read, goal));
        }
        match self.fragments.get(&fragments) {
            Some(&(onward, since)) if now - since < TICKS => {
                if part.hops <= 1 {
                    return Err(Reason::Expiring);
                }
                Ok(match onward {
                    Onward::Turn(addresses) => Turned::Later(part, addresses),
                    Onward::Carry(carry) => Turned::Carried(part, carry),
                })
            }
            _ => Err(Reason::Fragment),
        }
    }
}

/// The frame with other addresses, one hop on.
pub fn turn(frame: &[u8], part: &Part, (source, destination): (IpAddr, IpAddr)) -> Vec<u8> {
    let mut turned = frame.to_owned();
    let ip = part.network;
    let addresses = [octets(source), octets(destination)].concat();
    if source.is_ipv6() {
        turned[ip + 7] -= 1;
        put(&mut turned, ip + 8, &addresses);
        return turned;
    }
    turned[ip + 8] -= 1;
    put(&mut turned, ip + 12, &addresses);
    let sum = |frame: &[u8]| ones_sum(&without(&frame[ip..part.transport], 10));
    let checksum = moved(word(frame, ip + 10), sum(frame), sum(&turned));
    put(&mut turned, ip + 10, &checksum.to_be_bytes());
    turned
}
