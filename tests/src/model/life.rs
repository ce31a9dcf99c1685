//! How far a flow is and when it is over.

use std::time::Duration;

use lb_userspace::desired;

use super::Read;

/// Nanoseconds in a second as limits are kept, and ticks in it.
const SECOND: u128 = 1 << 30;
const TICKS: u32 = 16;
/// Ticks a closed flow's packets are still let through.
const CLOSED: u32 = 10 * TICKS;
/// Ticks that the end must move for it to be moved at all: of short limits an eighth.
const RENEWAL: u32 = TICKS;

/// Idle limits in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    opening: u32,
    open: u32,
    closing: u32,
    udp: u32,
}

impl Idle {
    /// Limits, each rounded up to a whole second and one longer.
    #[must_use]
    pub fn of(idle: &desired::Idle) -> Self {
        let seconds = |limit: Duration| (limit.as_nanos().div_ceil(SECOND) + 1).min(65_535) as u32;
        let ticks = |limit| seconds(limit) * TICKS;
        Self {
            opening: ticks(idle.opening),
            open: ticks(idle.open),
            closing: ticks(idle.closing),
            udp: ticks(idle.udp),
        }
    }
}

/// What has been seen of a flow, and the tick at which it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    is_udp: bool,
    confirmed: bool,
    client_finished: bool,
    endpoint_finished: bool,
    client_reset: bool,
    endpoint_reset: bool,
    expires: u32,
    /// It may be over so many ticks earlier: nobody knows in which tick a packet was seen.
    doubt: u32,
}

impl Life {
    /// Of a flow's first packet.
    #[must_use]
    pub fn new(is_udp: bool, idle: &Idle, now: u32) -> Self {
        let expires = now + if is_udp { idle.udp } else { idle.opening };
        Self {
            is_udp,
            confirmed: false,
            client_finished: false,
            endpoint_finished: false,
            client_reset: false,
            endpoint_reset: false,
            expires,
            doubt: 0,
        }
    }

    /// Not over; nothing if that is in doubt.
    #[must_use]
    pub fn is_live(&self, now: u32) -> Option<bool> {
        match now {
            _ if now < self.expires - self.doubt => Some(true),
            _ if now >= self.expires => Some(false),
            _ => None,
        }
    }

    /// Either of two that differ in their end.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let earliest = |it: &Self| it.expires - it.doubt;
        let expires = self.expires.max(other.expires);
        Self {
            expires,
            doubt: expires - earliest(self).min(earliest(other)),
            ..*self
        }
    }

    /// A SYN of the client begins another flow.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.is_reset() || self.client_finished || self.endpoint_finished
    }

    fn is_reset(&self) -> bool {
        self.client_reset || self.endpoint_reset
    }

    /// After a packet of the client.
    #[must_use]
    pub fn after_client(&self, read: &Read, idle: &Idle, now: u32) -> Self {
        let seen = Self {
            confirmed: self.confirmed || !read.opens(),
            client_finished: self.client_finished || read.finishes(),
            client_reset: self.client_reset || read.resets(),
            ..*self
        };
        self.renewed(seen, idle, now)
    }

    /// After a packet of the endpoint.
    #[must_use]
    pub fn after_endpoint(&self, read: &Read, idle: &Idle, now: u32) -> Self {
        let seen = Self {
            confirmed: self.confirmed || self.is_udp,
            endpoint_finished: self.endpoint_finished || read.finishes(),
            endpoint_reset: self.endpoint_reset || read.resets(),
            ..*self
        };
        self.renewed(seen, idle, now)
    }

    fn renewed(&self, seen: Self, idle: &Idle, now: u32) -> Self {
        let limit = seen.limit(idle);
        let expires = now + limit;
        let worthwhile = (limit / 8).clamp(1, RENEWAL);
        // Not every packet is worth a write.
        if seen == *self && expires < self.expires - self.doubt + worthwhile {
            return *self;
        }
        let renewed = Self {
            expires,
            doubt: 0,
            ..seen
        };
        // Whether this one was may be in doubt.
        if seen != *self || expires >= self.expires + worthwhile {
            renewed
        } else {
            self.or(&renewed)
        }
    }

    fn limit(&self, idle: &Idle) -> u32 {
        if self.is_udp {
            idle.udp
        } else if self.is_reset() || self.client_finished && self.endpoint_finished {
            CLOSED
        } else if self.client_finished || self.endpoint_finished {
            idle.closing
        } else if self.confirmed {
            idle.open
        } else {
            idle.opening
        }
    }
}
