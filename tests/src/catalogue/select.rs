//! Which endpoint a new flow gets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_tests::packet::SYN;
use lb_userspace::desired::Protocol::Tcp;
use lb_userspace::desired::{Affinity, Prefix, Rule, Scheduling, Selection, Service};
use lb_userspace::weights::from_relative;

use super::Case;
use super::stage::{Stage, between};
use super::world::{CLIENT_PORT, WEB, World};

pub const CASES: &[Case] = &[
    (
        "ten flows in turn at 80/20 are eight and two, from any turn on",
        |stage| {
            for world in stage.families() {
                stage.follow(&[in_turn(world, 80, 20)]);
                for start in 0..5 {
                    let new = (0..10)
                        .filter(|n| is_new(stage, world, world.client, 11 * start + n))
                        .count();
                    assert_eq!(new, 2, "from turn {start} on");
                    opens(stage, world, world.client, 11 * start + 10);
                }
            }
        },
    ),
    (
        "flows in turn go on where they were when weights change",
        |stage| {
            for world in stage.families() {
                let mut ports = 0..;
                let mut new = |stage: &mut Stage<'_>, count: usize| {
                    ports
                        .by_ref()
                        .take(count)
                        .filter(|&n| is_new(stage, world, world.client, n))
                        .count()
                };
                stage.follow(&[in_turn(world, 80, 20)]);
                // Until the turn of `new`: of five the third.
                while new(stage, 1) == 0 {}
                stage.follow(&[in_turn(world, 50, 50)]);
                assert_eq!(new(stage, 10), 5);
                stage.follow(&[in_turn(world, 80, 20)]);
                // The fourth of five is next.
                assert_eq!([new(stage, 4), new(stage, 1)], [0, 1]);
            }
        },
    ),
    ("a packet of a known flow takes nobody's turn", |stage| {
        for world in stage.families() {
            stage.follow(&[in_turn(world, 50, 50)]);
            let first = is_new(stage, world, world.client, 0);
            for _ in 0..3 {
                assert_eq!(
                    is_new(stage, world, world.client, 0),
                    first,
                    "the same flow"
                );
            }
            assert_ne!(is_new(stage, world, world.client, 1), first, "the next one");
        }
    }),
    (
        "flows of one client go to one endpoint where clients stay together",
        |stage| {
            for world in stage.families() {
                let bits = if world.is_v4() { 32 } else { 128 };
                stage.follow(&[together(world, bits)]);
                let at_new = (0..40).filter(|&n| is_new(stage, world, world.client, n));
                assert!([0, 40].contains(&at_new.count()));
                stage.follow(&[halves(world)]);
                let at_new = (40..80).filter(|&n| is_new(stage, world, world.client, n));
                assert!(
                    (1..40).contains(&at_new.count()),
                    "without it they go apart"
                );
            }
        },
    ),
    (
        "clients of one network go to one endpoint where networks stay together",
        |stage| {
            for world in stage.families() {
                let bits = if world.is_v4() { 26 } else { 64 };
                let mut seen = Vec::new();
                stage.follow(&[together(world, bits)]);
                for network in 0..16 {
                    let at_new = (0..8).filter(|&host| {
                        let client = neighbour(world.client, network, host);
                        is_new(stage, world, client, host)
                    });
                    let at_new = at_new.count();
                    assert!([0, 8].contains(&at_new), "{at_new} of 8");
                    seen.push(at_new);
                }
                seen.sort_unstable();
                assert_eq!((seen[0], seen[15]), (0, 8), "each endpoint has networks");
            }
        },
    ),
    (
        "the rule with the longest prefix has the client, in whatever order they stand",
        |stage| {
            for world in stage.families() {
                let wide = if world.is_v4() { 16 } else { 48 };
                let whole = if world.is_v4() { 32 } else { 128 };
                let mut rules = vec![
                    rule(neighbour(world.client, 0, 0), wide, 0, 1),
                    rule(
                        neighbour(world.client, 3, 0),
                        if world.is_v4() { 26 } else { 64 },
                        1,
                        0,
                    ),
                    rule(neighbour(world.client, 3, 5), whole, 0, 1),
                ];
                for _ in 0..2 {
                    stage.follow(&[ruled(world, &rules)]);
                    for (network, host, expected) in [
                        (1, 1, true),
                        (3, 1, false),
                        (3, 5, true),
                        (3, 6, false),
                        (4, 5, true),
                    ] {
                        let client = neighbour(world.client, network, host);
                        // Both slots of a fair split would show within so many.
                        for port in 0..8 {
                            let port = port + 100 * rules.len() as u16;
                            assert_eq!(is_new(stage, world, client, port), expected, "{client}");
                        }
                    }
                    // A client of no rule: the service's own table.
                    let at_new = (0..40).filter(|&n| is_new(stage, world, world.client, n));
                    assert!((1..40).contains(&at_new.count()));
                    rules.reverse();
                }
            }
        },
    ),
    (
        "new weights of a rule hold for new flows and leave others where they are",
        |stage| {
            for world in stage.families() {
                let bits = if world.is_v4() { 32 } else { 128 };
                let to = |old, new| ruled(world, &[rule(world.client, bits, old, new)]);
                stage.follow(&[to(1, 0)]);
                assert!((0..10).all(|n| !is_new(stage, world, world.client, n)));
                stage.follow(&[to(0, 1)]);
                assert!(
                    (0..10).all(|n| !is_new(stage, world, world.client, n)),
                    "known flows"
                );
                assert!(
                    (10..20).all(|n| is_new(stage, world, world.client, n)),
                    "new flows"
                );
                stage.follow(&[halves(world)]);
                let at_new = (20..60).filter(|&n| is_new(stage, world, world.client, n));
                assert!((1..40).contains(&at_new.count()), "no rule any more");
            }
        },
    ),
    (
        "a rule of one service says nothing about another",
        |stage| {
            for world in stage.families() {
                let bits = if world.is_v4() { 32 } else { 128 };
                let ruled = ruled(world, &[rule(world.client, bits, 0, 1)]);
                let mut other = weighted(world, 1, 0);
                other.selection.rules = [rule(world.other_client, bits, 0, 1)].into();
                other.name = "other".to_owned();
                other.address.set_port(WEB + 1);
                stage.follow(&[ruled, other]);
                for (client, port, expected) in [
                    (world.client, WEB, true),
                    (world.client, WEB + 1, false),
                    (world.other_client, WEB + 1, true),
                ] {
                    assert_eq!(is_new_at(stage, world, (client, port), port), expected);
                }
            }
        },
    ),
    (
        "where flows take turns, those of a rule take their own",
        |stage| {
            for world in stage.families() {
                let bits = if world.is_v4() { 32 } else { 128 };
                let mut service = in_turn(world, 80, 20);
                service.selection.rules = [rule(world.client, bits, 50, 50)].into();
                stage.follow(&[service]);
                let mut at_new = [0, 0];
                for n in 0..10 {
                    at_new[0] += u8::from(is_new(stage, world, world.client, n));
                    at_new[1] += u8::from(is_new(stage, world, world.other_client, n));
                }
                assert_eq!(at_new, [5, 2]);
            }
        },
    ),
];

fn rule(address: IpAddr, length: u8, old: u64, new: u64) -> Rule {
    let from = Prefix { address, length }
        .without_host()
        .expect("a length of the family");
    Rule {
        from: vec![from],
        weights: from_relative(&[old, new]).expect("a weight"),
    }
}

/// Half and half, but for these rules.
fn ruled(world: World, rules: &[Rule]) -> Service {
    let mut service = halves(world);
    service.selection.rules = rules.into();
    service
}

/// Half to `old` at 1.2 and half to `new` at 2.2.
fn halves(world: World) -> Service {
    weighted(world, 1, 1)
}

fn weighted(world: World, old: u64, new: u64) -> Service {
    let (one, two) = ([world.endpoint(1, 2)], [world.endpoint(2, 2)]);
    world.web(Tcp, &[("old", old, &one), ("new", new, &two)])
}

fn in_turn(world: World, old: u64, new: u64) -> Service {
    Service {
        selection: Selection {
            scheduling: Scheduling::Exact,
            ..Selection::default()
        },
        ..weighted(world, old, new)
    }
}

fn together(world: World, bits: u8) -> Service {
    Service {
        selection: Selection {
            affinity: Affinity::Client(bits),
            ..Selection::default()
        },
        ..halves(world)
    }
}

/// A host of another network of 64 addresses (IPv6: of a /64).
fn neighbour(client: IpAddr, network: u16, host: u16) -> IpAddr {
    match client {
        IpAddr::V4(_) => {
            Ipv4Addr::from(0xc613_8000 | u32::from(network) << 6 | u32::from(host)).into()
        }
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 1, network, 0, 0, 7, host).into(),
    }
}

/// The client's `number`-th flow opens, or opens again.
fn opens(stage: &mut Stage<'_>, world: World, client: IpAddr, number: u16) {
    is_new(stage, world, client, number);
}

/// Opens the client's `number`-th flow, and tells whether its backend is `new`.
#[track_caller]
fn is_new(stage: &mut Stage<'_>, world: World, client: IpAddr, number: u16) -> bool {
    is_new_at(stage, world, (client, WEB), number)
}

/// The same at a port of the virtual address.
#[track_caller]
fn is_new_at(
    stage: &mut Stage<'_>,
    world: World,
    (client, service): (IpAddr, u16),
    number: u16,
) -> bool {
    let port = CLIENT_PORT.wrapping_add(number);
    let packet = between(client, world.vip).tcp(SYN, port, service);
    let run = stage.node.run(&packet.bytes(), stage.node.client);
    run.expect("the frame is taken");
    let flow = stage.node.flow(SocketAddr::new(client, port));
    let flow = flow.expect("flows").expect("the flow is open");
    flow.backend == "new"
}
