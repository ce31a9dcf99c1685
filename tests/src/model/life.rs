//! How far a flow is and when it is over.

use std::time::Duration;

use lb_userspace::desired;

use super::Read;

/// Nanoseconds in a tick.
const TICK: u128 = 1 << 30;
/// Ticks a closed flow's packets are still let through.
const CLOSED: u32 = 10;
/// Ticks that the end must move for it to be moved at all, unless the limit is short.
const RENEWAL: u32 = 2;
/// Limits below are short.
const SHORT: u32 = 8;

/// Idle limits in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    opening: u32,
    open: u32,
    closing: u32,
    udp: u32,
}

impl Idle {
    /// Limits, each rounded up to a whole tick and one tick longer: the first has begun already.
    #[must_use]
    pub fn of(idle: &desired::Idle) -> Self {
        let ticks = |limit: Duration| (limit.as_nanos().div_ceil(TICK) + 1).min(65_535) as u32;
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
        }
    }

    /// Not over.
    #[must_use]
    pub fn is_live(&self, now: u32) -> bool {
        now < self.expires
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
        let worthwhile = if limit < SHORT { 1 } else { RENEWAL };
        // Not every packet is worth a write.
        if seen == *self && expires < self.expires + worthwhile {
            return *self;
        }
        Self { expires, ..seen }
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
