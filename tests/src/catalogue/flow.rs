//! A flow's life: where it goes, how far it is, what is counted of it.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use lb_common::limits::TICK_SHIFT;
use lb_common::verdict::Reason::*;
use lb_tests::packet::{ACK, FIN, PSH, Packet, RST, SYN};
use lb_userspace::dataplane::Counters;
use lb_userspace::desired::Protocol::{self, Tcp, Udp};
use lb_userspace::desired::{Endpoint, Service};
use nix::time::{ClockId, clock_gettime};

use super::Case;
use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, ENDPOINT, WEB, World, short_idle};

/// Nanoseconds between timer interrupts, at most (100 a second).
const INTERRUPT: u64 = 10_000_000;

pub const CASES: &[Case] = &[
    (
        "the program's clock is CLOCK_MONOTONIC, to within a timer interrupt",
        |stage| {
            for _ in 0..100 {
                let (before, tick, after) = (clock(), stage.node.tick().unwrap(), clock());
                let length = 1 << TICK_SHIFT;
                let (begins, ends) = (u64::from(tick) * length, (u64::from(tick) + 1) * length);
                assert!(before < ends + INTERRUPT, "tick {tick} at {before} ns");
                assert!(begins < after + INTERRUPT, "tick {tick} at {after} ns");
                sleep(Duration::from_millis(3));
            }
        },
    ),
    (
        "a connection's phases and counters follow its packets",
        |stage| {
            for world in stage.families() {
                stage.follow(&[split(world, Tcp, 1, 0)]);
                let client = SocketAddr::new(world.client, CLIENT_PORT);
                let header = if world.is_v4() { 40 } else { 60 };
                let counted = stage.counted(old(world).address, |stage| {
                    let node_port = forwards(stage, world, SYN, old(world));
                    assert_eq!(stage.phase(client).as_deref(), Some("opening"));
                    returns(stage, world, SYN | ACK, old(world), node_port);
                    assert_eq!(stage.phase(client).as_deref(), Some("opening"));
                    forwards(stage, world, ACK, old(world));
                    assert_eq!(stage.phase(client).as_deref(), Some("open"));
                    returns(stage, world, ACK | FIN, old(world), node_port);
                    assert_eq!(stage.phase(client).as_deref(), Some("closing"));
                    forwards(stage, world, ACK | FIN, old(world));
                    assert_eq!(stage.phase(client), None, "closed");
                    // The last acknowledgement still arrives.
                    returns(stage, world, ACK, old(world), node_port);
                });
                let expected = Counters {
                    packets_in: 3,
                    bytes_in: 3 * header,
                    packets_out: 3,
                    bytes_out: 3 * header,
                    opened: 1,
                    closed: 1,
                    ..Counters::default()
                };
                assert_eq!(counted, expected);
            }
        },
    ),
    ("a reset is counted for the side that sent it", |stage| {
        for world in stage.families() {
            stage.follow(&[split(world, Tcp, 1, 0)]);
            let counted = stage.counted(old(world).address, |stage| {
                let node_port = forwards(stage, world, SYN, old(world));
                returns(stage, world, RST | ACK, old(world), node_port);
            });
            assert_eq!((counted.reset_by_endpoint, counted.reset_by_client), (1, 0));
            let counted = stage.counted(old(world).address, |stage| {
                forwards(stage, world, SYN, old(world));
                forwards(stage, world, ACK, old(world));
                forwards(stage, world, RST, old(world));
            });
            assert_eq!((counted.reset_by_endpoint, counted.reset_by_client), (0, 1));
            assert_eq!(counted.opened, 1, "the tuple was used again");
        }
    }),
    (
        "a packet in the middle of an unknown connection is dropped",
        |stage| {
            for world in stage.families() {
                stage.follow(&[split(world, Tcp, 1, 0)]);
                for flags in [ACK, ACK | PSH, ACK | FIN, RST, SYN | ACK, SYN | RST, 0] {
                    stage.drops(&packet(world, flags), NoFlow);
                }
            }
        },
    ),
    ("a SYN sent again opens no second flow", |stage| {
        for world in stage.families() {
            stage.follow(&[split(world, Tcp, 1, 0)]);
            let counted = stage.counted(old(world).address, |stage| {
                let node_port = forwards(stage, world, SYN, old(world));
                assert_eq!(forwards(stage, world, SYN, old(world)), node_port);
            });
            assert_eq!((counted.opened, counted.packets_in), (1, 2));
        }
    }),
    ("changed weights leave every flow where it is", |stage| {
        for world in stage.families() {
            stage.follow(&[split(world, Tcp, 1, 0)]);
            let ports: Vec<u16> = (0..50).collect();
            for &port in &ports {
                from_port(stage, world, port, SYN, old(world));
                from_port(stage, world, port, ACK, old(world));
            }
            for (old_weight, new_weight) in [(9, 1), (1, 1), (0, 1), (1, 0), (0, 1)] {
                stage.follow(&[split(world, Tcp, old_weight, new_weight)]);
                for &port in &ports {
                    from_port(stage, world, port, ACK, old(world));
                }
            }
            for port in 50..100 {
                from_port(stage, world, port, SYN, new(world));
            }
        }
    }),
    (
        "a service that has left the configuration keeps its flows and takes no new ones",
        |stage| {
            for world in stage.families() {
                stage.follow(&[split(world, Tcp, 1, 0)]);
                let node_port = forwards(stage, world, SYN, old(world));
                stage.follow(&[]);
                for _ in 0..2 {
                    forwards(stage, world, ACK, old(world));
                    returns(stage, world, ACK, old(world), node_port);
                    // Another service does not get its place meanwhile.
                    stage.follow(&[world.web(Udp, &[("new", 1, &[new(world)])])]);
                }
                for flags in [SYN, ACK] {
                    let packet = between(world.other_client, world.vip).tcp(flags, 9, WEB);
                    stage.passes(&packet, NotForService);
                }
                stage.follow(&[split(world, Tcp, 0, 1)]);
                forwards(stage, world, ACK, old(world));
                from_port(stage, world, 7, SYN, new(world));
            }
        },
    ),
    (
        "a flow stays on an endpoint that has left the configuration",
        |stage| {
            for world in stage.families() {
                stage.follow(&[split(world, Tcp, 1, 0)]);
                let node_port = forwards(stage, world, SYN, old(world));
                for _ in 0..3 {
                    stage.follow(&[world.web(Tcp, &[("new", 1, &[new(world)])])]);
                    forwards(stage, world, ACK, old(world));
                    returns(stage, world, ACK, old(world), node_port);
                }
            }
        },
    ),
    (
        "a tuple used again after FINs is given an endpoint anew",
        |stage| {
            for world in stage.families() {
                stage.follow(&[split(world, Tcp, 1, 0)]);
                let node_port = forwards(stage, world, SYN, old(world));
                forwards(stage, world, ACK | FIN, old(world));
                returns(stage, world, ACK | FIN, old(world), node_port);
                stage.follow(&[split(world, Tcp, 0, 1)]);
                forwards(stage, world, ACK, old(world));
                forwards(stage, world, SYN, new(world));
                let late = between(world.host(1, 2), world.source(1)).tcp(ACK, ENDPOINT, node_port);
                stage.passes(&late, NotForService);
            }
        },
    ),
    (
        "a tuple used again after a reset is given an endpoint anew",
        |stage| {
            for world in stage.families() {
                stage.follow(&[split(world, Tcp, 1, 0)]);
                forwards(stage, world, SYN, old(world));
                forwards(stage, world, RST, old(world));
                stage.follow(&[split(world, Tcp, 0, 1)]);
                forwards(stage, world, SYN, new(world));
            }
        },
    ),
    ("a SYN into an open connection does not move it", |stage| {
        for world in stage.families() {
            stage.follow(&[split(world, Tcp, 1, 0)]);
            let node_port = forwards(stage, world, SYN, old(world));
            forwards(stage, world, ACK, old(world));
            stage.follow(&[split(world, Tcp, 0, 1)]);
            assert_eq!(forwards(stage, world, SYN, old(world)), node_port);
        }
    }),
    (
        "UDP stays with its endpoint until it is silent for too long",
        |stage| {
            for world in stage.families() {
                let of = |old, new| Service {
                    idle: short_idle(),
                    ..split(world, Udp, old, new)
                };
                stage.follow(&[of(1, 0)]);
                let node_port = datagram(stage, world, old(world));
                stage.follow(&[of(0, 1)]);
                assert_eq!(datagram(stage, world, old(world)), node_port);
                sleep(Duration::from_millis(4600));
                let late = between(world.host(1, 2), world.source(1)).udp(ENDPOINT, node_port);
                stage.passes(&late, NotForService);
                datagram(stage, world, new(world));
            }
        },
    ),
    ("a half-open connection ends in silence", |stage| {
        let world = stage.v4;
        stage.follow(&[Service {
            idle: short_idle(),
            ..split(world, Tcp, 1, 0)
        }]);
        forwards(stage, world, SYN, old(world));
        sleep(Duration::from_millis(2300));
        stage.drops(&packet(world, ACK), NoFlow);
    }),
    (
        "the weights' share of new flows reaches each backend",
        |stage| {
            for world in stage.families() {
                let service = Service {
                    slots: 65_536,
                    ..split(world, Udp, 1, 3)
                };
                stage.follow(&[service]);
                let mut opened = [old(world), new(world)].map(|endpoint| endpoint.address);
                let before = opened.map(|address| stage.node.endpoint(address, "web"));
                for port in 0..2000 {
                    let packet = between(world.other_client, world.vip).udp(10_000 + port, WEB);
                    stage
                        .node
                        .run(&packet.bytes(), stage.node.client)
                        .expect("a run");
                }
                opened.reverse();
                let [many, few] = opened.map(|address| {
                    let now = stage.node.endpoint(address, "web").expect("an endpoint");
                    let then = before
                        .iter()
                        .flatten()
                        .find(|report| report.address == address);
                    now.counters.opened - then.map_or(0, |report| report.counters.opened)
                });
                assert_eq!(many + few, 2000);
                // Four standard deviations of a coin that falls three times in four.
                assert!(
                    (1423..=1577).contains(&many),
                    "{many} of 2000 for a weight of 3 in 4"
                );
            }
        },
    ),
];

/// `old` at 1.2 and `new` at 2.2.
/// Nanoseconds of CLOCK_MONOTONIC.
fn clock() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has it");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

fn split(world: World, protocol: Protocol, old_weight: u64, new_weight: u64) -> Service {
    let backends: [(&str, u64, &[Endpoint]); 2] = [
        ("old", old_weight, &[old(world)]),
        ("new", new_weight, &[new(world)]),
    ];
    world.web(protocol, &backends)
}

fn old(world: World) -> Endpoint {
    world.endpoint(1, 2)
}

fn new(world: World) -> Endpoint {
    world.endpoint(2, 2)
}

fn packet(world: World, flags: u8) -> Packet {
    between(world.client, world.vip).tcp(flags, CLIENT_PORT, WEB)
}

/// The client's packet goes to `to`; returns the node port.
#[track_caller]
fn forwards(stage: &mut Stage<'_>, world: World, flags: u8, to: Endpoint) -> u16 {
    sent_to(stage, &packet(world, flags), world, to)
}

#[track_caller]
fn datagram(stage: &mut Stage<'_>, world: World, to: Endpoint) -> u16 {
    let packet = between(world.client, world.vip)
        .udp(CLIENT_PORT, WEB)
        .payload(b"question");
    sent_to(stage, &packet, world, to)
}

#[track_caller]
fn from_port(stage: &mut Stage<'_>, world: World, port: u16, flags: u8, to: Endpoint) {
    let packet = between(world.other_client, world.vip).tcp(flags, 20_000 + port, WEB);
    sent_to(stage, &packet, world, to);
}

#[track_caller]
fn sent_to(stage: &mut Stage<'_>, packet: &Packet, world: World, to: Endpoint) -> u16 {
    let segment = if to == old(world) { 1 } else { 2 };
    let way = stage.to(segment, 2);
    stage.forwards(packet, way, |node_port| {
        packet
            .clone()
            .turned((to.source, node_port), (to.address.ip(), ENDPOINT))
    })
}

/// The endpoint's packet goes to the client.
#[track_caller]
fn returns(stage: &mut Stage<'_>, world: World, flags: u8, from: Endpoint, node_port: u16) {
    let reply = between(from.address.ip(), from.source).tcp(flags, ENDPOINT, node_port);
    let turned = reply
        .clone()
        .turned((world.vip, WEB), (world.client, CLIENT_PORT));
    stage.returns(&reply, stage.node.one, &turned);
}
