//! What is turned, how it leaves, and that nothing else of it changes.

use lb_common::record::HAND_OVER_MAC;
use lb_common::verdict::Reason::*;
use lb_tests::model::XDP_PASS;
use lb_tests::packet::{ACK, DESTINATION_OPTIONS, HOP_BY_HOP, PSH, Packet, SYN};
use lb_userspace::desired::Endpoint;
use lb_userspace::desired::Protocol::{self, Tcp, Udp};

use super::Case;
use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, ENDPOINT, WEB, World};

pub const CASES: &[Case] = &[
    ("a SYN to the VIP goes to the slot's endpoint", |stage| {
        both(stage, Tcp, |stage, world| {
            opens(stage, world, &syn(world));
        });
    }),
    (
        "a datagram to the VIP goes to the slot's endpoint",
        |stage| {
            both(stage, Udp, |stage, world| {
                opens(stage, world, &datagram(world));
            });
        },
    ),
    ("a reply comes from the VIP", |stage| {
        both(stage, Tcp, |stage, world| {
            let node_port = opens(stage, world, &syn(world));
            let reply = between(world.host(1, 2), world.source(1));
            let reply = reply.tcp(SYN | ACK, ENDPOINT, node_port);
            returns(stage, world, &reply);
        });
    }),
    ("a datagram's answer comes from the VIP", |stage| {
        both(stage, Udp, |stage, world| {
            let node_port = opens(stage, world, &datagram(world));
            let reply = between(world.host(1, 2), world.source(1));
            returns(
                stage,
                world,
                &reply.udp(ENDPOINT, node_port).payload(b"answer"),
            );
        });
    }),
    ("a flow keeps its endpoint and node port", |stage| {
        both(stage, Tcp, |stage, world| {
            let node_port = opens(stage, world, &syn(world));
            for length in [0, 1, 2, 3, 100, 1300] {
                let data = between(world.client, world.vip).tcp(ACK | PSH, CLIENT_PORT, WEB);
                assert_eq!(
                    opens(stage, world, &data.payload(&vec![0x5a; length])),
                    node_port
                );
            }
        });
    }),
    ("TCP and UDP on the same port are two services", |stage| {
        for world in stage.families() {
            let tcp = world.web_at(Tcp, world.endpoint(1, 2));
            let mut udp = world.web_at(Udp, world.endpoint(2, 2));
            udp.name = "dns".to_owned();
            stage.follow(&[tcp, udp]);
            opens(stage, world, &syn(world));
            sent_to(stage, &datagram(world), world.endpoint(2, 2), (2, 2));
        }
    }),
    (
        "a packet whose endpoint is where it came from is transmitted",
        |stage| {
            for world in stage.families() {
                let endpoint = world.endpoint(0, 50);
                stage.follow(&[world.web_at(Tcp, endpoint)]);
                let packet = syn(world);
                let node_port = sent_to(stage, &packet, endpoint, (0, 50));
                let reply = between(endpoint.address.ip(), endpoint.source);
                let reply = reply.tcp(SYN | ACK, ENDPOINT, node_port);
                let turned = reply
                    .clone()
                    .turned((world.vip, WEB), (world.client, CLIENT_PORT));
                stage.returns(&reply, stage.node.client, &turned);
            }
        },
    ),
    (
        "a packet to an endpoint without neighbour entry is handed to the kernel",
        |stage| {
            for world in stage.families() {
                let endpoint = world.endpoint(1, 99);
                stage.follow(&[world.web_at(Tcp, endpoint)]);
                let run = stage.play(&syn(world).bytes(), stage.node.client, HandedOver);
                assert_eq!(run.action, XDP_PASS);
                assert_eq!(run.frame[..6], HAND_OVER_MAC);
                let node_port = lb_tests::model::read(&run.frame)
                    .expect("a packet")
                    .source
                    .port();
                let expected = syn(world)
                    .turned(
                        (endpoint.source, node_port),
                        (endpoint.address.ip(), ENDPOINT),
                    )
                    .macs(HAND_OVER_MAC, HAND_OVER_MAC);
                assert_eq!(run.frame, expected.bytes());
            }
        },
    ),
    (
        "a packet to an endpoint without route is dropped",
        |stage| {
            for world in stage.families() {
                stage.follow(&[world.web_at(Tcp, world.endpoint(200, 2))]);
                stage.drops(&syn(world), NoRoute);
            }
        },
    ),
    ("IPv4 options stay", |stage| {
        both(stage, Tcp, |stage, world| {
            if world.is_v4() {
                for words in [1, 5, 10] {
                    opens(stage, world, &syn(world).options(&vec![1; words * 4]));
                }
            }
        });
    }),
    ("IPv6 extension headers stay", |stage| {
        both(stage, Udp, |stage, world| {
            if !world.is_v4() {
                let packet = datagram(world).extension(HOP_BY_HOP, 8);
                opens(stage, world, &packet);
                opens(stage, world, &packet.extension(DESTINATION_OPTIONS, 256));
            }
        });
    }),
    ("VLAN tags stay", |stage| {
        both(stage, Tcp, |stage, world| {
            opens(stage, world, &syn(world).vlan(7));
            opens(stage, world, &syn(world).qinq(7, 0xe008));
        });
    }),
    (
        "traffic class and the bit against fragments stay",
        |stage| {
            both(stage, Tcp, |stage, world| {
                opens(stage, world, &syn(world).class(0xb9));
                if world.is_v4() {
                    opens(stage, world, &syn(world).fragment(0x4000, false));
                }
            });
        },
    ),
    ("a packet loses one hop", |stage| {
        both(stage, Tcp, |stage, world| {
            for hops in [2, 64, 255] {
                opens(stage, world, &syn(world).hops(hops));
            }
        });
    }),
    (
        "a reply with its last hop passes, for the kernel to answer",
        |stage| {
            both(stage, Tcp, |stage, world| {
                let node_port = opens(stage, world, &syn(world));
                let reply = between(world.host(1, 2), world.source(1)).hops(1);
                stage.passes(&reply.tcp(ACK, ENDPOINT, node_port), Expiring);
            });
        },
    ),
    (
        "a datagram without checksum gets none, there and back",
        |stage| {
            both(stage, Udp, |stage, world| {
                let node_port = opens(stage, world, &datagram(world).without_checksum());
                let reply = between(world.host(1, 2), world.source(1)).udp(ENDPOINT, node_port);
                returns(stage, world, &reply.payload(b"a").without_checksum());
            });
        },
    ),
    (
        "the largest packet goes, of one larger the sender is told",
        |stage| {
            both(stage, Udp, |stage, world| {
                let most = 1500 - 8 - if world.is_v4() { 20 } else { 40 };
                opens(stage, world, &datagram(world).payload(&vec![1; most]));
                let larger = datagram(world).payload(&vec![1; most + 1]);
                stage.tells_the_sender(&larger, 1500);
            });
        },
    ),
];

/// Plays for both families a service with one endpoint, 1.2.
fn both(stage: &mut Stage<'_>, protocol: Protocol, play: fn(&mut Stage<'_>, World)) {
    for world in stage.families() {
        stage.follow(&[world.web_at(protocol, world.endpoint(1, 2))]);
        play(stage, world);
    }
}

fn syn(world: World) -> Packet {
    between(world.client, world.vip).tcp(SYN, CLIENT_PORT, WEB)
}

fn datagram(world: World) -> Packet {
    between(world.client, world.vip)
        .udp(CLIENT_PORT, WEB)
        .payload(b"question")
}

/// The packet goes to endpoint 1.2; returns the node port.
#[track_caller]
fn opens(stage: &mut Stage<'_>, world: World, packet: &Packet) -> u16 {
    sent_to(stage, packet, world.endpoint(1, 2), (1, 2))
}

#[track_caller]
fn sent_to(stage: &mut Stage<'_>, packet: &Packet, to: Endpoint, (segment, host): (u8, u8)) -> u16 {
    let way = stage.to(segment, host);
    let node_port = stage.forwards(packet, way, |node_port| {
        packet
            .clone()
            .turned((to.source, node_port), (to.address.ip(), ENDPOINT))
    });
    assert!(
        (10_240..=29_999).contains(&node_port),
        "node port {node_port}"
    );
    node_port
}

/// Endpoint 1.2's packet goes to the client, from the VIP.
#[track_caller]
fn returns(stage: &mut Stage<'_>, world: World, reply: &Packet) {
    let turned = reply
        .clone()
        .turned((world.vip, WEB), (world.client, CLIENT_PORT));
    stage.returns(reply, stage.node.one, &turned);
}
