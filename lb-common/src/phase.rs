//! Where a flow is in its life, told from the signals of both sides.
//!
//! ```text
//!            client's first        FIN of
//!            packet that is        one side          FIN of the other
//!  SYN       not a SYN             |                 |
//!   └─ opening ──────── open ──────┴── closing ──────┴── closed
//!         └───────────────┴────── RST of either side ──────┘
//! ```
//! UDP has no signals: its second packet, from either side, opens the flow, and silence ends it.

use crate::limits::CLOSED_TICKS;
use crate::parse::Signals;

/// Who sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the endpoint.
    Client,
    /// Towards the client.
    Endpoint,
}

/// Where a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Handshake not finished. Gives way to other flows when the table is full.
    Opening,
    /// Established.
    Open,
    /// One side has finished.
    Closing,
    /// Both have finished, or one has reset.
    Closed,
}

impl Phase {
    /// Name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

/// How a TCP flow came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// FIN from both sides.
    Finished,
    /// RST from the client.
    ResetByClient,
    /// RST from the endpoint.
    ResetByEndpoint,
}

/// What has been seen of a flow, as bits. The byte is part of the flow entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress(u8);

impl Progress {
    /// A TCP flow of which one SYN was seen.
    pub const TCP: Self = Self(0);
    /// A UDP flow of which one packet was seen.
    pub const UDP: Self = Self(1 << 7);
    /// The bits a progress may have; the others of the byte belong to the entry.
    pub const BITS: u8 = 0b1111_1100;

    const CONFIRMED: u8 = 1 << 2;
    const CLIENT_FIN: u8 = 1 << 3;
    const ENDPOINT_FIN: u8 = 1 << 4;
    const CLIENT_RST: u8 = 1 << 5;
    const ENDPOINT_RST: u8 = 1 << 6;

    /// From the byte of an entry.
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte & Self::BITS)
    }

    /// For the byte of an entry.
    #[inline(always)]
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// True of a UDP flow.
    #[inline(always)]
    pub const fn is_udp(self) -> bool {
        self.0 & Self::UDP.0 != 0
    }

    /// The flow is open, and no packet without signals says more of it.
    #[inline(always)]
    pub const fn is_settled(self) -> bool {
        self.0 & !Self::UDP.0 == Self::CONFIRMED
    }

    /// The phase these signals make.
    #[inline(always)]
    pub const fn phase(self) -> Phase {
        const FINS: u8 = Progress::CLIENT_FIN | Progress::ENDPOINT_FIN;
        const RSTS: u8 = Progress::CLIENT_RST | Progress::ENDPOINT_RST;
        if self.0 & RSTS != 0 || self.0 & FINS == FINS {
            Phase::Closed
        } else if self.0 & FINS != 0 {
            Phase::Closing
        } else if self.0 & Self::CONFIRMED != 0 {
            Phase::Open
        } else {
            Phase::Opening
        }
    }

    /// After one more packet.
    #[inline(always)]
    #[must_use]
    pub const fn after(self, side: Side, signals: Signals) -> Self {
        let mut bits = self.0;
        match side {
            Side::Client => {
                if !signals.opens() {
                    bits |= Self::CONFIRMED;
                }
                if signals.finishes() {
                    bits |= Self::CLIENT_FIN;
                }
                if signals.resets() {
                    bits |= Self::CLIENT_RST;
                }
            }
            Side::Endpoint => {
                if self.is_udp() {
                    bits |= Self::CONFIRMED;
                }
                if signals.finishes() {
                    bits |= Self::ENDPOINT_FIN;
                }
                if signals.resets() {
                    bits |= Self::ENDPOINT_RST;
                }
            }
        }
        Self(bits)
    }

    /// What both entries of a flow know, together.
    #[inline(always)]
    #[must_use]
    pub const fn merged(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// How the flow ended, if it did so on the way from here to `after`.
    #[inline(always)]
    pub const fn ending(self, after: Self) -> Option<Ending> {
        if matches!(self.phase(), Phase::Closed) || !matches!(after.phase(), Phase::Closed) {
            None
        } else if after.0 & Self::CLIENT_RST != 0 {
            Some(Ending::ResetByClient)
        } else if after.0 & Self::ENDPOINT_RST != 0 {
            Some(Ending::ResetByEndpoint)
        } else {
            Some(Ending::Finished)
        }
    }

    /// As [`Progress::ending`], where only the client's packets are seen: its FIN is all there will be.
    #[inline(always)]
    pub const fn ending_of_one_side(self, after: Self) -> Option<Ending> {
        if !matches!(self.phase(), Phase::Opening | Phase::Open) {
            return None;
        }
        match after.phase() {
            Phase::Closed => Some(Ending::ResetByClient),
            Phase::Closing => Some(Ending::Finished),
            Phase::Opening | Phase::Open => None,
        }
    }

    /// Ticks of silence after which the flow is over; `idle` is [`crate::record::Service::idle`].
    #[inline(always)]
    pub const fn idle_ticks(self, idle: [u16; 4]) -> u32 {
        match (self.is_udp(), self.phase()) {
            (true, _) => idle[3] as u32,
            (_, Phase::Opening) => idle[0] as u32,
            (_, Phase::Open) => idle[1] as u32,
            (_, Phase::Closing) => idle[2] as u32,
            (_, Phase::Closed) => CLOSED_TICKS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Side::{Client, Endpoint};

    const DATA: Signals = Signals::NONE;
    const SYN: Signals = Signals::SYN;
    const FIN: Signals = Signals::FIN;
    const RST: Signals = Signals::RST;

    fn tcp(packets: &[(Side, Signals)]) -> Progress {
        packets
            .iter()
            .fold(Progress::TCP, |p, &(side, signals)| p.after(side, signals))
    }

    #[test]
    fn a_flow_opens_with_the_clients_acknowledgement_not_with_the_endpoints() {
        assert_eq!(tcp(&[]).phase(), Phase::Opening);
        assert_eq!(tcp(&[(Client, SYN)]).phase(), Phase::Opening);
        assert_eq!(tcp(&[(Endpoint, DATA)]).phase(), Phase::Opening);
        assert_eq!(
            tcp(&[(Endpoint, DATA), (Client, DATA)]).phase(),
            Phase::Open
        );
    }

    #[test]
    fn it_is_closing_after_one_fin_and_closed_after_both_in_either_order() {
        let open = tcp(&[(Client, DATA)]);
        for (first, second) in [(Client, Endpoint), (Endpoint, Client)] {
            let closing = open.after(first, FIN);
            assert_eq!(closing.phase(), Phase::Closing);
            assert_eq!(
                closing.after(first, FIN).phase(),
                Phase::Closing,
                "a repeated FIN"
            );
            let closed = closing.after(second, FIN);
            assert_eq!(closed.phase(), Phase::Closed);
            assert_eq!(closing.ending(closed), Some(Ending::Finished));
        }
    }

    #[test]
    fn a_reset_closes_from_every_phase_and_names_its_side() {
        for before in [
            tcp(&[]),
            tcp(&[(Client, DATA)]),
            tcp(&[(Client, DATA), (Endpoint, FIN)]),
        ] {
            let by_client = before.after(Client, RST);
            assert_eq!(before.ending(by_client), Some(Ending::ResetByClient));
            let by_endpoint = before.after(Endpoint, RST);
            assert_eq!(before.ending(by_endpoint), Some(Ending::ResetByEndpoint));
        }
    }

    #[test]
    fn a_flow_ends_once() {
        let closed = tcp(&[(Client, RST)]);
        assert_eq!(closed.ending(closed.after(Endpoint, RST)), None);
        assert_eq!(closed.ending(closed.after(Endpoint, FIN)), None);
    }

    #[test]
    fn udp_opens_with_its_second_packet_from_either_side() {
        assert_eq!(Progress::UDP.phase(), Phase::Opening);
        assert_eq!(Progress::UDP.after(Client, DATA).phase(), Phase::Open);
        assert_eq!(Progress::UDP.after(Endpoint, DATA).phase(), Phase::Open);
    }

    #[test]
    fn no_packet_ever_leads_back() {
        // Exhaustive: every reachable byte, both sides, every combination of signals.
        let order = |p: Progress| match p.phase() {
            Phase::Opening => 0,
            Phase::Open => 1,
            Phase::Closing => 2,
            Phase::Closed => 3,
        };
        for byte in 0..=u8::MAX {
            let before = Progress::from_byte(byte);
            for side in [Client, Endpoint] {
                for bits in 0..8_u8 {
                    let signals =
                        [SYN, FIN, RST]
                            .iter()
                            .enumerate()
                            .fold(DATA, |all, (i, &one)| {
                                if bits >> i & 1 == 1 {
                                    all.with(one)
                                } else {
                                    all
                                }
                            });
                    let after = before.after(side, signals);
                    assert!(
                        order(after) >= order(before),
                        "{before:?} {side:?} {signals:?}"
                    );
                    assert_eq!(after.is_udp(), before.is_udp());
                    assert_eq!(after.merged(before), after, "bits are only added");
                    assert_eq!(after.byte() & !Progress::BITS, 0);
                    let ended = order(before) < 3 && order(after) == 3;
                    assert_eq!(before.ending(after).is_some(), ended);
                }
            }
        }
    }

    #[test]
    fn each_phase_has_its_limit() {
        let idle = [30, 3600, 60, 31];
        assert_eq!(tcp(&[]).idle_ticks(idle), 30);
        assert_eq!(tcp(&[(Client, DATA)]).idle_ticks(idle), 3600);
        assert_eq!(tcp(&[(Client, FIN)]).idle_ticks(idle), 60);
        assert_eq!(tcp(&[(Client, RST)]).idle_ticks(idle), CLOSED_TICKS);
        assert_eq!(Progress::UDP.idle_ticks(idle), 31);
    }
}
