//! No room: the new flow is refused by name, and no other is harmed.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::Duration;

use lb_common::verdict::Reason;
use lb_common::verdict::Reason::*;
use lb_tests::model::read;
use lb_tests::node::Load;
use lb_tests::packet::{ACK, Packet, RST, SYN};
use lb_userspace::desired::Protocol::Tcp;

use super::ports;
use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, ENDPOINT, WEB, World};

/// A little longer than a flow that is opening gives way to nobody.
const A_MOMENT: Duration = Duration::from_millis(140);

/// A case on a node of its own.
pub type Case = (&'static str, Load, fn(&mut Stage<'_>));

pub const CASES: &[Case] = &[
    (
        "a full flow table refuses new flows and keeps every open one",
        TINY,
        |stage| {
            for world in stage.families() {
                follow(stage, world);
                let mut open = Vec::new();
                let mut refused = 0;
                for port in 0..20 {
                    let run = stage
                        .node
                        .run(&packet(world, port, SYN).bytes(), stage.node.client);
                    if run.expect("a run").action == lb_tests::model::XDP_DROP {
                        refused += 1;
                        continue;
                    }
                    open.push((port, sent(stage, world, port, ACK)));
                }
                assert!(
                    !open.is_empty() && refused >= 16,
                    "{} open, {refused} refused",
                    open.len()
                );
                let endpoint = world.endpoint(1, 2);
                let counted = stage.counted(endpoint.address, |stage| {
                    stage.drops(&packet(world, 99, SYN), FlowTableFull);
                });
                assert_eq!((counted.refused, counted.opened), (1, 0));
                for &(port, node_port) in &open {
                    assert_eq!(sent(stage, world, port, ACK), node_port);
                    let reply = between(endpoint.address.ip(), endpoint.source);
                    let reply = reply.tcp(ACK, ENDPOINT, node_port);
                    let client = (world.client, CLIENT_PORT + port);
                    let turned = reply.clone().turned((world.vip, WEB), client);
                    stage.returns(&reply, stage.node.one, &turned);
                }
                // A closed flow makes room.
                let (port, _) = open[0];
                sent(stage, world, port, RST);
                sent(stage, world, 99, SYN);
            }
        },
    ),
    ("half-open flows give way to new ones", TINY, |stage| {
        for world in stage.families() {
            follow(stage, world);
            for port in 0..6 {
                // Who came a moment ago stays.
                sleep(A_MOMENT);
                sent(stage, world, port, SYN);
            }
            stage.drops(&packet(world, 0, ACK), NoFlow);
            sent(stage, world, 5, ACK);
        }
    }),
    (
        "the same client and ports at two virtual addresses are two flows, also in one bucket",
        TINY,
        ports::twins,
    ),
    (
        "exhausted node ports refuse new flows and keep every other",
        FEW_PORTS,
        |stage| {
            for world in stage.families() {
                follow(stage, world);
                let mut node_ports: Vec<u16> =
                    (0..4).map(|port| sent(stage, world, port, SYN)).collect();
                node_ports.sort_unstable();
                assert_eq!(node_ports, [10_240, 10_241, 10_242, 10_243]);
                // Those who only opened would give way.
                for port in 0..4 {
                    sent(stage, world, port, ACK);
                }
                let counted = stage.counted(world.endpoint(1, 2).address, |stage| {
                    stage.drops(&packet(world, 4, SYN), NodePortsExhausted);
                });
                assert_eq!((counted.refused, counted.opened), (1, 0));
                for port in 0..4 {
                    sent(stage, world, port, ACK);
                }
            }
        },
    ),
    (
        "the node port of a half-open flow is given to a new one when all are taken",
        FEW_PORTS,
        |stage| {
            for world in stage.families() {
                follow(stage, world);
                for port in 0..4 {
                    sent(stage, world, port, SYN);
                }
                for port in 0..3 {
                    sent(stage, world, port, ACK);
                }
                sleep(A_MOMENT);
                let newcomer = sent(stage, world, 4, SYN);
                stage.drops(&packet(world, 3, ACK), NoFlow);
                assert_eq!(sent(stage, world, 4, ACK), newcomer);
                for port in 0..3 {
                    sent(stage, world, port, ACK);
                }
            }
        },
    ),
    (
        "a flow looks at its own slot and no other: all the rest are empty",
        ROOMY,
        |stage| {
            for world in stage.families() {
                follow(stage, world);
                let restore = poison(stage, world, 0);
                sent(stage, world, 0, SYN);
                let empty = (1..200)
                    .filter(|&port| action(stage, world, port).0 == EmptySlot)
                    .count();
                // One slot of 256 is left.
                assert!(empty > 190, "{empty} of 199 met an empty slot");
                sent(stage, world, 0, ACK);
                restore();
            }
        },
    ),
    (
        "a flow looks at its own slot and no other: all the rest name another endpoint",
        ROOMY,
        |stage| {
            for world in stage.families() {
                let poisoned = world.endpoint(2, 2);
                let both = |old, new| {
                    [
                        ("old", old, vec![world.endpoint(1, 2)]),
                        ("new", new, vec![poisoned]),
                    ]
                };
                let follow = |stage: &mut Stage<'_>, backends: [(&str, u64, Vec<_>); 2]| {
                    let backends = backends.each_ref().map(|it| (it.0, it.1, &it.2[..]));
                    stage.follow(&[world.web(Tcp, &backends)]);
                };
                follow(stage, both(0, 1));
                let id = slot(stage);
                follow(stage, both(1, 0));
                assert_ne!(slot(stage), id);
                let restore = poison(stage, world, id);
                sent(stage, world, 0, SYN);
                let away = (1..200)
                    .filter(|&port| action(stage, world, port).1 == poisoned.address.ip())
                    .count();
                assert!(away > 190, "{away} of 199 met another slot");
                restore();
            }
        },
    ),
];

/// Room for two flows of each family, or a few more.
const TINY: Load = Load {
    flows: 1,
    ports: (10_240, 29_999),
    mtu: 1500,
};
const FEW_PORTS: Load = Load {
    flows: 4096,
    ports: (10_240, 10_243),
    mtu: 1500,
};
const ROOMY: Load = Load {
    flows: 4096,
    ports: (10_240, 29_999),
    mtu: 1500,
};

fn follow(stage: &mut Stage<'_>, world: World) {
    stage.follow(&[world.web_at(Tcp, world.endpoint(1, 2))]);
}

/// Fills all slots but that of the client's first flow.
fn poison(stage: &mut Stage<'_>, world: World, id: u16) -> impl FnOnce() + use<> {
    let mut raw = stage.node.raw_table().expect("the maps");
    let before = raw
        .fill_all_slots_but_one_of(world.client, (CLIENT_PORT, WEB), id)
        .expect("the slots are written");
    move || raw.restore(before).expect("the slots are written back")
}

/// The endpoint id in the first slot.
fn slot(stage: &Stage<'_>) -> u16 {
    let raw = stage.node.raw_table().expect("the maps");
    let table = raw.in_force().expect("a table");
    raw.page(table.page).expect("a page")[0]
}

/// The reason that is counted of a new flow, and where it goes.
fn action(stage: &mut Stage<'_>, world: World, port: u16) -> (Reason, IpAddr) {
    let before = stage.node.reasons().expect("reasons");
    let frame = packet(world, port, SYN).bytes();
    let run = stage.node.run(&frame, stage.node.client).expect("a run");
    let after = stage.node.reasons().expect("reasons");
    let counted = before.iter().zip(&after).position(|(a, b)| a != b);
    let to = read(&run.frame).expect("a packet").destination.ip();
    (Reason::ALL[counted.expect("a reason")], to)
}

fn packet(world: World, port: u16, flags: u8) -> Packet {
    between(world.client, world.vip).tcp(flags, CLIENT_PORT + port, WEB)
}

/// The client's packet goes to the endpoint; returns the node port.
#[track_caller]
fn sent(stage: &mut Stage<'_>, world: World, port: u16, flags: u8) -> u16 {
    let (packet, to, way) = (
        packet(world, port, flags),
        world.endpoint(1, 2),
        stage.to(1, 2),
    );
    stage.forwards(&packet, way, |node_port| {
        packet
            .clone()
            .turned((to.source, node_port), (to.address.ip(), ENDPOINT))
    })
}
