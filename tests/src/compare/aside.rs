//! Frames that are not whole TCP or UDP packets: fragments, errors, echo requests.

use lb_tests::node::client;
use lb_tests::packet::{Packet, eth};

use super::mutate::mutate;
use super::traffic::Traffic;

impl Traffic {
    /// A client's or an endpoint's packet in pieces: the first now, the others next, in any order.
    pub(super) fn fragments(&mut self) -> Packet {
        let is_client = self.dice.bool();
        let packet = if is_client {
            self.of_client()
        } else {
            self.of_endpoint()
        };
        let length = 8 * self.dice.usize(1..180);
        let mut pieces = packet.label(self.dice.u32(..200)).cut(length);
        pieces.truncate(8);
        if self.dice.u8(..4) == 0 {
            self.dice.shuffle(&mut pieces);
        }
        let first = pieces.remove(0);
        let port = self.ports[usize::from(!is_client)];
        for piece in pieces {
            let mut piece = piece.bytes();
            if self.dice.u8(..8) == 0 {
                mutate(&mut self.dice, &mut piece);
            }
            self.next.push_back((piece, port));
        }
        first
    }

    /// A router's error about what a client or an endpoint sent.
    pub(super) fn error(&mut self) -> Packet {
        // What the other side would have answered is what was sent.
        let packet = if self.dice.bool() {
            self.of_client()
        } else {
            self.of_endpoint()
        };
        let quoted = packet.answered();
        let source = quoted.source();
        let mut bytes = quoted.ip_bytes();
        let least = quoted.header_length();
        bytes.truncate(least + self.dice.usize(..60));
        if self.dice.u8(..20) == 0 {
            bytes.truncate(self.dice.usize(..=bytes.len()));
        }
        let (router_v4, router_v6) = client(self.dice.u16(..500));
        let (router, kind) = if source.is_ipv4() {
            (router_v4, [3, 3, 3, 11, 12, 4][self.dice.usize(..6)])
        } else {
            (router_v6, self.dice.u8(1..6))
        };
        let code = self.dice.u8(..6);
        let rest = [0, 0, self.dice.u8(..), self.dice.u8(..)];
        let packet = eth().ip(router, source).message(kind, code, rest);
        packet.payload(&bytes)
    }

    /// An echo request to a virtual address, or nearly one.
    pub(super) fn echo(&mut self) -> Packet {
        let place = self.dice.usize(..self.services.len());
        let vip = self.services[place].0.ip();
        let (source_v4, source_v6) = client(self.dice.u16(..500));
        let (source, kind) = if vip.is_ipv4() {
            (source_v4, 8)
        } else {
            (source_v6, 128)
        };
        let payload: Vec<u8> = (0..self.dice.usize(..90)).map(|at| at as u8).collect();
        let code = u8::from(self.dice.u8(..20) == 0);
        let packet = eth().ip(source, vip).message(kind, code, [1, 2, 3, 4]);
        packet.payload(&payload)
    }
}
