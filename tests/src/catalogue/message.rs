//! ICMP errors about a flow reach its other side as if nothing stood between; echo requests are answered.

use std::net::{IpAddr, SocketAddr};

use lb_common::verdict::Reason::*;
use lb_tests::packet::{ACK, DESTINATION_OPTIONS, HOP_BY_HOP, ICMP, ICMP6, Packet, SYN};
use lb_userspace::desired::Protocol::{self, Tcp, Udp};

use super::Case;
use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, ENDPOINT, WEB, World};

/// What routers say of MTUs.
const MTU: [u8; 4] = [0, 0, 5, 0x14];

pub const CASES: &[Case] = &[
    ("an error about an answer goes to the endpoint", |stage| {
        each(stage, |stage, flow| {
            let answer = flow.answer(&[7; 700]);
            let sent = flow.sent_answer(&[7; 700]);
            for length in [8, 12, 16, 18, 20, 64, 548] {
                to_endpoint(stage, flow, &quote(&answer, length), &quote(&sent, length));
            }
        });
    }),
    ("an error about a question goes to the client", |stage| {
        each(stage, |stage, flow| {
            let question = flow.question(&[9; 700]);
            let forwarded = flow.forwarded(&[9; 700]);
            for length in [8, 12, 16, 18, 20, 64, 548] {
                let (quoted, turned) = (quote(&forwarded, length), quote(&question, length));
                to_client(stage, flow, &quoted, &turned);
            }
        });
    }),
    ("every kind of error is turned, others pass", |stage| {
        each(stage, |stage, flow| {
            let errors: &[(u8, u8)] = if flow.world.is_v4() {
                &[
                    (3, 0),
                    (3, 1),
                    (3, 3),
                    (3, 4),
                    (3, 13),
                    (11, 0),
                    (11, 1),
                    (12, 0),
                ]
            } else {
                &[(1, 0), (1, 4), (2, 0), (3, 0), (3, 1), (4, 1)]
            };
            let (answer, sent) = (flow.answer(b"a"), flow.sent_answer(b"a"));
            for &(kind, code) in errors {
                let error = |destination, quoted: &[u8]| {
                    let packet = between(flow.router, destination);
                    packet.message(kind, code, MTU).payload(quoted)
                };
                let (way, from) = (stage.to(1, 2), stage.node.client);
                let turned = error(flow.node.ip(), &quote(&sent, 8));
                let turned = turned.turned((flow.node.ip(), 0), (flow.endpoint.ip(), 0));
                let packet = error(flow.world.vip, &quote(&answer, 8));
                stage.sends(&packet, from, way, &turned);
            }
            let others: &[u8] = if flow.world.is_v4() {
                &[0, 4, 5, 9, 13]
            } else {
                &[0, 5, 100, 129, 133, 135, 137]
            };
            for &kind in others {
                let packet = between(flow.router, flow.world.vip).message(kind, 0, MTU);
                stage.passes(&packet.payload(&quote(&answer, 8)), OtherProtocol);
            }
        });
    }),
    ("headers around an error and in its quote stay", |stage| {
        each(stage, |stage, flow| {
            let (mut answer, mut sent) = (flow.answer(b"a"), flow.sent_answer(b"a"));
            if flow.world.is_v4() {
                (answer, sent) = (answer.options(&[1; 12]), sent.options(&[1; 12]));
                (answer, sent) = (answer.fragment(0, true), sent.fragment(0, true));
            } else {
                let dress = |packet: Packet| {
                    let packet = packet.extension(HOP_BY_HOP, 8);
                    packet.extension(DESTINATION_OPTIONS, 24).fragment(0, true)
                };
                (answer, sent) = (dress(answer), dress(sent));
            }
            let error = |quoted: Vec<u8>, destination| {
                let packet = error(flow.router, destination, &quoted)
                    .qinq(1, 2)
                    .class(0xc0);
                if flow.world.is_v4() {
                    packet.options(&[1; 20])
                } else {
                    packet.extension(HOP_BY_HOP, 16)
                }
            };
            let turned = error(quote(&sent, 8), flow.endpoint.ip());
            let turned = turned.turned((flow.node.ip(), 0), (flow.endpoint.ip(), 0));
            let (way, from) = (stage.to(1, 2), stage.node.client);
            let packet = error(quote(&answer, 8), flow.world.vip);
            stage.sends(&packet, from, way, &turned);
        });
    }),
    (
        "an error does not keep a flow alive, open or end it",
        |stage| {
            for world in stage.families() {
                stage.follow(&[world.web_at(Tcp, world.endpoint(1, 2))]);
                let flow = Flow::open(stage, world, Tcp);
                assert_eq!(stage.phase(flow.client).as_deref(), Some("opening"));
                let (answer, sent) = (flow.answer(b""), flow.sent_answer(b""));
                to_endpoint(stage, &flow, &quote(&answer, 20), &quote(&sent, 20));
                assert_eq!(stage.phase(flow.client).as_deref(), Some("opening"));
            }
        },
    ),
    ("an error about no flow passes", |stage| {
        each(stage, |stage, flow| {
            let world = flow.world;
            let quoted = |source: SocketAddr, destination: SocketAddr| {
                let packet = between(source.ip(), destination.ip());
                quote(&packet.udp(source.port(), destination.port()), 8)
            };
            let vip = SocketAddr::new(world.vip, WEB);
            let other = SocketAddr::new(world.other_client, CLIENT_PORT);
            let other_port = SocketAddr::new(world.client, CLIENT_PORT + 1);
            let own = SocketAddr::new(flow.node.ip(), 9);
            for (destination, quoted) in [
                (world.vip, quoted(vip, other)),
                (world.vip, quoted(vip, other_port)),
                (flow.node.ip(), quoted(own, flow.endpoint)),
                // To somebody who did not send the quoted packet.
                (world.vip, quote(&flow.forwarded(b""), 8)),
                (flow.node.ip(), quote(&flow.answer(b""), 8)),
            ] {
                stage.passes(&error(flow.router, destination, &quoted), UnrelatedError);
            }
            let nested = between(world.vip, world.client).message(8, 0, [0; 4]);
            let nested = error(flow.router, world.vip, &quote(&nested, 8));
            stage.passes(&nested, UnrelatedError);
        });
    }),
    ("an error that quotes too little passes", |stage| {
        each(stage, |stage, flow| {
            let answer = flow.answer(&[7; 64]);
            let whole = answer.ip_bytes();
            let least = header(flow.world) + 8;
            for length in 0..least {
                let cut = error(flow.router, flow.world.vip, &whole[..length]);
                stage.passes(&cut, UnclearQuote);
                // As long as the frame must be, but not the packet.
                let mut padded = cut.bytes();
                padded.extend([0; 40]);
                stage.passes_bytes(&padded, UnclearQuote);
            }
            let later = quote(&answer.clone().fragment(1, true), 64);
            stage.passes(&error(flow.router, flow.world.vip, &later), UnclearQuote);
            let frame = error(flow.router, flow.world.vip, &whole[..least]).bytes();
            let message = 14 + header(flow.world);
            for length in 14..message + 4 {
                stage.passes_bytes(&frame[..length], Truncated);
            }
            for length in message + 4..message + 8 + header(flow.world) + 4 {
                stage.passes_bytes(&frame[..length], UnclearQuote);
            }
        });
    }),
    (
        "an error with its last hop passes, for the kernel to answer",
        |stage| {
            each(stage, |stage, flow| {
                let error = error(flow.router, flow.world.vip, &quote(&flow.answer(b""), 8));
                stage.passes(&error.hops(1), Expiring);
            });
        },
    ),
    (
        "an echo request to a VIP that answers is answered",
        |stage| {
            for world in stage.families() {
                let silent = world.web_at(Tcp, world.endpoint(1, 2));
                let mut dns = world.web_at(Udp, world.endpoint(1, 2));
                dns.name = "dns".to_owned();
                dns.echo = true;
                stage.follow(&[silent.clone(), dns.clone()]);
                let (way, from) = (stage.to_clients(), stage.node.client);
                for length in [0, 1, 2, 3, 56, 1400] {
                    for hops in [1, 64, 255] {
                        let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
                        let (request, reply) = (echo(world, false), echo(world, true));
                        let request = request.hops(hops).payload(&payload).class(4).vlan(7);
                        let reply = reply.payload(&payload).class(4).vlan(7);
                        stage.sends(&request, from, way, &reply);
                    }
                }
                dns.echo = false;
                stage.follow(&[silent, dns]);
                stage.passes(&echo(world, false), OtherProtocol);
            }
        },
    ),
    ("other echo messages pass", |stage| {
        for world in stage.families() {
            let mut web = world.web_at(Tcp, world.endpoint(1, 2));
            web.echo = true;
            stage.follow(&[web]);
            stage.passes(&echo(world, true), OtherProtocol);
            let odd = if world.is_v4() {
                echo(world, false).options(&[1; 4])
            } else {
                echo(world, false).extension(HOP_BY_HOP, 8)
            };
            stage.passes(&odd, OtherProtocol);
            let to_other = between(world.client, world.host(1, 2));
            let (number, kind) = if world.is_v4() {
                (ICMP, 8)
            } else {
                (ICMP6, 128)
            };
            stage.passes(&to_other.message(kind, 0, [0, 1, 0, 1]), OtherProtocol);
            let wrong_code = between(world.client, world.vip).message(kind, 1, [0; 4]);
            stage.passes(&wrong_code, OtherProtocol);
            let piece = between(world.client, world.vip).protocol(number);
            stage.passes(&piece.payload(&[kind; 64]).fragment(0, true), OtherProtocol);
        }
    }),
];

/// An open flow and a router on its way.
#[derive(Clone, Copy)]
struct Flow {
    world: World,
    protocol: Protocol,
    router: IpAddr,
    client: SocketAddr,
    node: SocketAddr,
    endpoint: SocketAddr,
}

impl Flow {
    fn open(stage: &mut Stage<'_>, world: World, protocol: Protocol) -> Self {
        let to = world.endpoint(1, 2);
        let mut flow = Self {
            world,
            protocol,
            router: world.other_client,
            client: SocketAddr::new(world.client, CLIENT_PORT),
            node: SocketAddr::new(to.source, 0),
            endpoint: to.address,
        };
        let way = stage.to(1, 2);
        let opening = flow.packet(flow.client, flow.vip(), SYN, b"");
        let node_port = stage.forwards(&opening, way, |node_port| {
            let node = (to.source, node_port);
            opening.clone().turned(node, (to.address.ip(), ENDPOINT))
        });
        flow.node.set_port(node_port);
        flow
    }

    fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.world.vip, WEB)
    }

    /// As the client sends it.
    fn question(&self, payload: &[u8]) -> Packet {
        self.packet(self.client, self.vip(), ACK, payload)
    }

    /// As it goes to the endpoint, and is quoted by a router behind the node. The hop count is that of the
    /// question: it is the one thing in a quote that is not turned back.
    fn forwarded(&self, payload: &[u8]) -> Packet {
        self.packet(self.node, self.endpoint, ACK, payload)
    }

    /// As the endpoint sends it.
    fn sent_answer(&self, payload: &[u8]) -> Packet {
        self.packet(self.endpoint, self.node, ACK, payload)
    }

    /// As it goes to the client, and is quoted by a router before the node.
    fn answer(&self, payload: &[u8]) -> Packet {
        self.packet(self.vip(), self.client, ACK, payload)
    }

    fn packet(&self, from: SocketAddr, to: SocketAddr, flags: u8, payload: &[u8]) -> Packet {
        let packet = between(from.ip(), to.ip()).payload(payload);
        match self.protocol {
            Tcp => packet.tcp(flags, from.port(), to.port()),
            Udp => packet.udp(from.port(), to.port()),
        }
    }
}

/// Plays for both families and protocols a service with one endpoint, 1.2, and an open flow.
fn each(stage: &mut Stage<'_>, play: fn(&mut Stage<'_>, &Flow)) {
    for world in stage.families() {
        for protocol in [Tcp, Udp] {
            stage.follow(&[world.web_at(protocol, world.endpoint(1, 2))]);
            let flow = Flow::open(stage, world, protocol);
            play(stage, &flow);
        }
    }
}

/// Bytes of an IP header with nothing optional.
fn header(world: World) -> usize {
    if world.is_v4() { 20 } else { 40 }
}

/// A packet's IP headers and so many bytes of what follows.
fn quote(packet: &Packet, length: usize) -> Vec<u8> {
    let mut bytes = packet.ip_bytes();
    bytes.truncate(packet.header_length() + length);
    bytes
}

/// A router says that a packet is too big.
fn error(router: IpAddr, destination: IpAddr, quoted: &[u8]) -> Packet {
    let (kind, code) = if router.is_ipv4() { (3, 4) } else { (2, 0) };
    let packet = between(router, destination).message(kind, code, MTU);
    packet.payload(quoted)
}

/// The error comes in from a router before the node and goes to the endpoint.
#[track_caller]
fn to_endpoint(stage: &mut Stage<'_>, flow: &Flow, quoted: &[u8], turned: &[u8]) {
    let packet = error(flow.router, flow.world.vip, quoted);
    let turned = error(flow.router, flow.world.vip, turned)
        .turned((flow.node.ip(), 0), (flow.endpoint.ip(), 0));
    let (way, from) = (stage.to(1, 2), stage.node.client);
    stage.sends(&packet, from, way, &turned);
}

/// The error comes in from a router behind the node and goes to the client.
#[track_caller]
fn to_client(stage: &mut Stage<'_>, flow: &Flow, quoted: &[u8], turned: &[u8]) {
    let packet = error(flow.router, flow.node.ip(), quoted);
    let turned = error(flow.router, flow.node.ip(), turned)
        .turned((flow.world.vip, 0), (flow.client.ip(), 0));
    let (way, from) = (stage.to_clients(), stage.node.one);
    stage.sends(&packet, from, way, &turned);
}

fn echo(world: World, is_reply: bool) -> Packet {
    let kind = match (world.is_v4(), is_reply) {
        (true, false) => 8,
        (true, true) => 0,
        (false, false) => 128,
        (false, true) => 129,
    };
    let packet = if is_reply {
        between(world.vip, world.client)
    } else {
        between(world.client, world.vip)
    };
    packet.message(kind, 0, [0x12, 0x34, 0, 1])
}
