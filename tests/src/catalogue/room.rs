//! No room: the new flow is refused by name, and no other is harmed.

use lb_common::verdict::Reason::*;
use lb_tests::node::Load;
use lb_tests::packet::{ACK, Packet, RST, SYN};
use lb_userspace::desired::Protocol::Tcp;

use super::ports;
use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, ENDPOINT, WEB, World};

/// A case on a node of its own.
type Case = (&'static str, Load, fn(&mut Stage<'_>));

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
            for port in 0..20 {
                sent(stage, world, port, SYN);
            }
            stage.drops(&packet(world, 0, ACK), NoFlow);
            sent(stage, world, 19, ACK);
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
        "a flow looks at its own slot and no other",
        Load {
            flows: 4096,
            ports: (10_240, 29_999),
            mtu: 1500,
        },
        |stage| {
            for world in stage.families() {
                follow(stage, world);
                let spared = stage
                    .node
                    .empty_all_slots_but_one_of(world.client, (CLIENT_PORT, WEB));
                spared.expect("the slots are written");
                sent(stage, world, 0, SYN);
                let mut empty = 0;
                for port in 1..200 {
                    let syn = packet(world, port, SYN);
                    let run = stage
                        .node
                        .run(&syn.bytes(), stage.node.client)
                        .expect("a run");
                    empty += u32::from(run.action == lb_tests::model::XDP_DROP);
                }
                // One slot of 256 is left.
                assert!(empty > 190, "{empty} of 199 met an empty slot");
                let reasons = stage.node.reasons().expect("reasons");
                assert!(reasons[EmptySlot as usize] >= u64::from(empty));
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

fn follow(stage: &mut Stage<'_>, world: World) {
    stage.follow(&[world.web_at(Tcp, world.endpoint(1, 2))]);
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
