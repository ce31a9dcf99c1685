//! Fragments: the first one meets the flow, the others follow it.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use lb_common::verdict::Reason::*;
use lb_tests::node::mac_of;
use lb_tests::packet::{ACK, DESTINATION_OPTIONS, HOP_BY_HOP, Packet, SYN};
use lb_userspace::desired::Protocol::{Tcp, Udp};

use super::Case;
use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, ENDPOINT, WEB, World};

/// IP protocol number of something that is not balanced.
const GRE: u8 = 47;

pub const CASES: &[Case] = &[
    ("a datagram's fragments go to its endpoint", |stage| {
        each(stage, |stage, world| {
            opens(stage, world, &datagram(world, 1), 1200);
        });
    }),
    ("fragments of an answer come from the VIP", |stage| {
        each(stage, |stage, world| {
            let node_port = opens(stage, world, &datagram(world, 1), 1200);
            let reply = between(world.host(1, 2), world.source(1))
                .label(2)
                .udp(ENDPOINT, node_port)
                .payload(&[3; 3000]);
            let turned = reply
                .clone()
                .turned((world.vip, WEB), (world.client, CLIENT_PORT));
            let (from, way) = (stage.node.one, stage.to_clients());
            for (piece, turned) in reply.cut(1448).iter().zip(turned.cut(1448)) {
                stage.sends(piece, from, way, &turned);
            }
        });
    }),
    ("fragments of a segment follow their flow", |stage| {
        for world in stage.families() {
            stage.follow(&[world.web_at(Tcp, world.endpoint(1, 2))]);
            let syn = between(world.client, world.vip).tcp(SYN, CLIENT_PORT, WEB);
            opens(stage, world, &syn.label(1).payload(&[5; 64]), 24);
            let data = between(world.client, world.vip).tcp(ACK, CLIENT_PORT, WEB);
            opens(stage, world, &data.label(2).payload(&[5; 64]), 24);
            let client = SocketAddr::new(world.client, CLIENT_PORT);
            assert_eq!(stage.phase(client).as_deref(), Some("open"));
        }
    }),
    ("every fragment that is sent counts", |stage| {
        each(stage, |stage, world| {
            let counted = stage.counted(world.endpoint(1, 2).address, |stage| {
                opens(stage, world, &datagram(world, 1), 1200);
            });
            let header = if world.is_v4() { 20 } else { 48 };
            assert_eq!(counted.opened, 1);
            assert_eq!(counted.packets_in, 4);
            assert_eq!(counted.bytes_in, 4 * header + 8 + 4000);
            let large = datagram(world, 2).payload(&[0; 4000]).cut(1600);
            let counted = stage.counted(world.endpoint(1, 2).address, |stage| {
                stage.drops(&large[0], TooBig);
                stage.drops(&large[1], TooBig);
            });
            assert_eq!((counted.packets_in, counted.packets_out), (0, 0));
        });
    }),
    ("headers around a fragment stay", |stage| {
        each(stage, |stage, world| {
            let packet = datagram(world, 1).class(0xb9).qinq(7, 0xe008);
            if world.is_v4() {
                opens(stage, world, &packet.options(&[1; 12]), 1200);
            } else {
                let packet = packet.extension(HOP_BY_HOP, 8);
                opens(
                    stage,
                    world,
                    &packet.extension(DESTINATION_OPTIONS, 24),
                    1200,
                );
            }
        });
    }),
    (
        "a whole packet with a fragment header is balanced",
        |stage| {
            let world = stage.v6;
            stage.follow(&[world.web_at(Udp, world.endpoint(1, 2))]);
            let packet = between(world.client, world.vip)
                .udp(CLIENT_PORT, WEB)
                .fragment(0, false);
            let (way, to) = (stage.to(1, 2), world.endpoint(1, 2));
            let from = stage.node.client;
            stage.play(&packet.bytes(), from, Redirected);
            let client = SocketAddr::new(world.client, CLIENT_PORT);
            let flow = stage.node.flow(client).expect("flows").expect("a flow");
            let turned = packet.clone().turned(
                (to.source, flow.node_port.expect("a node port")),
                (to.address.ip(), ENDPOINT),
            );
            stage.sends(&packet, from, way, &turned);
        },
    ),
    (
        "a later fragment without its first passes, also when the first comes after it",
        |stage| {
            each(stage, |stage, world| {
                let pieces = datagram(world, 1).cut(1200);
                stage.passes(&pieces[1], Fragment);
                opens(stage, world, &datagram(world, 1), 1200);
                stage.passes(&datagram(world, 9).cut(1200)[2], Fragment);
            });
        },
    ),
    (
        "a later fragment of another sender, packet or protocol passes",
        |stage| {
            each(stage, |stage, world| {
                opens(stage, world, &datagram(world, 1), 1200);
                let later = |packet: Packet| packet.cut(1200)[1].clone();
                let other_sender = between(world.other_client, world.vip).label(1);
                let other_sender = other_sender.udp(CLIENT_PORT, WEB).payload(&[1; 2000]);
                stage.passes(&later(other_sender), Fragment);
                stage.passes(&later(datagram(world, 2)), Fragment);
                let other_protocol = between(world.client, world.vip).label(1);
                let other_protocol = other_protocol.tcp(ACK, CLIENT_PORT, WEB);
                stage.passes(&later(other_protocol.payload(&[1; 2000])), Fragment);
            });
        },
    ),
    (
        "a first fragment without its whole transport header opens no flow",
        |stage| {
            for world in stage.families() {
                stage.follow(&[world.web_at(Tcp, world.endpoint(1, 2))]);
                let syn = between(world.client, world.vip).tcp(SYN, CLIENT_PORT, WEB);
                let pieces = syn.payload(&[1; 64]).cut(16);
                stage.passes(&pieces[0], Truncated);
                // As long as the frame must be, but not the packet.
                let mut padded = pieces[0].bytes();
                padded.extend([0; 20]);
                stage.passes_bytes(&padded, Malformed);
                stage.passes(&pieces[1], Fragment);
                let client = SocketAddr::new(world.client, CLIENT_PORT);
                assert_eq!(stage.phase(client), None);
            }
        },
    ),
    (
        "a later fragment cut anywhere in its headers passes",
        |stage| {
            each(stage, |stage, world| {
                let packet = if world.is_v4() {
                    datagram(world, 1).options(&[1; 12])
                } else {
                    datagram(world, 1).extension(HOP_BY_HOP, 16)
                };
                opens(stage, world, &packet, 1200);
                let later = packet.cut(1200)[1].clone();
                let frame = later.bytes();
                for length in 14..14 + later.header_length() {
                    stage.passes_bytes(&frame[..length], Truncated);
                }
                let mut short = later.bytes();
                if world.is_v4() {
                    short[17] = 31;
                    short[16] = 0;
                    stage.passes_bytes(&short, Malformed);
                }
            });
        },
    ),
    ("a later fragment opens no flow", |stage| {
        each(stage, |stage, world| {
            for offset in [1, 2, 0x1fff] {
                let packet = between(world.client, world.vip).fragment(offset, offset == 1);
                stage.passes(&packet.udp(CLIENT_PORT, WEB).payload(&[7; 64]), Fragment);
            }
            let client = SocketAddr::new(world.client, CLIENT_PORT);
            assert_eq!(stage.phase(client), None);
        });
    }),
    ("fragments that are not for a service pass", |stage| {
        each(stage, |stage, world| {
            let packet = between(world.client, world.vip)
                .udp(CLIENT_PORT, WEB + 1)
                .payload(&[1; 2000]);
            let pieces = packet.cut(1200);
            stage.passes(&pieces[0], NotForService);
            stage.passes(&pieces[1], Fragment);
            let other = between(world.client, world.vip)
                .protocol(GRE)
                .payload(&[8; 64]);
            stage.passes(&other.clone().fragment(0, true), OtherProtocol);
            stage.passes(&other.fragment(1, false), OtherProtocol);
        });
    }),
    (
        "a fragment with its last hop passes, for the kernel to answer",
        |stage| {
            each(stage, |stage, world| {
                let pieces = datagram(world, 1).cut(1200);
                stage.passes(&pieces[0].clone().hops(1), Expiring);
                opens(stage, world, &datagram(world, 1), 1200);
                stage.passes(&pieces[1].clone().hops(1), Expiring);
            });
        },
    ),
    (
        "later fragments do not follow after some seconds",
        |stage| {
            let worlds = stage.families();
            for world in worlds {
                stage.follow(&[world.web_at(Udp, world.endpoint(1, 2))]);
                opens(stage, world, &datagram(world, 1), 1200);
            }
            sleep(Duration::from_millis(4500));
            for world in worlds {
                stage.passes(&datagram(world, 1).cut(1200)[1], Fragment);
            }
        },
    ),
];

/// Plays for both families a UDP service with one endpoint, 1.2.
fn each(stage: &mut Stage<'_>, play: fn(&mut Stage<'_>, World)) {
    for world in stage.families() {
        stage.follow(&[world.web_at(Udp, world.endpoint(1, 2))]);
        play(stage, world);
    }
}

fn datagram(world: World, label: u16) -> Packet {
    between(world.client, world.vip)
        .label(label.into())
        .udp(CLIENT_PORT, WEB)
        .payload(&[0x5a; 4000])
}

/// The packet's fragments of so many bytes go to endpoint 1.2; returns the node port.
#[track_caller]
fn opens(stage: &mut Stage<'_>, world: World, packet: &Packet, length: usize) -> u16 {
    let (to, way, from) = (world.endpoint(1, 2), stage.to(1, 2), stage.node.client);
    let pieces = packet.cut(length);
    let run = stage.play(&pieces[0].bytes(), from, Redirected);
    let client = SocketAddr::new(world.client, CLIENT_PORT);
    let flow = stage.node.flow(client).expect("flows").expect("a flow");
    let turned = packet
        .clone()
        .turned(
            (to.source, flow.node_port.expect("a node port")),
            (to.address.ip(), ENDPOINT),
        )
        .cut(length);
    let first = turned[0].clone().macs(way.port.mac, mac_of(1, 2));
    assert_eq!(run.frame, first.bytes());
    for (piece, turned) in pieces.iter().zip(turned).skip(1) {
        stage.sends(piece, from, way, &turned);
    }
    flow.node_port.expect("a node port")
}
