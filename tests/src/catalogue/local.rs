//! Replies of endpoints on the node, as the kernel's own network code has them. BPF_PROG_TEST_RUN cannot make
//! the unfinished checksums they have in life; the trials of pods do.

use lb_common::verdict::Reason::{self, *};
use lb_tests::packet::{ACK, PSH, Packet, SYN, arp};
use lb_userspace::desired::Protocol::{self, Tcp, Udp};

use super::Case;
use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, ENDPOINT, WEB, World};

/// What the program answers: leave it to others, throw it away, send it.
const UNSPEC: u32 = u32::MAX;
const SHOT: u32 = 2;
const REDIRECT: u32 = 7;
/// Not to be parted.
const WHOLE: (u32, u32) = (1, 0);

pub const CASES: &[Case] = &[
    ("a reply that the kernel has comes from the VIP", |stage| {
        for protocol in [Tcp, Udp] {
            each(stage, protocol, |stage, world, node_port| {
                for length in [0, 1, 2, 33, 1400] {
                    let reply = reply(world, protocol, node_port).payload(&vec![0xa7; length]);
                    returns(stage, world, &reply);
                }
                returns(stage, world, &reply(world, protocol, node_port).class(0xb9));
            });
        }
        each(stage, Udp, |stage, world, node_port| {
            if world.is_v4() {
                let reply = reply(world, Udp, node_port).payload(b"no sum");
                returns(stage, world, &reply.without_checksum());
            }
        });
    }),
    (
        "a reply that the kernel has is followed and counted",
        |stage| {
            each(stage, Tcp, |stage, world, node_port| {
                let client = std::net::SocketAddr::new(world.client, CLIENT_PORT);
                let header = if world.is_v4() { 40 } else { 60 };
                let from = between(world.host(1, 2), world.source(1));
                let counted = stage.counted(world.endpoint(1, 2).address, |stage| {
                    returns(
                        stage,
                        world,
                        &from.clone().tcp(SYN | ACK, ENDPOINT, node_port),
                    );
                    let ack = between(world.client, world.vip).tcp(ACK, CLIENT_PORT, WEB);
                    stage.play(&ack.bytes(), stage.node.client, Redirected);
                    assert_eq!(stage.phase(client).as_deref(), Some("open"));
                    returns(stage, world, &from.tcp(PSH | ACK, ENDPOINT, node_port));
                });
                assert_eq!((counted.packets_out, counted.bytes_out), (2, 2 * header));
            });
        },
    ),
    (
        "a reply of many packets counts as these, and goes where each would",
        |stage| {
            each(stage, Tcp, |stage, world, node_port| {
                let header = if world.is_v4() { 40 } else { 60 };
                // One page is all that BPF_PROG_TEST_RUN takes.
                let reply = reply(world, Tcp, node_port).payload(&[0x3c; 3 * 1000 + 7]);
                let counted = stage.counted(world.endpoint(1, 2).address, |stage| {
                    returns_in(stage, world, &reply, (4, 1000));
                });
                assert_eq!(counted.packets_out, 4);
                assert_eq!(counted.bytes_out, 4 * header + 3 * 1000 + 7);
                stops(stage, &reply, (3, 1500), (TooBig, SHOT));
            });
        },
    ),
    ("a reply larger than its way out is dropped", |stage| {
        each(stage, Udp, |stage, world, node_port| {
            let reply = reply(world, Udp, node_port).payload(&[1; 1600]);
            stops(stage, &reply, WHOLE, (TooBig, SHOT));
        });
    }),
    (
        "what else comes from endpoints on the node passes",
        |stage| {
            // Another case's flow may have the same node port.
            stage.node.forget_flows().expect("no flows");
            each(stage, Tcp, |stage, world, node_port| {
                let from = between(world.host(1, 2), world.source(1));
                let others = [
                    (from.clone().tcp(ACK, ENDPOINT, 22), NotForService),
                    (
                        from.clone().tcp(ACK, ENDPOINT, node_port ^ 1),
                        NotForService,
                    ),
                    (
                        from.clone().tcp(ACK, ENDPOINT + 1, node_port),
                        NotForService,
                    ),
                    (from.clone().udp(ENDPOINT, node_port), NotForService),
                    (from.clone().hops(1).tcp(ACK, ENDPOINT, node_port), Expiring),
                    // Of a client on the node.
                    (
                        between(world.host(1, 2), world.vip).tcp(SYN, 9, WEB),
                        NotForService,
                    ),
                    (arp([10, 64, 1, 1]), NotIp),
                ];
                for (packet, reason) in others {
                    stops(stage, &packet, WHOLE, (reason, UNSPEC));
                }
            });
        },
    ),
    (
        "a SYN+ACK that the kernel has announces no larger segments than allowed",
        |stage| {
            for world in stage.families() {
                let mut service = world.web_at(Tcp, world.endpoint(1, 2));
                service.delivery.mss = Some(1400);
                stage.follow(&[service]);
                let node_port = opens(stage, world, Tcp);
                let reply = between(world.host(1, 2), world.source(1));
                let reply = reply.tcp(SYN | ACK, ENDPOINT, node_port);
                let turned = turned(world, &reply).tcp_options(&[2, 4, 5, 0x78]);
                sends(stage, &reply.tcp_options(&[2, 4, 0x22, 0]), WHOLE, &turned);
            }
        },
    ),
    (
        "fragments of a reply that the kernel has come from the VIP",
        |stage| {
            each(stage, Udp, |stage, world, node_port| {
                let reply = reply(world, Udp, node_port).label(9).payload(&[3; 3000]);
                let turned = turned(world, &reply);
                for (piece, turned) in reply.cut(1448).iter().zip(turned.cut(1448)) {
                    sends(stage, piece, WHOLE, &turned);
                }
                let alone = reply.label(10).cut(1448);
                stops(stage, &alone[1], WHOLE, (Fragment, UNSPEC));
            });
        },
    ),
    (
        "an endpoint on the node tells a client of an error",
        |stage| {
            each(stage, Udp, |stage, world, node_port| {
                let (node, endpoint) = (world.source(1), world.host(1, 2));
                let (kind, code) = if world.is_v4() { (3, 3) } else { (1, 4) };
                let error = |from, to, quoted: &Packet| {
                    let bytes = quoted.bytes();
                    let message = between(from, to).message(kind, code, [0; 4]);
                    message.payload(&bytes[14..])
                };
                let question = between(world.client, world.vip)
                    .udp(CLIENT_PORT, WEB)
                    .payload(b"?");
                let forwarded = between(node, endpoint)
                    .udp(node_port, ENDPOINT)
                    .payload(b"?");
                let (forwarded, question) = (forwarded.hops(7), question.hops(7));
                let turned =
                    error(endpoint, node, &question).turned((world.vip, 0), (world.client, 0));
                sends(stage, &error(endpoint, node, &forwarded), WHOLE, &turned);
                let other = between(node, endpoint).udp(node_port ^ 1, ENDPOINT);
                stops(
                    stage,
                    &error(endpoint, node, &other),
                    WHOLE,
                    (UnrelatedError, UNSPEC),
                );
            });
        },
    ),
];

/// In each family, with a flow of a client to an endpoint, given its node port.
fn each(stage: &mut Stage<'_>, protocol: Protocol, case: impl Fn(&mut Stage<'_>, World, u16)) {
    for world in stage.families() {
        stage.follow(&[world.web_at(protocol, world.endpoint(1, 2))]);
        let node_port = opens(stage, world, protocol);
        case(stage, world, node_port);
    }
}

/// A client's first packet is forwarded: the node port of its flow.
#[track_caller]
fn opens(stage: &mut Stage<'_>, world: World, protocol: Protocol) -> u16 {
    let to = world.endpoint(1, 2);
    let question = between(world.client, world.vip);
    let question = match protocol {
        Tcp => question.tcp(SYN, CLIENT_PORT, WEB),
        Udp => question.udp(CLIENT_PORT, WEB),
    };
    let turned = |node_port| {
        question
            .clone()
            .turned((to.source, node_port), (to.address.ip(), ENDPOINT))
    };
    stage.forwards(&question, stage.to(1, 2), turned)
}

fn reply(world: World, protocol: Protocol, node_port: u16) -> Packet {
    let from = between(world.host(1, 2), world.source(1));
    match protocol {
        Tcp => from.tcp(ACK, ENDPOINT, node_port),
        Udp => from.udp(ENDPOINT, node_port),
    }
}

fn turned(world: World, reply: &Packet) -> Packet {
    reply
        .clone()
        .turned((world.vip, WEB), (world.client, CLIENT_PORT))
}

#[track_caller]
fn returns(stage: &mut Stage<'_>, world: World, reply: &Packet) {
    returns_in(stage, world, reply, WHOLE);
}

#[track_caller]
fn returns_in(stage: &mut Stage<'_>, world: World, reply: &Packet, parts: (u32, u32)) {
    sends(stage, reply, parts, &turned(world, reply));
}

/// The kernel sends it as this; link-layer addresses are its own affair.
#[track_caller]
fn sends(stage: &mut Stage<'_>, packet: &Packet, parts: (u32, u32), as_this: &Packet) {
    let run = stage.play_local(&packet.bytes(), parts, Returned);
    assert_eq!(run.action, REDIRECT, "of {packet:?}");
    assert_eq!(run.frame[12..], as_this.bytes()[12..], "of {packet:?}");
}

/// It is not sent, and not touched.
#[track_caller]
fn stops(
    stage: &mut Stage<'_>,
    packet: &Packet,
    parts: (u32, u32),
    (reason, action): (Reason, u32),
) {
    let run = stage.play_local(&packet.bytes(), parts, reason);
    assert_eq!(run.action, action, "of {packet:?}");
    assert_eq!(run.frame, packet.bytes(), "it was touched");
}
