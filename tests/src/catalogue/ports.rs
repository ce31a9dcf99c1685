//! Services with several ports, or all.

use std::net::{IpAddr, SocketAddr};

use lb_common::verdict::Reason::*;
use lb_tests::packet::{ACK, FIN, Packet, RST, SYN, TCP, UDP, eth};
use lb_userspace::desired::Protocol::{self, Tcp, Udp};
use lb_userspace::desired::{Delivery, Endpoint, Mode, Ports, Service};

use super::Case;
use super::carried::{GUE, at, hash_to, outer_of};
use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, ENDPOINT, World};

/// The range of most cases.
const FIRST: u16 = 9000;
const LAST: u16 = 9009;

pub const CASES: &[Case] = &[
    (
        "every port of a range leads to the endpoint's one, and back",
        |stage| {
            for (world, protocol) in kinds(stage) {
                let to = world.endpoint(1, 2);
                stage.follow(&[ranged(world, protocol, (FIRST, LAST), Mode::Nat, to)]);
                for port in FIRST..=LAST {
                    there_and_back(stage, world, protocol, port, ENDPOINT);
                }
                for port in [FIRST - 1, LAST + 1] {
                    stage.passes(&opening(world, protocol, port), NotForService);
                }
            }
        },
    ),
    (
        "an endpoint without a port gets packets on the one they came for",
        |stage| {
            for (world, protocol) in kinds(stage) {
                let to = keeping(world);
                stage.follow(&[ranged(world, protocol, (FIRST, LAST), Mode::Nat, to)]);
                for port in FIRST..=LAST {
                    there_and_back(stage, world, protocol, port, port);
                }
            }
        },
    ),
    ("a service may have every port", |stage| {
        for (world, protocol) in kinds(stage) {
            let to = keeping(world);
            stage.follow(&[ranged(world, protocol, (1, u16::MAX), Mode::Nat, to)]);
            for port in [1, 22, 9000, 10_240, 29_999, u16::MAX] {
                there_and_back(stage, world, protocol, port, port);
            }
            stage.passes(&opening(world, protocol, 0), NotForService);
            let other = if protocol == Tcp { Udp } else { Tcp };
            stage.passes(&opening(world, other, 9000), NotForService);
        }
    }),
    (
        "an answer from another port than was asked is nobody's",
        |stage| {
            for (world, protocol) in kinds(stage) {
                // Another case's flow may have the same node port.
                stage.node.forget_flows().expect("no flows");
                let to = keeping(world);
                stage.follow(&[ranged(world, protocol, (FIRST, LAST), Mode::Nat, to)]);
                let node_port = there_and_back(stage, world, protocol, FIRST, FIRST);
                for port in [FIRST + 1, LAST, ENDPOINT, 0] {
                    let stray = between(to.address.ip(), to.source);
                    let stray = answering(stray, protocol, port, node_port).bytes();
                    let run = stage.play(&stray, stage.node.one, NotForService);
                    assert_eq!(run.frame, stray);
                }
            }
        },
    ),
    (
        "flows of one client that differ in the port they asked for are several",
        |stage| {
            for (world, protocol) in kinds(stage) {
                let to = keeping(world);
                stage.follow(&[ranged(world, protocol, (FIRST, LAST), Mode::Nat, to)]);
                let counted = stage.counted(to.address, |stage| {
                    for _ in 0..2 {
                        for port in FIRST..=LAST {
                            there_and_back(stage, world, protocol, port, port);
                        }
                    }
                });
                // A SYN again is the same flow's.
                assert_eq!((counted.opened, counted.packets_in), (10, 20));
                assert_eq!(counted.packets_out, 20);
            }
        },
    ),
    (
        "ports of a range are spread over endpoints as flows are",
        |stage| {
            for world in stage.families() {
                let (one, two) = (world.endpoint(1, 2), world.endpoint(2, 2));
                let service = Service {
                    ports: Ports::To(FIRST + 999),
                    ..world.web(Udp, &[("old", 1, &[one]), ("new", 1, &[two])])
                };
                stage.follow(&[service]);
                let counted = stage.counted(one.address, |stage| {
                    for port in FIRST..FIRST + 1000 {
                        let packet = opening(world, Udp, port).bytes();
                        stage.node.run(&packet, stage.node.client).expect("a run");
                    }
                });
                assert!((400..600).contains(&counted.opened), "{counted:?}");
            }
        },
    ),
    (
        "a service with one port has it within another's range",
        |stage| {
            for (world, protocol) in kinds(stage) {
                let (one, two) = (world.endpoint(2, 2), keeping(world));
                stage.follow(&[
                    ranged(world, protocol, (FIRST, LAST), Mode::Nat, two),
                    Service {
                        name: "one".into(),
                        ..ranged(world, protocol, (FIRST + 5, FIRST + 5), Mode::Nat, one)
                    },
                ]);
                let packet = opening(world, protocol, FIRST + 5);
                let way = stage.to(2, 2);
                stage.forwards(&packet, way, |node_port| {
                    let to = (one.address.ip(), ENDPOINT);
                    packet.clone().turned((one.source, node_port), to)
                });
                there_and_back(stage, world, protocol, FIRST + 4, FIRST + 4);
                there_and_back(stage, world, protocol, FIRST + 6, FIRST + 6);
            }
        },
    ),
    (
        "in the other modes packets keep their port, and tunnels tell ports apart",
        |stage| {
            for (world, protocol) in kinds(stage) {
                let of = |is_v4| Endpoint {
                    address: SocketAddr::new(at(is_v4, 1, 2).address.ip(), 0),
                    ..at(is_v4, 1, 2)
                };
                for (mode, to) in [
                    (Mode::Dsr, of(world.is_v4())),
                    (Mode::Ipip, of(true)),
                    (Mode::Ipip, of(false)),
                    (GUE, of(true)),
                    (GUE, of(false)),
                ] {
                    stage.follow(&[ranged(world, protocol, (FIRST, LAST), mode, to)]);
                    let world = another_client(stage, world);
                    for port in [FIRST, FIRST + 1, LAST, FIRST] {
                        carried(stage, world, protocol, port, (mode, to));
                    }
                    stage.passes(&opening(world, protocol, LAST + 1), NotForService);
                }
            }
        },
    ),
    (
        "a flow stays where it is when its port becomes that of another service",
        |stage| {
            // From one service to several, back, and from one range to another that begins elsewhere.
            let ranges = [
                (FIRST + 5, FIRST + 5),
                (FIRST, LAST),
                (FIRST + 3, LAST),
                (FIRST + 5, FIRST + 5),
                (1, u16::MAX),
            ];
            for (world, protocol) in kinds(stage) {
                let mut flows: Vec<(World, Endpoint, u16)> = Vec::new();
                for (number, range) in ranges.into_iter().enumerate() {
                    let segment = 1 + (number % 2) as u8;
                    let to = world.endpoint(segment, 2);
                    let service = ranged(world, protocol, range, Mode::Nat, to);
                    stage.follow(&[Service {
                        name: format!("{number}"),
                        ..service
                    }]);
                    let world = another_client(stage, world);
                    let node_port = first_packet(stage, world, protocol, (segment, to));
                    flows.push((world, to, node_port));
                    for &(world, to, node_port) in &flows {
                        goes_on(stage, world, protocol, to, node_port);
                    }
                }
            }
        },
    ),
    (
        "a flow that ended begins anew where its port belongs now",
        |stage| {
            for world in stage.families() {
                let (one, two) = (world.endpoint(1, 2), world.endpoint(2, 2));
                let (narrow, wide) = ((FIRST + 5, FIRST + 5), (FIRST, LAST));
                for (before, after) in [(narrow, wide), (wide, narrow)] {
                    let world = another_client(stage, world);
                    let name = |it: Service, name: &str| Service {
                        name: name.into(),
                        ..it
                    };
                    let service = ranged(world, Tcp, before, Mode::Nat, one);
                    stage.follow(&[name(service, "before")]);
                    first_packet(stage, world, Tcp, (1, one));
                    let packet =
                        |flags| between(world.client, world.vip).tcp(flags, CLIENT_PORT, FIRST + 5);
                    let service = ranged(world, Tcp, after, Mode::Nat, two);
                    stage.follow(&[name(service, "after")]);
                    for flags in [ACK, ACK | FIN, RST] {
                        stage
                            .node
                            .run(&packet(flags).bytes(), stage.node.client)
                            .expect("a run");
                    }
                    first_packet(stage, world, Tcp, (2, two));
                }
            }
        },
    ),
    (
        "errors and fragments of flows to a range find their way",
        |stage| {
            for world in stage.families() {
                let to = keeping(world);
                stage.follow(&[ranged(world, Udp, (FIRST, LAST), Mode::Nat, to)]);
                let port = FIRST + 7;
                let node_port = there_and_back(stage, world, Udp, port, port);
                let there = between(to.source, to.address.ip()).udp(node_port, port);
                let kind = if world.is_v4() { (3, 3) } else { (1, 4) };
                let error = |source: IpAddr, target: IpAddr, quoted: &Packet| {
                    between(source, target)
                        .message(kind.0, kind.1, [0; 4])
                        .payload(&quoted.ip_bytes())
                };
                let quoted = between(world.client, world.vip).udp(CLIENT_PORT, port);
                stage.sends(
                    &error(to.address.ip(), to.source, &there),
                    stage.node.one,
                    stage.to_clients(),
                    &error(world.vip, world.client, &quoted).one_hop_on(),
                );
                let packet = quoted.label(9).payload(&[7; 3000]);
                let way = stage.to(1, 2);
                let ends = ((to.source, node_port), (to.address.ip(), port));
                let turned = packet.clone().turned(ends.0, ends.1).cut(1200);
                for (piece, turned) in packet.cut(1200).iter().zip(&turned) {
                    stage.sends(piece, stage.node.client, way, turned);
                }
            }
        },
    ),
];

/// Two virtual addresses with the same port, the same client and its same port, in a table with one bucket.
pub fn twins(stage: &mut Stage<'_>) {
    for world in stage.families() {
        let mut other = world;
        other.vip = match world.vip {
            IpAddr::V4(_) => [10, 99, 0, 2].into(),
            IpAddr::V6(_) => [0xfd99, 0, 0, 0, 0, 0, 0, 2].into(),
        };
        let (one, two) = (world.endpoint(1, 2), world.endpoint(2, 2));
        let service = |world, to, name: &str| Service {
            name: name.into(),
            ..ranged(world, Tcp, (FIRST + 5, FIRST + 5), Mode::Nat, to)
        };
        stage.follow(&[service(world, one, "one"), service(other, two, "two")]);
        let first = first_packet(stage, world, Tcp, (1, one));
        stage.drops(
            &between(other.client, other.vip).tcp(ACK, CLIENT_PORT, FIRST + 5),
            NoFlow,
        );
        let second = first_packet(stage, other, Tcp, (2, two));
        for _ in 0..2 {
            goes_on(stage, world, Tcp, one, first);
            goes_on(stage, other, Tcp, two, second);
        }
    }
}

fn kinds(stage: &mut Stage<'_>) -> Vec<(World, Protocol)> {
    let mut kinds = Vec::new();
    for world in stage.families() {
        for protocol in [Tcp, Udp] {
            kinds.push((another_client(stage, world), protocol));
        }
    }
    kinds
}

fn another_client(stage: &mut Stage<'_>, mut world: World) -> World {
    let (v4, v6) = stage.node.fresh_client();
    world.client = if world.is_v4() { v4 } else { v6 };
    world
}

/// The service of a range at one endpoint.
fn ranged(
    world: World,
    protocol: Protocol,
    (first, last): (u16, u16),
    mode: Mode,
    to: Endpoint,
) -> Service {
    Service {
        address: SocketAddr::new(world.vip, first),
        ports: if first == last {
            Ports::One
        } else {
            Ports::To(last)
        },
        delivery: Delivery {
            mode,
            ..Delivery::default()
        },
        ..world.web_at(protocol, to)
    }
}

/// An endpoint that gets packets on the port they came for.
fn keeping(world: World) -> Endpoint {
    let endpoint = world.endpoint(1, 2);
    Endpoint {
        address: SocketAddr::new(endpoint.address.ip(), 0),
        ..endpoint
    }
}

/// A flow's first packet.
fn opening(world: World, protocol: Protocol, port: u16) -> Packet {
    let packet = between(world.client, world.vip);
    match protocol {
        Tcp => packet.tcp(SYN, CLIENT_PORT, port),
        Udp => packet.udp(CLIENT_PORT, port).payload(b"question"),
    }
}

/// What an endpoint answers from a port.
fn answering(packet: Packet, protocol: Protocol, from: u16, to: u16) -> Packet {
    match protocol {
        Tcp => packet.tcp(SYN | ACK, from, to),
        Udp => packet.udp(from, to).payload(b"answer"),
    }
}

/// The first packet to a port goes to the endpoint's, and its answer comes back. Returns the node port.
#[track_caller]
fn there_and_back(
    stage: &mut Stage<'_>,
    world: World,
    protocol: Protocol,
    port: u16,
    endpoint_port: u16,
) -> u16 {
    let to = world.endpoint(1, 2);
    let packet = opening(world, protocol, port);
    let way = stage.to(1, 2);
    let node_port = stage.forwards(&packet, way, |node_port| {
        let to = ((to.source, node_port), (to.address.ip(), endpoint_port));
        packet.clone().turned(to.0, to.1)
    });
    let answer = between(to.address.ip(), to.source);
    let answer = answering(answer, protocol, endpoint_port, node_port);
    let turned = answer
        .clone()
        .turned((world.vip, port), (world.client, CLIENT_PORT));
    stage.returns(&answer, stage.node.one, &turned);
    node_port
}

/// The first packet to the middle port goes to an endpoint on a segment. Returns the node port.
#[track_caller]
fn first_packet(
    stage: &mut Stage<'_>,
    world: World,
    protocol: Protocol,
    (segment, to): (u8, Endpoint),
) -> u16 {
    let packet = opening(world, protocol, FIRST + 5);
    let way = stage.to(segment, 2);
    stage.forwards(&packet, way, |node_port| {
        let to = ((to.source, node_port), (to.address.ip(), ENDPOINT));
        packet.clone().turned(to.0, to.1)
    })
}

/// Its next packets, from both sides.
#[track_caller]
fn goes_on(stage: &mut Stage<'_>, world: World, protocol: Protocol, to: Endpoint, node_port: u16) {
    let port = FIRST + 5;
    let packet = between(world.client, world.vip);
    let packet = match protocol {
        Tcp => packet.tcp(ACK, CLIENT_PORT, port),
        Udp => packet.udp(CLIENT_PORT, port),
    };
    let segment = u8::from(to == world.endpoint(2, 2)) + 1;
    let way = stage.to(segment, 2);
    let given = stage.forwards(&packet, way, |_| {
        let to = ((to.source, node_port), (to.address.ip(), ENDPOINT));
        packet.clone().turned(to.0, to.1)
    });
    assert_eq!(given, node_port);
    let answer = between(to.address.ip(), to.source);
    let answer = answering(answer, protocol, ENDPOINT, node_port);
    let turned = answer
        .clone()
        .turned((world.vip, port), (world.client, CLIENT_PORT));
    let from = [stage.node.one, stage.node.two][usize::from(segment) - 1];
    stage.returns(&answer, from, &turned);
}

/// The packet leaves as it is, alone or in the tunnel of its flow.
#[track_caller]
fn carried(
    stage: &mut Stage<'_>,
    world: World,
    protocol: Protocol,
    port: u16,
    (mode, to): (Mode, Endpoint),
) {
    let packet = opening(world, protocol, port);
    let way = stage.to(1, 2);
    if mode == Mode::Dsr {
        stage.leaves(&packet, way, &packet.clone().one_hop_on());
        return;
    }
    let number = if protocol == Tcp { TCP } else { UDP };
    let hash = hash_to(world, number, (CLIENT_PORT, port));
    let outer = eth().ip(to.source, to.address.ip());
    stage.leaves(&packet, way, &outer_of(outer, world, &packet, mode, hash));
}
