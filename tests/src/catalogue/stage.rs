//! How a case is played: a packet in, and everything that came of it checked.

use std::net::SocketAddr;

use lb_common::record::HAND_OVER_CUT;
use lb_common::verdict::{Reason, Verdict};
use lb_tests::model::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX, read};
use lb_tests::node::{Node, Port, mac_of};
use lb_tests::packet::{Packet, eth};
use lb_userspace::dataplane::{Counters, Run};
use lb_userspace::desired::Service;

use super::world::World;

/// Where a frame goes: its new MAC addresses.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The node's end.
    pub port: Port,
    /// Segment and host of the next hop.
    pub next: (u8, u8),
}

/// A node, and clients that only this case has.
pub struct Stage<'a> {
    pub node: &'a mut Node,
    pub v4: World,
    pub v6: World,
}

impl<'a> Stage<'a> {
    pub fn new(node: &'a mut Node) -> Self {
        let (client_v4, client_v6) = node.fresh_client();
        let (other_v4, other_v6) = node.fresh_client();
        let (v4, v6) = (
            World::v4(client_v4, other_v4),
            World::v6(client_v6, other_v6),
        );
        Self { node, v4, v6 }
    }

    pub fn families(&self) -> [World; 2] {
        [self.v4, self.v6]
    }

    pub fn follow(&mut self, services: &[Service]) {
        self.node.follow(services).expect("the program follows");
    }

    /// The way to an endpoint on segment 1 or 2, or on the clients' (0).
    pub fn to(&self, segment: u8, host: u8) -> Way {
        let port = [self.node.client, self.node.one, self.node.two][usize::from(segment)];
        Way {
            port,
            next: (segment, host),
        }
    }

    /// The way to every client.
    pub fn to_clients(&self) -> Way {
        self.to(0, 2)
    }

    /// The packet passes as it came.
    #[track_caller]
    pub fn passes(&mut self, packet: &Packet, reason: Reason) {
        self.passes_bytes(&packet.bytes(), reason);
    }

    /// The frame passes as it came.
    #[track_caller]
    pub fn passes_bytes(&mut self, frame: &[u8], reason: Reason) {
        let run = self.play(frame, self.node.client, reason);
        assert_eq!((reason.verdict(), run.action), (Verdict::Pass, XDP_PASS));
        assert_eq!(run.frame, frame, "it was touched");
    }

    #[track_caller]
    pub fn drops(&mut self, packet: &Packet, reason: Reason) {
        let run = self.play(&packet.bytes(), self.node.client, reason);
        assert_eq!((reason.verdict(), run.action), (Verdict::Drop, XDP_DROP));
    }

    /// The client is told that its packet would have gone if it had `mtu` bytes.
    #[track_caller]
    pub fn tells_the_sender(&mut self, packet: &Packet, mtu: u32) {
        let frame = packet.bytes();
        let run = self.play(&frame, self.node.client, Reason::TooBigTold);
        let told = lb_tests::model::too_big(&frame, mtu);
        assert_eq!(run.action, XDP_TX);
        assert_eq!(hex(&run.frame), hex(&told), "of {packet:?}");
    }

    /// As [`Stage::tells_the_sender`], of a packet in several buffers: the kernel is to cut the frame off
    /// behind what the client is told, and to send it.
    #[track_caller]
    pub fn has_the_sender_told(&mut self, packet: &Packet, mtu: u32) {
        let frame = packet.bytes();
        let run = self.play(&frame, self.node.client, Reason::TooBigTold);
        let told = lb_tests::model::too_big(&frame, mtu);
        assert_eq!(run.action, XDP_PASS);
        assert_eq!(run.frame[..6], HAND_OVER_CUT);
        assert_eq!(
            hex(&run.frame[6..told.len()]),
            hex(&told[6..]),
            "of {packet:?}"
        );
    }

    /// The client's packet leaves on a way as this frame, but for its MAC addresses.
    #[track_caller]
    pub fn leaves(&mut self, packet: &Packet, way: Way, as_this: &Packet) {
        let (reason, action) = if way.port == self.node.client {
            (Reason::Transmitted, XDP_TX)
        } else {
            (Reason::Redirected, XDP_REDIRECT)
        };
        let run = self.play(&packet.bytes(), self.node.client, reason);
        let (segment, host) = way.next;
        let expected = as_this
            .clone()
            .macs(way.port.mac, mac_of(segment, host))
            .bytes();
        assert_eq!(run.action, action, "of {packet:?}");
        assert_eq!(hex(&run.frame), hex(&expected), "of {packet:?}");
    }

    /// The client's packet goes to an endpoint as `turned` (given the node port) says. Returns the
    /// node port.
    #[track_caller]
    pub fn forwards(&mut self, packet: &Packet, way: Way, turned: impl Fn(u16) -> Packet) -> u16 {
        self.becomes(packet, self.node.client, way, turned)
    }

    /// The endpoint's packet, come in on `from`, goes to the client as `turned` says.
    #[track_caller]
    pub fn returns(&mut self, packet: &Packet, from: Port, turned: &Packet) {
        let way = self.to_clients();
        self.becomes(packet, from, way, |_| turned.clone());
    }

    /// The packet, come in on `from`, goes out as `turned` says.
    #[track_caller]
    pub fn sends(&mut self, packet: &Packet, from: Port, way: Way, turned: &Packet) {
        let (reason, action) = way_out(way, from);
        let run = self.play(&packet.bytes(), from, reason);
        assert_eq!(run.action, action, "of {packet:?}");
        let (segment, host) = way.next;
        let macs = (way.port.mac, mac_of(segment, host));
        let expected = turned.clone().macs(macs.0, macs.1).bytes();
        assert_eq!(hex(&run.frame), hex(&expected), "of {packet:?}");
    }

    #[track_caller]
    fn becomes(
        &mut self,
        packet: &Packet,
        from: Port,
        way: Way,
        turned: impl Fn(u16) -> Packet,
    ) -> u16 {
        let (reason, action) = way_out(way, from);
        let run = self.play(&packet.bytes(), from, reason);
        assert_eq!(run.action, action, "of {packet:?}");
        let port = read(&run.frame)
            .expect("a whole packet comes out")
            .source
            .port();
        let (segment, host) = way.next;
        let expected = turned(port)
            .macs(way.port.mac, mac_of(segment, host))
            .bytes();
        assert_eq!(hex(&run.frame), hex(&expected), "of {packet:?}");
        port
    }

    /// Gives the program a frame; exactly this reason is counted once.
    #[track_caller]
    pub fn play(&mut self, frame: &[u8], from: Port, reason: Reason) -> Run {
        self.counting(reason, frame, |node| node.run(frame, from))
    }

    /// The same of the program for replies of endpoints on the node.
    #[track_caller]
    pub fn play_local(&mut self, frame: &[u8], parts: (u32, u32), reason: Reason) -> Run {
        let from = self.node.one;
        self.counting(reason, frame, |node| node.run_local(frame, from, parts))
    }

    #[track_caller]
    fn counting(
        &mut self,
        reason: Reason,
        frame: &[u8],
        run: impl FnOnce(&mut Node) -> anyhow::Result<Run>,
    ) -> Run {
        let before = self.node.reasons().expect("reasons");
        let run = run(self.node).expect("the frame is taken");
        let after = self.node.reasons().expect("reasons");
        let counted: Vec<(&str, u64)> = Reason::ALL
            .iter()
            .zip(before.iter().zip(after))
            .filter(|(_, (before, after))| **before != *after)
            .map(|(reason, (before, after))| (reason.name(), after - before))
            .collect();
        assert_eq!(counted, [(reason.name(), 1)], "frame {}", hex(frame));
        run
    }

    /// The phase of a client's flow.
    pub fn phase(&self, client: SocketAddr) -> Option<String> {
        self.node
            .flow(client)
            .expect("flows")
            .map(|flow| flow.phase)
    }

    /// What `work` adds to an endpoint's counters.
    pub fn counted(&mut self, endpoint: SocketAddr, work: impl FnOnce(&mut Self)) -> Counters {
        let before = self.counters(endpoint);
        work(self);
        let after = self.counters(endpoint);
        Counters {
            packets_in: after.packets_in - before.packets_in,
            bytes_in: after.bytes_in - before.bytes_in,
            packets_out: after.packets_out - before.packets_out,
            bytes_out: after.bytes_out - before.bytes_out,
            opened: after.opened - before.opened,
            closed: after.closed - before.closed,
            reset_by_endpoint: after.reset_by_endpoint - before.reset_by_endpoint,
            reset_by_client: after.reset_by_client - before.reset_by_client,
            refused: after.refused - before.refused,
        }
    }

    fn counters(&self, endpoint: SocketAddr) -> Counters {
        self.node
            .endpoint(endpoint, "web")
            .expect("a known endpoint")
            .counters
    }
}

fn way_out(way: Way, from: Port) -> (Reason, u32) {
    if way.port == from {
        (Reason::Transmitted, XDP_TX)
    } else {
        (Reason::Redirected, XDP_REDIRECT)
    }
}

/// A packet between two addresses.
pub fn between(source: std::net::IpAddr, destination: std::net::IpAddr) -> Packet {
    eth().ip(source, destination)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
