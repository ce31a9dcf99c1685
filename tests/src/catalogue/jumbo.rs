//! Frames in several buffers, as large as an MTU of 9000 lets them be.

use lb_common::verdict::Reason::*;
use lb_tests::node::{LARGE_MTU, Load};
use lb_tests::packet::{ACK, Packet, SYN};
use lb_userspace::desired::Mode;
use lb_userspace::desired::Protocol::{Tcp, Udp};

use super::Case;
use super::carried::{at, carries, follow, overhead, ways};
use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, ENDPOINT, WEB, World};

pub const LOAD: Load = Load {
    flows: 1 << 12,
    ports: (10_240, 29_999),
    mtu: LARGE_MTU,
};

/// On a node of their own, on kernels that give programs such frames.
pub const CASES: &[Case] = &[
    ("a large segment is turned, there and back", |stage| {
        for world in stage.families() {
            let to = world.endpoint(2, 2);
            stage.follow(&[world.web_at(Tcp, to)]);
            let node_port = goes(stage, world, &syn(world));
            let most = usize::from(LARGE_MTU) - 20 - ip_header(world);
            let data = between(world.client, world.vip).tcp(ACK, CLIENT_PORT, WEB);
            for length in [3000, 4000, 7000, most] {
                assert_eq!(
                    goes(stage, world, &data.clone().payload(&bytes(length))),
                    node_port
                );
                let reply = between(to.address.ip(), to.source);
                let reply = reply.tcp(ACK, ENDPOINT, node_port).payload(&bytes(length));
                let turned = reply
                    .clone()
                    .turned((world.vip, WEB), (world.client, CLIENT_PORT));
                stage.returns(&reply, stage.node.two, &turned);
            }
            let tagged = data.qinq(7, 8).payload(&bytes(most));
            assert_eq!(goes(stage, world, &tagged), node_port);
        }
    }),
    (
        "the largest packet goes in every mode, of one larger the sender is told",
        |stage| {
            for world in stage.families() {
                for (mode, endpoint) in ways(world, 2) {
                    let world = follow(stage, world, Udp, mode, endpoint);
                    let added = overhead(mode, endpoint);
                    let most = usize::from(LARGE_MTU) - 8 - ip_header(world) - added;
                    let packet = |length| datagram(world).payload(&bytes(length));
                    for length in [4000, most] {
                        carries(stage, world, &packet(length), (mode, endpoint));
                        let tagged = packet(length).qinq(7, 8);
                        carries(stage, world, &tagged, (mode, endpoint));
                    }
                    let mtu = u32::from(LARGE_MTU) - added as u32;
                    stage.has_the_sender_told(&packet(most + 1), mtu);
                    stage.has_the_sender_told(&packet(most + 1).qinq(7, 8), mtu);
                }
            }
        },
    ),
    (
        "the sender is told what fits a way of ordinary size",
        |stage| {
            for world in stage.families() {
                stage.follow(&[world.web_at(Udp, world.endpoint(1, 2))]);
                let packet = datagram(world);
                stage.tells_the_sender(&packet.clone().payload(&bytes(2000)), 1500);
                stage.has_the_sender_told(&packet.clone().payload(&bytes(5000)), 1500);
                stage.has_the_sender_told(&packet.payload(&bytes(8900)), 1500);
                for (mode, endpoint) in ways(world, 1) {
                    let world = follow(stage, world, Udp, mode, endpoint);
                    let mtu = 1500 - overhead(mode, endpoint) as u32;
                    let packet = datagram(world).payload(&bytes(8900));
                    stage.has_the_sender_told(&packet, mtu);
                }
            }
        },
    ),
    (
        "a frame that goes on behind its packet is no less in several buffers",
        |stage| {
            for world in stage.families() {
                let endpoint = at(world.is_v4(), 1, 2);
                let world = follow(stage, world, Udp, Mode::Ipip, endpoint);
                let mut frame = datagram(world).payload(&bytes(1600)).bytes();
                frame.resize(8000, 0);
                let run = stage.play(&frame, stage.node.client, TooBigTold);
                assert_eq!(run.action, lb_tests::model::XDP_PASS);
                assert!(run.frame.len() >= 8000, "{} bytes", run.frame.len());
            }
        },
    ),
    ("large fragments follow their first", |stage| {
        for world in stage.families() {
            for (mode, endpoint) in ways(world, 2) {
                let world = follow(stage, world, Udp, mode, endpoint);
                let packet = datagram(world).label(7).payload(&bytes(20_000));
                for piece in packet.cut(8800) {
                    carries(stage, world, &piece, (mode, endpoint));
                }
            }
        }
    }),
    ("a large echo request is answered", |stage| {
        for world in stage.families() {
            let mut service = world.web_at(Tcp, world.endpoint(2, 2));
            service.echo = true;
            stage.follow(&[service]);
            let (ask, answer) = if world.is_v4() { (8, 0) } else { (128, 129) };
            let request = between(world.client, world.vip).message(ask, 0, [1, 2, 3, 4]);
            let reply = between(world.vip, world.client).message(answer, 0, [1, 2, 3, 4]);
            let way = stage.to_clients();
            let reply = reply.label(0x1234).payload(&bytes(8000));
            stage.leaves(&request.payload(&bytes(8000)), way, &reply);
        }
    }),
];

fn ip_header(world: World) -> usize {
    if world.is_v4() { 20 } else { 40 }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7) as u8).collect()
}

fn syn(world: World) -> Packet {
    between(world.client, world.vip).tcp(SYN, CLIENT_PORT, WEB)
}

fn datagram(world: World) -> Packet {
    between(world.client, world.vip).udp(CLIENT_PORT, WEB)
}

/// The packet goes to endpoint 2.2; returns the node port.
#[track_caller]
fn goes(stage: &mut Stage<'_>, world: World, packet: &Packet) -> u16 {
    let (to, way) = (world.endpoint(2, 2), stage.to(2, 2));
    stage.forwards(packet, way, |node_port| {
        packet
            .clone()
            .turned((to.source, node_port), (to.address.ip(), ENDPOINT))
    })
}
