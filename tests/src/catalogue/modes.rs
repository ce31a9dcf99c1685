//! What is carried as it is: to a neighbour, in tunnels of either family.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::record::HAND_OVER_TO;
use lb_common::verdict::Reason::*;
use lb_tests::model::{Carry, XDP_PASS};
use lb_tests::node::{v4, v6};
use lb_tests::packet::{ACK, FIN, RST, SYN, TCP, UDP, eth};
use lb_userspace::desired::Protocol::{Tcp, Udp};
use lb_userspace::desired::{Mode, Network, Service};

use super::Case;
use super::carried::{
    GUE, at, carries, carries_by, clamped, datagram, follow, fresh, hash_of, outer_of,
    router_error, service, syn, tunnels, ways,
};
use super::stage::between;
use super::world::{CLIENT_PORT, WEB};

pub const CASES: &[Case] = &[
    (
        "dsr: a packet goes to its endpoint's MAC, one hop on",
        |stage| {
            for world in stage.families() {
                let world = follow(stage, world, Tcp, Mode::Dsr, at(world.is_v4(), 1, 2));
                for packet in [syn(world), syn(world).vlan(7), syn(world).qinq(7, 8)] {
                    let (way, on) = (stage.to(1, 2), packet.clone().one_hop_on());
                    stage.leaves(&packet, way, &on);
                }
                let endpoint = at(world.is_v4(), 0, 50);
                stage.follow(&[service(world, Udp, Mode::Dsr, endpoint)]);
                let packet = datagram(world);
                let way = stage.to(0, 50);
                stage.leaves(&packet, way, &packet.clone().one_hop_on());
            }
        },
    ),
    (
        "dsr: without a neighbour entry the kernel is told whose",
        |stage| {
            for world in stage.families() {
                let world = follow(stage, world, Tcp, Mode::Dsr, at(world.is_v4(), 1, 99));
                let run = stage.play(&syn(world).bytes(), stage.node.client, HandedOver);
                assert_eq!(run.action, XDP_PASS);
                assert_eq!(run.frame[..4], HAND_OVER_TO);
                assert_ne!(run.frame[4..6], [0, 0], "an endpoint has an id");
                assert_eq!(run.frame[12..], syn(world).one_hop_on().bytes()[12..]);
            }
        },
    ),
    (
        "dsr: an endpoint behind a router is out of reach",
        |stage| {
            for world in stage.families() {
                let mut endpoint = at(world.is_v4(), 1, 2);
                endpoint.address.set_ip(world.other_client);
                let world = follow(stage, world, Tcp, Mode::Dsr, endpoint);
                stage.drops(&syn(world), NotOnLink);
                // The same router is a way for others.
                let world = follow(stage, world, Tcp, Mode::Ipip, endpoint);
                tunnels(stage, world, &syn(world), Mode::Ipip, (endpoint, (0, 2)));
            }
        },
    ),
    ("ipip and gue: either family in either family", |stage| {
        for world in stage.families() {
            for mode in [Mode::Ipip, GUE, Mode::Gue { port: 9 }] {
                for endpoint in [at(true, 1, 2), at(false, 1, 2)] {
                    for protocol in [Tcp, Udp] {
                        let world = follow(stage, world, protocol, mode, endpoint);
                        let packet = match protocol {
                            Tcp => syn(world),
                            Udp => datagram(world),
                        };
                        tunnels(stage, world, &packet, mode, (endpoint, (1, 2)));
                        tunnels(stage, world, &packet.hops(2), mode, (endpoint, (1, 2)));
                    }
                }
            }
        }
    }),
    ("ipip and gue: VLAN tags come to the front", |stage| {
        for world in stage.families() {
            for mode in [Mode::Ipip, GUE] {
                for endpoint in [at(true, 1, 2), at(false, 1, 2)] {
                    let world = follow(stage, world, Tcp, mode, endpoint);
                    for packet in [syn(world).vlan(7), syn(world).qinq(0x7123, 0xe008)] {
                        tunnels(stage, world, &packet, mode, (endpoint, (1, 2)));
                    }
                }
            }
        }
    }),
    (
        "ipip and gue: traffic class and congestion are copied out",
        |stage| {
            for world in stage.families() {
                for endpoint in [at(true, 1, 2), at(false, 1, 2)] {
                    let world = follow(stage, world, Tcp, Mode::Ipip, endpoint);
                    for class in [0, 1, 2, 3, 0xb8, 0xff] {
                        let packet = syn(world).class(class);
                        tunnels(stage, world, &packet, Mode::Ipip, (endpoint, (1, 2)));
                    }
                }
            }
        },
    ),
    (
        "ipip: IPv4 options and IPv6 extension headers are carried",
        |stage| {
            let v4 = follow(stage, stage.v4, Tcp, Mode::Ipip, at(true, 1, 2));
            let packet = syn(v4).options(&[1; 40]);
            tunnels(
                stage,
                stage.v4,
                &packet,
                Mode::Ipip,
                (at(true, 1, 2), (1, 2)),
            );
            let v6 = follow(stage, stage.v6, Tcp, Mode::Ipip, at(true, 1, 2));
            let packet = syn(v6).extension(0, 24);
            tunnels(
                stage,
                stage.v6,
                &packet,
                Mode::Ipip,
                (at(true, 1, 2), (1, 2)),
            );
        },
    ),
    ("ipip: tunnels come from a network, by flow", |stage| {
        let networks = [
            (at(true, 1, 2), IpAddr::from([172, 16, 0, 0]), 12),
            (at(false, 1, 2), "fd00:1::".parse().expect("an address"), 64),
            (
                at(false, 1, 2),
                "fd00:2::".parse().expect("an address"),
                112,
            ),
        ];
        for world in stage.families() {
            for (endpoint, address, bits) in networks {
                let mut service = service(world, Tcp, Mode::Ipip, endpoint);
                service.delivery.tunnel_source = Some(Network { address, bits });
                stage.follow(&[service.clone()]);
                let world = fresh(stage, world);
                for port in 0..20 {
                    let packet = between(world.client, world.vip).tcp(SYN, CLIENT_PORT + port, WEB);
                    let hash = hash_of(world, TCP, CLIENT_PORT + port);
                    let carry = Carry::to(&service, &endpoint, hash).expect("a tunnel");
                    let outer = eth().ip(carry.from, carry.to);
                    let outer = outer_of(outer, world, &packet, Mode::Ipip, hash);
                    let way = stage.to(1, 2);
                    stage.leaves(&packet, way, &outer);
                }
            }
        }
    }),
    (
        "with its last hop a packet passes, for the kernel to answer",
        |stage| {
            for world in stage.families() {
                for mode in [Mode::Dsr, Mode::Ipip, GUE] {
                    let world = follow(stage, world, Tcp, mode, at(world.is_v4(), 1, 2));
                    stage.passes(&syn(world).hops(1), Expiring);
                    stage.passes(&syn(world).hops(0), Expiring);
                }
            }
        },
    ),
    (
        "the largest packet goes, of one larger the sender is told what fits",
        |stage| {
            for world in stage.families() {
                let headers = if world.is_v4() { 28 } else { 48 };
                for (mode, endpoint, added) in [
                    (Mode::Dsr, at(world.is_v4(), 1, 2), 0),
                    (Mode::Ipip, at(true, 1, 2), 20),
                    (Mode::Ipip, at(false, 1, 2), 40),
                    (GUE, at(true, 1, 2), 28),
                    (GUE, at(false, 1, 2), 48),
                ] {
                    let world = follow(stage, world, Udp, mode, endpoint);
                    let most = 1500 - headers - added;
                    let packet = datagram(world).payload(&vec![1; most]);
                    if mode == Mode::Dsr {
                        let way = stage.to(1, 2);
                        stage.leaves(&packet, way, &packet.clone().one_hop_on());
                    } else {
                        tunnels(stage, world, &packet, mode, (endpoint, (1, 2)));
                    }
                    let larger = datagram(world).payload(&vec![1; most + 1]);
                    stage.tells_the_sender(&larger, 1500 - added as u32);
                    stage.tells_the_sender(&larger.qinq(7, 8), 1500 - added as u32);
                }
            }
        },
    ),
    ("not everybody is told that a packet is too big", |stage| {
        let world = stage.v4;
        let world = follow(stage, world, Udp, Mode::Ipip, at(true, 1, 2));
        let frame = datagram(world).payload(&[1; 1460]).bytes();
        let before = stage.node.reasons().expect("reasons");
        for _ in 0..3000 {
            stage.node.run(&frame, stage.node.client).expect("a run");
        }
        let after = stage.node.reasons().expect("reasons");
        let [told, not_told] =
            [TooBigTold, TooBig].map(|it| after[it as usize] - before[it as usize]);
        assert_eq!(told + not_told, 3000);
        // Three thousand take less than two of the ticks in which a thousand are told.
        assert!((900..3000).contains(&told), "{told} were told");
        std::thread::sleep(std::time::Duration::from_millis(1200));
    }),
    ("a SYN announces no larger segments than allowed", |stage| {
        for world in stage.families() {
            for mode in [Mode::Nat, Mode::Dsr, Mode::Ipip] {
                let endpoint = at(world.is_v4(), 1, 2);
                let mut service = service(world, Tcp, mode, endpoint);
                service.delivery.mss = Some(1400);
                stage.follow(&[service]);
                let world = fresh(stage, world);
                for (port, announced, sent) in [(0, 1460, 1400), (1, 1400, 1400), (2, 536, 536)] {
                    for before in [0, 1, 4] {
                        let with = |size: u16| {
                            let [high, low] = size.to_be_bytes();
                            let mut options = vec![1; before];
                            options.extend([2, 4, high, low]);
                            options.resize(options.len().next_multiple_of(4), 0);
                            let packet = between(world.client, world.vip);
                            packet
                                .tcp(SYN, CLIENT_PORT + port, WEB)
                                .tcp_options(&options)
                        };
                        clamped(stage, world, mode, endpoint, (with(announced), with(sent)));
                    }
                }
            }
        }
    }),
    (
        "an option that claims more than the header keeps a SYN as it is",
        |stage| {
            for world in stage.families() {
                let mut service = service(world, Tcp, Mode::Dsr, at(world.is_v4(), 1, 2));
                service.delivery.mss = Some(1400);
                stage.follow(&[service]);
                let world = fresh(stage, world);
                for length in [64 + 4, 200, 255] {
                    let packet = syn(world).tcp_options(&[9, length, 0, 0, 2, 4, 5, 0xb4]);
                    let way = stage.to(1, 2);
                    stage.leaves(&packet, way, &packet.clone().one_hop_on());
                }
            }
        },
    ),
    (
        "nat: a SYN+ACK announces no larger segments than allowed",
        |stage| {
            for world in stage.families() {
                let endpoint = at(world.is_v4(), 1, 2);
                let mut service = service(world, Tcp, Mode::Nat, endpoint);
                service.delivery.mss = Some(1400);
                stage.follow(&[service]);
                let world = fresh(stage, world);
                let packet = syn(world);
                let way = stage.to(1, 2);
                let node_port = stage.forwards(&packet, way, |node_port| {
                    packet
                        .clone()
                        .turned((endpoint.source, node_port), (endpoint.address.ip(), WEB))
                });
                let reply = between(endpoint.address.ip(), endpoint.source);
                let reply = reply.tcp(SYN | ACK, WEB, node_port);
                let turned = reply
                    .clone()
                    .turned((world.vip, WEB), (world.client, CLIENT_PORT));
                let (reply, turned) = (
                    reply.tcp_options(&[2, 4, 0x22, 0]),
                    turned.tcp_options(&[2, 4, 5, 0x78]),
                );
                stage.returns(&reply, stage.node.one, &turned);
            }
        },
    ),
    ("a flow keeps its endpoint and its mode", |stage| {
        for world in stage.families() {
            let (one, two) = (at(world.is_v4(), 1, 2), at(world.is_v4(), 2, 2));
            let world = follow(stage, world, Tcp, Mode::Ipip, one);
            tunnels(stage, world, &syn(world), Mode::Ipip, (one, (1, 2)));
            let data = between(world.client, world.vip).tcp(ACK, CLIENT_PORT, WEB);
            for (mode, endpoint) in [(Mode::Ipip, two), (GUE, one), (Mode::Dsr, two), (GUE, two)] {
                follow(stage, world, Tcp, mode, endpoint);
                tunnels(stage, world, &data, Mode::Ipip, (one, (1, 2)));
            }
            let packet = between(world.client, world.vip).tcp(SYN, CLIENT_PORT + 1, WEB);
            tunnels(stage, world, &packet, GUE, (two, (2, 2)));
        }
    }),
    (
        "a flow of which one side is seen ends with the client's FIN or RST",
        |stage| {
            for world in stage.families() {
                for (port, flags, phase) in [(0, FIN | ACK, "closing"), (1, RST, "closed")] {
                    let endpoint = at(world.is_v4(), 1, 2);
                    let world = follow(stage, world, Tcp, Mode::Ipip, endpoint);
                    let client = (world.client, CLIENT_PORT + port).into();
                    let packet = |flags| {
                        between(world.client, world.vip).tcp(flags, CLIENT_PORT + port, WEB)
                    };
                    let counted = stage.counted(endpoint.address, |stage| {
                        for (flags, phase) in [(SYN, "opening"), (ACK, "open")] {
                            tunnels(stage, world, &packet(flags), Mode::Ipip, (endpoint, (1, 2)));
                            assert_eq!(stage.phase(client).as_deref(), Some(phase));
                        }
                        tunnels(stage, world, &packet(flags), Mode::Ipip, (endpoint, (1, 2)));
                    });
                    let seen = stage.phase(client);
                    // A closed flow is not listed.
                    assert_eq!(seen.as_deref(), (phase != "closed").then_some(phase));
                    let ended = (counted.closed, counted.reset_by_client);
                    assert_eq!(ended, if phase == "closing" { (1, 0) } else { (0, 1) });
                    assert_eq!(
                        (counted.opened, counted.packets_in, counted.packets_out),
                        (1, 3, 0)
                    );
                    // The tuple may be used again at once, and is a new choice.
                    let other = at(world.is_v4(), 2, 2);
                    follow(stage, world, Tcp, Mode::Ipip, other);
                    tunnels(stage, world, &packet(SYN), Mode::Ipip, (other, (2, 2)));
                }
            }
        },
    ),
    (
        "fragments are carried as their flow's packets are, counted",
        |stage| {
            for world in stage.families() {
                for (mode, endpoint) in ways(world, 1) {
                    let world = follow(stage, world, Udp, mode, endpoint);
                    let packet = datagram(world).label(7).payload(&[3; 4000]);
                    let pieces = packet.cut(1200);
                    stage.passes(&pieces[1], Fragment);
                    let counted = stage.counted(endpoint.address, |stage| {
                        for piece in &pieces {
                            carries(stage, world, piece, (mode, endpoint));
                        }
                        carries(stage, world, &datagram(world), (mode, endpoint));
                    });
                    assert_eq!((counted.opened, counted.packets_in), (1, 5));
                    stage.passes(&pieces[1].clone().hops(1), Expiring);
                    // Whatever becomes of the service, the flow is not translated.
                    stage.follow(&[world.web_at(Udp, at(world.is_v4(), 2, 2))]);
                    carries(stage, world, &pieces[0], (mode, endpoint));
                    carries(stage, world, &pieces[1], (mode, endpoint));
                }
            }
        },
    ),
    (
        "of a first fragment that is too large for its tunnel the sender is told, of others not",
        |stage| {
            for world in stage.families() {
                let header = if world.is_v4() { 20 } else { 48 };
                for (endpoint, outer) in [(at(true, 1, 2), 20), (at(false, 1, 2), 40)] {
                    let world = follow(stage, world, Udp, Mode::Ipip, endpoint);
                    let fits = (1500 - outer - header) / 8 * 8;
                    let packet = |label| datagram(world).label(label).payload(&[3; 4000]);
                    for piece in packet(1).cut(fits) {
                        carries(stage, world, &piece, (Mode::Ipip, endpoint));
                    }
                    let large = packet(2).cut(fits + 8);
                    stage.tells_the_sender(&large[0], 1500 - outer as u32);
                    stage.drops(&large[1], TooBig);
                }
            }
        },
    ),
    (
        "errors about an endpoint's answers are carried to it as they came",
        |stage| {
            for world in stage.families() {
                let kinds: &[(u8, u8)] = if world.is_v4() {
                    &[(3, 4), (3, 1), (3, 3), (11, 0), (12, 0)]
                } else {
                    &[(2, 0), (1, 0), (1, 4), (3, 0), (4, 1)]
                };
                for (mode, endpoint) in ways(world, 1) {
                    let kind = kinds[0];
                    let world = follow(stage, world, Udp, mode, endpoint);
                    let hash = hash_of(world, UDP, CLIENT_PORT);
                    carries_by(stage, world, &datagram(world), (mode, endpoint), hash);
                    let answer = datagram(world).answered().ip_bytes();
                    let error = router_error(world, kind).payload(&answer);
                    carries(stage, world, &error, (mode, endpoint));
                    let world = follow(stage, world, Tcp, mode, endpoint);
                    let hash = hash_of(world, TCP, CLIENT_PORT);
                    carries_by(stage, world, &syn(world), (mode, endpoint), hash);
                    let answer = syn(world).answered().ip_bytes();
                    for &kind in kinds {
                        let error = router_error(world, kind).payload(&answer);
                        carries_by(stage, world, &error, (mode, endpoint), hash);
                    }
                    let error = router_error(world, kind).payload(&answer);
                    stage.passes(&error.hops(1), Expiring);
                    let other = between(world.client, world.vip).tcp(SYN, CLIENT_PORT + 1, WEB);
                    let error = router_error(world, kind).payload(&other.answered().ip_bytes());
                    stage.passes(&error, UnrelatedError);
                }
            }
        },
    ),
    (
        "errors about the tunnels themselves pass, for the kernel to know",
        |stage| {
            for world in stage.families() {
                for (mode, endpoint) in ways(world, 1).into_iter().filter(|it| it.0.is_tunnel()) {
                    let world = follow(stage, world, Tcp, mode, endpoint);
                    tunnels(stage, world, &syn(world), mode, (endpoint, (1, 2)));
                    let outer = eth().ip(endpoint.source, endpoint.address.ip());
                    let hash = hash_of(world, TCP, CLIENT_PORT);
                    let sent = outer_of(outer, world, &syn(world), mode, hash);
                    let (router, kind) = match endpoint.source {
                        IpAddr::V4(_) => (v4(1, 3), (3, 4)),
                        IpAddr::V6(_) => (v6(1, 3), (2, 0)),
                    };
                    let error = between(router, endpoint.source)
                        .message(kind.0, kind.1, [0, 0, 5, 0])
                        .payload(&sent.ip_bytes());
                    stage.passes(&error, UnrelatedError);
                }
            }
        },
    ),
    ("an echo request is answered whatever the mode", |stage| {
        for world in stage.families() {
            for (mode, endpoint) in ways(world, 1) {
                for protocol in [Tcp, Udp] {
                    let mut answering = service(world, protocol, mode, endpoint);
                    answering.echo = true;
                    stage.follow(&[answering]);
                    let (asks, answers) = if world.is_v4() { (8, 0) } else { (128, 129) };
                    let request = between(world.client, world.vip).message(asks, 0, [1, 2, 0, 3]);
                    let reply = between(world.vip, world.client).message(answers, 0, [1, 2, 0, 3]);
                    let (from, way) = (stage.node.client, stage.to_clients());
                    let (request, reply) = (request.payload(b"echo"), reply.payload(b"echo"));
                    stage.sends(&request, from, way, &reply);
                }
            }
        }
    }),
    (
        "gue: source ports spread the flows of one client",
        |stage| {
            for world in stage.families() {
                for endpoint in [at(true, 1, 2), at(false, 1, 2)] {
                    let world = follow(stage, world, Udp, GUE, endpoint);
                    let mut ports = BTreeSet::new();
                    for port in 0..64 {
                        let packet = between(world.client, world.vip).udp(CLIENT_PORT + port, WEB);
                        tunnels(stage, world, &packet, GUE, (endpoint, (1, 2)));
                        let hash = hash_of(world, UDP, CLIENT_PORT + port);
                        ports.insert(0xc000 | hash as u16 & 0x3fff);
                    }
                    assert!(ports.len() > 60, "{} source ports of 64 flows", ports.len());
                }
            }
        },
    ),
    (
        "services at one address have flows of their own, whatever their modes",
        |stage| {
            for world in stage.families() {
                let (one, two) = (at(world.is_v4(), 1, 2), at(world.is_v4(), 2, 2));
                let named = |name: &str, port, service: Service| {
                    let mut service = service;
                    service.name = name.to_owned();
                    service.address.set_port(port);
                    service
                };
                stage.follow(&[
                    named("direct", WEB, service(world, Tcp, Mode::Dsr, one)),
                    named("tunnel", WEB, service(world, Udp, Mode::Ipip, two)),
                    named("turned", WEB + 1, service(world, Tcp, Mode::Nat, two)),
                ]);
                // The same client port to each.
                let world = fresh(stage, world);
                let to = |protocol, flags, port| {
                    let packet = between(world.client, world.vip);
                    match protocol {
                        Tcp => packet.tcp(flags, CLIENT_PORT, port),
                        Udp => packet.udp(CLIENT_PORT, port),
                    }
                };
                let ways = (stage.to(1, 2), stage.to(2, 2));
                for flags in [SYN, ACK] {
                    let direct = to(Tcp, flags, WEB);
                    stage.leaves(&direct, ways.0, &direct.clone().one_hop_on());
                    let tunnel = to(Udp, flags, WEB);
                    tunnels(stage, world, &tunnel, Mode::Ipip, (two, (2, 2)));
                    let turned = to(Tcp, flags, WEB + 1);
                    stage.forwards(&turned, ways.1, |node_port| {
                        let ends = ((two.source, node_port), (two.address.ip(), WEB));
                        turned.clone().turned(ends.0, ends.1)
                    });
                }
            }
        },
    ),
    (
        "in the middle of a connection without a flow nothing is carried",
        |stage| {
            for world in stage.families() {
                for mode in [Mode::Dsr, Mode::Ipip, GUE] {
                    let world = follow(stage, world, Tcp, mode, at(world.is_v4(), 1, 2));
                    let data = between(world.client, world.vip).tcp(ACK, CLIENT_PORT + 9, WEB);
                    stage.drops(&data, NoFlow);
                }
            }
        },
    ),
    (
        "later fragments go where the first one went, though its flow is over and its endpoint gone",
        |stage| {
            for world in stage.families() {
                for (mode, endpoint) in ways(world, 1) {
                    let world = follow(stage, world, Udp, mode, endpoint);
                    let pieces = datagram(world).label(1).payload(&[7; 2000]).cut(1200);
                    carries(stage, world, &pieces[0], (mode, endpoint));
                    stage.node.forget_flows().expect("no flows");
                    let other = at(endpoint.address.is_ipv4(), 1, 3);
                    // Once to take the place of the endpoint, once more to free it.
                    for _ in 0..2 {
                        stage.follow(&[service(world, Udp, mode, other)]);
                    }
                    carries(stage, world, &pieces[1], (mode, endpoint));
                }
            }
        },
    ),
];
