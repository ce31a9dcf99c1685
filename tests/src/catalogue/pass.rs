//! What is not ours passes, and not a byte of it changes.

use lb_common::verdict::Reason::*;
use lb_tests::packet::{ACK, DESTINATION_OPTIONS, HOP_BY_HOP, ICMP, ICMP6, ROUTING, SYN, arp, eth};
use lb_userspace::desired::Protocol::{Tcp, Udp};

use super::Case;
use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, ENDPOINT, WEB, World};

pub const CASES: &[Case] = &[
    ("ARP passes", |stage| {
        stage.passes(&arp([10, 64, 0, 1]), NotIp);
    }),
    ("a frame of an unknown kind passes", |stage| {
        stage.passes(&eth().raw(0x88cc, &[0; 46]), NotIp);
    }),
    ("a SYN to another address passes", |stage| {
        for world in with_web(stage) {
            let packet = between(world.client, world.host(1, 2));
            stage.passes(&packet.tcp(SYN, CLIENT_PORT, WEB), NotForService);
        }
    }),
    ("a SYN to another port of the VIP passes", |stage| {
        for world in with_web(stage) {
            let packet = between(world.client, world.vip).tcp(SYN, CLIENT_PORT, WEB + 1);
            stage.passes(&packet, NotForService);
        }
    }),
    ("UDP to a TCP service's port passes", |stage| {
        for world in with_web(stage) {
            let packet = between(world.client, world.vip).udp(CLIENT_PORT, WEB);
            stage.passes(&packet.payload(b"?"), NotForService);
        }
    }),
    ("with no service every packet passes", |stage| {
        stage.follow(&[]);
        for world in stage.families() {
            let packet = between(world.client, world.vip).tcp(SYN, CLIENT_PORT, WEB);
            stage.passes(&packet, NotForService);
        }
    }),
    (
        "an echo request to a VIP that does not answer passes",
        |stage| {
            for world in with_web(stage) {
                let (number, echo) = if world.is_v4() {
                    (ICMP, 8)
                } else {
                    (ICMP6, 128)
                };
                let packet = between(world.client, world.vip).protocol(number);
                stage.passes(&packet.payload(&[echo, 0, 0, 0, 0, 1, 0, 1]), OtherProtocol);
            }
        },
    ),
    ("a packet cut anywhere in its headers passes", |stage| {
        for world in with_web(stage) {
            let plain = between(world.client, world.vip).tcp(SYN, CLIENT_PORT, WEB);
            let tagged = plain.clone().qinq(1, 2);
            let dressed = if world.is_v4() {
                plain.clone().options(&[1; 40])
            } else {
                plain
                    .clone()
                    .extension(HOP_BY_HOP, 8)
                    .extension(DESTINATION_OPTIONS, 24)
            };
            for packet in [plain, tagged, dressed] {
                let frame = packet.bytes();
                for length in 14..frame.len() {
                    stage.passes_bytes(&frame[..length], Truncated);
                }
            }
        }
    }),
    ("a header that contradicts itself passes", |stage| {
        with_web(stage);
        let frame = between(stage.v4.client, stage.v4.vip)
            .tcp(SYN, CLIENT_PORT, WEB)
            .bytes();
        // Version 6; a header of four words; a total length too small for TCP.
        for (place, byte) in [(14, 0x65), (14, 0x44), (17, 39)] {
            let mut broken = frame.clone();
            broken[place] = byte;
            stage.passes_bytes(&broken, Malformed);
        }
        let mut frame = between(stage.v6.client, stage.v6.vip)
            .tcp(SYN, CLIENT_PORT, WEB)
            .bytes();
        frame[19] = 19;
        stage.passes_bytes(&frame, Malformed);
    }),
    ("three VLAN tags are one too many", |stage| {
        for world in with_web(stage) {
            let packet = between(world.client, world.vip).qinq(1, 2).vlan(3);
            stage.passes(&packet.tcp(SYN, CLIENT_PORT, WEB), NotIp);
        }
    }),
    (
        "an extension header that is not looked through passes",
        |stage| {
            with_web(stage);
            let packet = between(stage.v6.client, stage.v6.vip).tcp(SYN, CLIENT_PORT, WEB);
            stage.passes(&packet.clone().extension(ROUTING, 8), ExtensionHeader);
            let five = (0..5).fold(packet, |packet, _| packet.extension(DESTINATION_OPTIONS, 8));
            stage.passes(&five, ExtensionHeader);
        },
    ),
    (
        "a packet to the VIP with its last hop passes, for the kernel to answer",
        |stage| {
            for world in with_web(stage) {
                for hops in [0, 1] {
                    let packet = between(world.client, world.vip).hops(hops);
                    stage.passes(&packet.tcp(SYN, CLIENT_PORT, WEB), Expiring);
                }
            }
        },
    ),
    (
        "a packet from nobody's endpoint to a node port passes",
        |stage| {
            for world in with_web(stage) {
                let packet = between(world.host(1, 2), world.source(1));
                stage.passes(&packet.tcp(ACK, ENDPOINT, 12_345), NotForService);
            }
        },
    ),
    ("a packet to a port that is no node port passes", |stage| {
        for world in with_web(stage) {
            for port in [22, 10_239, 30_000, 65_535] {
                let packet = between(world.host(1, 2), world.source(1));
                stage.passes(&packet.tcp(ACK, ENDPOINT, port), NotForService);
            }
        }
    }),
    (
        "a stranger's packet to a flow's node port passes",
        |stage| {
            for world in with_web(stage) {
                let syn = between(world.client, world.vip).tcp(SYN, CLIENT_PORT, WEB);
                let (way, to) = (stage.to(1, 2), world.endpoint(1, 2));
                let node_port = stage.forwards(&syn, way, |node_port| {
                    syn.clone()
                        .turned((to.source, node_port), (to.address.ip(), ENDPOINT))
                });
                let reply = |source, port, destination| {
                    between(source, destination).tcp(ACK, port, node_port)
                };
                let (endpoint, node) = (to.address.ip(), to.source);
                for stranger in [
                    reply(world.host(1, 3), ENDPOINT, node),
                    reply(endpoint, ENDPOINT + 1, node),
                    reply(endpoint, ENDPOINT, world.source(2)),
                    between(endpoint, node).udp(ENDPOINT, node_port),
                ] {
                    stage.passes(&stranger, NotForService);
                }
            }
        },
    ),
];

/// TCP services on both virtual addresses, and one for UDP on another port.
fn with_web(stage: &mut Stage<'_>) -> [World; 2] {
    let worlds = stage.families();
    let mut services = worlds
        .map(|world| world.web_at(Tcp, world.endpoint(1, 2)))
        .to_vec();
    for world in worlds {
        let mut dns = world.web_at(Udp, world.endpoint(1, 2));
        dns.address.set_port(53);
        services.push(dns);
    }
    for (number, service) in services.iter_mut().enumerate() {
        service.name = format!("service-{number}");
    }
    stage.follow(&services);
    worlds
}
