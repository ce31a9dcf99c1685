//! Packets as each mode carries them, and the services that have them carried.

use std::net::IpAddr;

use lb_common::address::{V4, V6};
use lb_common::hash;
use lb_tests::node::{SEED, v4, v6};
use lb_tests::packet::{Packet, SYN, TCP, UDP, eth};
use lb_userspace::desired::{Delivery, Endpoint, Mode, Protocol, Service};

use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, WEB, World};

/// GUE at the port it is tried with.
pub const GUE: Mode = Mode::Gue { port: 6080 };

/// An endpoint of a family on a segment, and the node's address there.
pub fn at(is_v4: bool, segment: u8, host: u8) -> Endpoint {
    let of = |host| {
        if is_v4 {
            v4(segment, host)
        } else {
            v6(segment, host)
        }
    };
    Endpoint {
        address: (of(host), WEB).into(),
        source: of(1),
    }
}

/// The service in a mode, with one endpoint.
pub fn service(world: World, protocol: Protocol, mode: Mode, endpoint: Endpoint) -> Service {
    Service {
        delivery: Delivery {
            mode,
            ..Delivery::default()
        },
        ..world.web_at(protocol, endpoint)
    }
}

/// Makes the program follow a service; returns the world with a client that has no flows yet.
pub fn follow(
    stage: &mut Stage<'_>,
    world: World,
    protocol: Protocol,
    mode: Mode,
    endpoint: Endpoint,
) -> World {
    stage.follow(&[service(world, protocol, mode, endpoint)]);
    fresh(stage, world)
}

/// The world with another client.
pub fn fresh(stage: &mut Stage<'_>, world: World) -> World {
    let (v4, v6) = stage.node.fresh_client();
    if world.is_v4() {
        World::v4(v4, world.other_client)
    } else {
        World::v6(v6, world.other_client)
    }
}

/// The first segment of a client.
pub fn syn(world: World) -> Packet {
    between(world.client, world.vip).tcp(SYN, CLIENT_PORT, WEB)
}

/// A client's datagram.
pub fn datagram(world: World) -> Packet {
    between(world.client, world.vip)
        .udp(CLIENT_PORT, WEB)
        .payload(b"question")
}

/// Of a flow to the service's port: [`hash::flow`].
pub fn hash_of(world: World, protocol: u8, port: u16) -> u64 {
    hash_to(world, protocol, (port, WEB))
}

/// As [`hash_of`], to a port.
pub fn hash_to(world: World, protocol: u8, ports: (u16, u16)) -> u64 {
    let keys = hash::keys(SEED);
    match (world.vip, world.client) {
        (IpAddr::V4(vip), IpAddr::V4(client)) => {
            let of = |it: std::net::Ipv4Addr| V4::from_bytes(it.octets());
            let basis = hash::service_basis(&keys, of(vip), protocol);
            hash::flow(&keys, basis, of(client), ports)
        }
        (IpAddr::V6(vip), IpAddr::V6(client)) => {
            let of = |it: std::net::Ipv6Addr| V6::from_bytes(it.octets());
            let basis = hash::service_basis(&keys, of(vip), protocol);
            hash::flow(&keys, basis, of(client), ports)
        }
        _ => panic!("one family"),
    }
}

/// What a packet is in its tunnel; `outer` has the tunnel's ends.
pub fn outer_of(outer: Packet, world: World, packet: &Packet, mode: Mode, hash: u64) -> Packet {
    let outer = if outer.is_v4() {
        outer.label(0).fragment(0x4000, false)
    } else {
        outer.label((hash >> 32) as u32 & 0xf_ffff)
    };
    let outer = match mode {
        Mode::Gue { port } => outer
            .udp(0xc000 | (hash >> 48) as u16 & 0x3fff, port)
            .without_checksum(),
        _ => outer.protocol(if world.is_v4() { 4 } else { 41 }),
    };
    outer
        .class(packet.class_of())
        .tagged_like(packet)
        .carrying(&packet.clone().one_hop_on())
}

/// The packet leaves in a tunnel to the endpoint, by way of a neighbour (segment, host).
#[track_caller]
pub fn tunnels(
    stage: &mut Stage<'_>,
    world: World,
    packet: &Packet,
    mode: Mode,
    (endpoint, next): (Endpoint, (u8, u8)),
) {
    let (protocol, port) = packet.flow_of();
    assert!(matches!(protocol, TCP | UDP));
    let hash = hash_of(world, protocol, port);
    let outer = eth().ip(endpoint.source, endpoint.address.ip());
    let outer = outer_of(outer, world, packet, mode, hash);
    let way = stage.to(next.0, next.1);
    stage.leaves(packet, way, &outer);
}

/// Every mode that carries, with an endpoint on a segment that it can reach.
pub fn ways(world: World, segment: u8) -> [(Mode, Endpoint); 5] {
    [
        (Mode::Dsr, at(world.is_v4(), segment, 2)),
        (Mode::Ipip, at(true, segment, 2)),
        (Mode::Ipip, at(false, segment, 2)),
        (GUE, at(true, segment, 2)),
        (GUE, at(false, segment, 2)),
    ]
}

/// Bytes that a mode adds.
pub fn overhead(mode: Mode, endpoint: Endpoint) -> usize {
    let ip = if endpoint.address.is_ipv4() { 20 } else { 40 };
    match mode {
        Mode::Nat | Mode::Dsr => 0,
        Mode::Ipip => ip,
        Mode::Gue { .. } => ip + 8,
    }
}

/// A router's error to the service's address.
pub fn router_error(world: World, (kind, code): (u8, u8)) -> Packet {
    between(world.other_client, world.vip).message(kind, code, [0, 0, 5, 0x14])
}

/// A datagram, or a fragment of one, leaves in the mode, in its flow's tunnel.
#[track_caller]
pub fn carries(stage: &mut Stage<'_>, world: World, piece: &Packet, to: (Mode, Endpoint)) {
    let hash = hash_of(world, UDP, CLIENT_PORT);
    carries_by(stage, world, piece, to, hash);
}

/// As [`carries`], of any flow.
#[track_caller]
pub fn carries_by(
    stage: &mut Stage<'_>,
    world: World,
    packet: &Packet,
    (mode, endpoint): (Mode, Endpoint),
    hash: u64,
) {
    let way = stage.to(segment_of(endpoint), 2);
    let carried = if mode == Mode::Dsr {
        packet.clone().one_hop_on()
    } else {
        let outer = eth().ip(endpoint.source, endpoint.address.ip());
        outer_of(outer, world, packet, mode, hash)
    };
    stage.leaves(packet, way, &carried);
}

/// The segment that an endpoint is on.
pub fn segment_of(endpoint: Endpoint) -> u8 {
    match endpoint.address.ip() {
        IpAddr::V4(v4) => v4.octets()[2],
        IpAddr::V6(v6) => v6.segments()[3] as u8,
    }
}

/// The SYN leaves as another one, whatever the mode.
#[track_caller]
pub fn clamped(
    stage: &mut Stage<'_>,
    world: World,
    mode: Mode,
    endpoint: Endpoint,
    (before, after): (Packet, Packet),
) {
    let way = stage.to(1, 2);
    match mode {
        Mode::Nat => {
            stage.forwards(&before, way, |node_port| {
                after
                    .clone()
                    .turned((endpoint.source, node_port), (endpoint.address.ip(), WEB))
            });
        }
        Mode::Dsr => stage.leaves(&before, way, &after.one_hop_on()),
        _ => {
            let hash = hash_of(world, TCP, before.flow_of().1);
            let outer = eth().ip(endpoint.source, endpoint.address.ip());
            stage.leaves(&before, way, &outer_of(outer, world, &after, mode, hash));
        }
    }
}
