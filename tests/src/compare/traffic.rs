//! Frames: of clients, of endpoints answering them, of strangers; some of them damaged.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use fastrand::Rng;
use lb_common::verdict::{Reason, Verdict};
use lb_tests::model::{Tuple, read};
use lb_tests::node::{Port, client, v4, v6};
use lb_tests::packet::{
    ACK, DESTINATION_OPTIONS, FIN, HOP_BY_HOP, ICMP, ICMP6, PSH, Packet, ROUTING, RST, SYN, TCP,
    UDP, arp, eth,
};
use lb_userspace::desired::{Protocol, Service};

/// Forwarded packets that answers are made for.
const REMEMBERED: usize = 2048;
/// A frame with so much to carry lies in several buffers, whatever the kernel. With less, but for a few
/// headers, it does not.
const CLEARLY_IN_PIECES: usize = 3600;
/// Clients, and source ports of each.
const CLIENTS: u16 = 60;
const PORTS: u16 = 30;

/// What a forwarded packet said to its endpoint.
#[derive(Clone, Copy)]
struct Asked {
    node: SocketAddr,
    endpoint: SocketAddr,
    protocol: u8,
}

/// A source of frames.
pub struct Traffic {
    pub(super) dice: Rng,
    pub(super) ports: [Port; 3],
    /// Largest IP packet of a segment; now and then one is larger.
    mtu: u16,
    /// Address, last port and protocol of each.
    pub(super) services: Vec<(SocketAddr, u16, u8)>,
    asked: Vec<Asked>,
    /// What comes next, as it is.
    pub(super) next: VecDeque<(Packet, Port)>,
}

impl Traffic {
    pub fn new(seed: u64, ports: [Port; 3], mtu: u16) -> Self {
        Self {
            dice: Rng::with_seed(seed),
            ports,
            services: Vec::new(),
            mtu,
            asked: Vec::new(),
            next: VecDeque::new(),
        }
    }

    /// Clients talk to these services from now on.
    pub fn follow(&mut self, services: &[Service]) {
        let number = |protocol| if protocol == Protocol::Tcp { TCP } else { UDP };
        self.services = services
            .iter()
            .map(|s| (s.address, s.last_port(), number(s.protocol)))
            .collect();
    }

    /// Takes note of what the program made of a frame, to answer it some time.
    pub fn note(&mut self, reason: Reason, out: &[u8]) {
        if reason.verdict() != Verdict::Forward {
            return;
        }
        let Ok(read) = read(out) else { return };
        let is_of_service = |&(address, last, protocol): &(SocketAddr, u16, u8)| {
            let ports = address.port()..=last;
            (address.ip(), protocol) == (read.source.ip(), read.protocol)
                && ports.contains(&read.source.port())
        };
        if self.services.iter().any(is_of_service) {
            return;
        }
        let asked = Asked {
            node: read.source,
            endpoint: read.destination,
            protocol: read.protocol,
        };
        if self.asked.len() < REMEMBERED {
            self.asked.push(asked);
        } else {
            let place = self.dice.usize(..REMEMBERED);
            self.asked[place] = asked;
        }
    }

    /// Sends a flow's next packet at once, whole and small.
    pub fn ask_again(&mut self, flow: Tuple) {
        let packet = eth().ip(flow.client.ip(), flow.service.ip());
        let (source, destination) = (flow.client.port(), flow.service.port());
        let packet = match flow.protocol {
            TCP => packet.tcp(ACK, source, destination),
            _ => packet.udp(source, destination),
        };
        self.next.push_front((packet, self.ports[0]));
    }

    /// A frame and where it comes in.
    pub fn next(&mut self) -> (Vec<u8>, Port) {
        if let Some((packet, port)) = self.next.pop_front() {
            return (packet.bytes(), port);
        }
        let packet = match self.dice.u8(..100) {
            0..=48 => self.of_client(),
            49..=79 => self.of_endpoint(),
            80..=83 => self.fragments(),
            84..=90 => self.error(),
            91 => self.echo(),
            92..=95 => self.of_stranger(),
            _ => return (self.noise(), self.ports[0]),
        };
        let mut frame = self.dressed(packet).bytes();
        match self.dice.u8(..100) {
            0..=12 => self.flip_bits(&mut frame),
            13..=16 => frame.truncate(self.dice.usize(14..=frame.len())),
            17..=19 => {
                let place = self.dice.usize(..frame.len());
                frame[place] = self.dice.u8(..);
            }
            20 => frame.extend((0..self.dice.usize(..60)).map(|_| 0)),
            _ => {}
        }
        let port = self.ports[usize::from(self.dice.u8(..20).saturating_sub(17))];
        (frame, port)
    }

    pub(super) fn of_client(&mut self) -> Packet {
        let place = self.dice.usize(..self.services.len());
        let (service, last, protocol) = self.services[place];
        // Of all ports only some: a flow is to have more than one packet.
        let last = if last == u16::MAX && self.dice.u8(..10) != 0 {
            20
        } else {
            last
        };
        let virtual_port = self.dice.u16(service.port()..=last);
        let (client_v4, client_v6) = client(self.dice.u16(..CLIENTS));
        let client = if service.is_ipv4() {
            client_v4
        } else {
            client_v6
        };
        let port = 40_000 + self.dice.u16(..PORTS);
        let packet = eth().ip(client, service.ip());
        self.transport(packet, protocol, (port, virtual_port), 45)
    }

    pub(super) fn of_endpoint(&mut self) -> Packet {
        if self.asked.is_empty() {
            return self.of_client();
        }
        let asked = self.asked[self.dice.usize(..self.asked.len())];
        let packet = eth().ip(asked.endpoint.ip(), asked.node.ip());
        let ports = (asked.endpoint.port(), asked.node.port());
        self.transport(packet, asked.protocol, ports, 5)
    }

    /// Close to the traffic of a service, but none of it.
    fn of_stranger(&mut self) -> Packet {
        let host = self.dice.u8(2..5);
        let is_v4 = self.dice.bool();
        let of = |segment, host| {
            if is_v4 {
                v4(segment, host)
            } else {
                v6(segment, host)
            }
        };
        let port = self.dice.u16(10_240..30_000);
        let protocol = if self.dice.bool() { TCP } else { UDP };
        let packet = eth().ip(of(1, host), of(self.dice.u8(1..3), 1));
        match self.dice.u8(..4) {
            0 => packet
                .protocol(if is_v4 { ICMP } else { ICMP6 })
                .payload(&[8, 0, 0, 0, 1, 2]),
            1 => {
                let vip: IpAddr = self.services[self.dice.usize(..self.services.len())].0.ip();
                let source = client(7);
                let source = if vip.is_ipv4() { source.0 } else { source.1 };
                let port = self.dice.u16(8999..9003);
                self.transport(eth().ip(source, vip), protocol, (40_000, port), 50)
            }
            _ => self.transport(packet, protocol, (8080, port), 20),
        }
    }

    fn transport(
        &mut self,
        packet: Packet,
        protocol: u8,
        (source, destination): (u16, u16),
        syn_percent: u8,
    ) -> Packet {
        let length = match self.dice.u8(..40) {
            0 if usize::from(self.mtu) > CLEARLY_IN_PIECES => self
                .dice
                .usize(CLEARLY_IN_PIECES..usize::from(self.mtu) + 100),
            0..=3 => self.dice.usize(..1600),
            _ => self.dice.usize(..40),
        };
        let payload: Vec<u8> = (0..length).map(|_| self.dice.u8(..)).collect();
        let packet = packet.payload(&payload);
        if protocol == UDP {
            let packet = packet.udp(source, destination);
            return if self.dice.u8(..5) == 0 {
                packet.without_checksum()
            } else {
                packet
            };
        }
        let flags = match self.dice.u8(..100) {
            dice if dice < syn_percent => SYN,
            dice if dice < 85 => ACK,
            dice if dice < 88 => ACK | PSH,
            dice if dice < 93 => ACK | FIN,
            dice if dice < 96 => RST,
            dice if dice < 97 => SYN | ACK,
            _ => self.dice.u8(..),
        };
        packet.tcp(flags, source, destination)
    }

    /// With what a packet may have around it.
    fn dressed(&mut self, mut packet: Packet) -> Packet {
        packet = packet.class(self.dice.u8(..));
        match self.dice.u8(..60) {
            0 => packet = packet.hops(self.dice.u8(..3)),
            1 | 2 => packet = packet.hops(self.dice.u8(..)),
            3 => packet = packet.vlan(self.dice.u16(..4096)),
            4 => packet = packet.qinq(self.dice.u16(..4096), 9),
            5 => packet = packet.qinq(1, 2).vlan(3),
            6 => packet = packet.fragment(self.dice.u16(..3), self.dice.bool()),
            7 | 8 => packet = packet.options(&vec![1; 4 * self.dice.usize(..11)]),
            9..=12 => {
                for _ in 0..self.dice.u8(1..6) {
                    let kind = [
                        HOP_BY_HOP,
                        DESTINATION_OPTIONS,
                        DESTINATION_OPTIONS,
                        ROUTING,
                    ][self.dice.usize(..4)];
                    packet = packet.extension(kind, 8 * self.dice.usize(1..4));
                }
            }
            _ => {}
        }
        packet
    }

    fn flip_bits(&mut self, frame: &mut [u8]) {
        for _ in 0..self.dice.u8(1..4) {
            let place = self.dice.usize(..frame.len().min(80));
            frame[place] ^= 1 << self.dice.u8(..8);
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        match self.dice.u8(..3) {
            0 => arp([10, 64, 0, 1]).bytes(),
            1 => {
                let mut frame: Vec<u8> = (0..self.dice.usize(14..200))
                    .map(|_| self.dice.u8(..))
                    .collect();
                let ether_type =
                    [[8, 0], [0x86, 0xdd], [0x81, 0], [0x88, 0xa8], [8, 6]][self.dice.usize(..5)];
                frame[12..14].copy_from_slice(&ether_type);
                frame
            }
            _ => (0..self.dice.usize(14..200))
                .map(|_| self.dice.u8(..))
                .collect(),
        }
    }
}
