//! Frames: of clients, of endpoints answering them, of strangers; some of them damaged.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use fastrand::Rng;
use lb_common::verdict::{Reason, Verdict};
use lb_tests::model::{ONE_BUFFER, Tuple, read};
use lb_tests::node::{Port, client, v4, v6};
use lb_tests::packet::{
    ACK, DESTINATION_OPTIONS, FIN, HOP_BY_HOP, ICMP, ICMP6, PSH, Packet, ROUTING, RST, SYN, TCP,
    UDP, arp, eth,
};
use lb_userspace::desired::{Protocol, Service};

use super::mutate::{cut_everywhere, mutate};

/// Forwarded packets that answers are made for.
const REMEMBERED: usize = 2048;
/// A frame with so much to carry lies in several buffers, whatever the kernel. With less, but for a few
/// headers, it does not.
const CLEARLY_IN_PIECES: usize = 3600;
/// Frames are cut at every length up to this: behind every header, an error's quote included.
const LONGEST_CUT: usize = 180;
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
    pub(super) next: VecDeque<(Vec<u8>, Port)>,
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
        self.next.push_front((packet.bytes(), self.ports[0]));
    }

    /// A frame and where it comes in.
    pub fn next(&mut self) -> (Vec<u8>, Port) {
        if let Some(next) = self.next.pop_front() {
            return next;
        }
        let packet = match self.dice.u8(..100) {
            0..=48 => self.of_client(),
            49..=77 => self.of_endpoint(),
            78..=82 => self.fragments(),
            83..=90 => self.error(),
            91 => self.echo(),
            92..=95 => self.of_stranger(),
            _ => return (self.noise(), self.ports[0]),
        };
        let mut frame = self.dressed(packet).bytes();
        let port = self.ports[usize::from(self.dice.u8(..20).saturating_sub(17))];
        if self.dice.u16(..3000) == 0 {
            let cut = cut_everywhere(&frame, LONGEST_CUT);
            self.next.extend(cut.map(|frame| (frame, port)));
        }
        // Of a frame in several buffers the program reads the first: damaged headers could lead beyond it.
        if frame.len() <= ONE_BUFFER && self.dice.u8(..100) < 30 {
            mutate(&mut self.dice, &mut frame);
        }
        // In one buffer or in two, by the kernel's version: nobody can say.
        if (ONE_BUFFER..CLEARLY_IN_PIECES).contains(&frame.len()) {
            frame.truncate(ONE_BUFFER);
        }
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
            7 | 8 => packet = packet.options(&self.bytes_of_words(11)),
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
        match self.dice.u8(..10) {
            0 => packet.tcp_options(&self.bytes_of_words(11)),
            1..=3 => {
                let options = self.tcp_options();
                packet.tcp_options(&options)
            }
            _ => packet,
        }
    }

    /// Fewer than `most` words of anything.
    fn bytes_of_words(&mut self, most: usize) -> Vec<u8> {
        (0..4 * self.dice.usize(..most))
            .map(|_| self.dice.u8(..))
            .collect()
    }

    /// Options of the usual kinds in any order, and up to a whole word.
    fn tcp_options(&mut self) -> Vec<u8> {
        let mut options = Vec::new();
        for _ in 0..self.dice.usize(1..7) {
            let [a, b] = self.dice.u16(..2000).to_be_bytes();
            match self.dice.u8(..7) {
                0 | 1 => options.extend([2, 4, a, b]),
                2 => options.extend([4, 2]),
                3 => options.extend([3, 3, 7]),
                4 => options.extend([8, 10, a, b, 0, 1, 0, 0, 0, 2]),
                5 => options.push(1),
                // Says more or less than there is.
                _ => options.extend([a, b]),
            }
        }
        options.truncate(40);
        options.resize(options.len().next_multiple_of(4), self.dice.u8(..2));
        options
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
