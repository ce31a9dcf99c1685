//! A million prefixes: how long they take to load, and what they cost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_tests::packet::SYN;
use lb_userspace::desired::Protocol::Tcp;
use lb_userspace::desired::{Prefix, Rule, Selection, Service};
use lb_userspace::weights::from_relative;

use super::stage::{Stage, between};
use super::world::{WEB, World};

/// The sentence of the case.
pub const NAME: &str = "a million prefixes load, change and cost little";

const MILLION: u32 = 1_000_000;
/// New flows whose time is taken at once, and how often.
const FLOWS: u16 = 8_000;
const ROUNDS: u16 = 7;
/// Many times what it takes: on a busy machine, and built without optimization.
const LOAD: Duration = Duration::from_secs(60);
const WEIGHTS: Duration = Duration::from_secs(1);

/// Loads a million prefixes of each family, one after the other.
pub fn play(stage: &mut Stage<'_>) {
    for world in stage.families() {
        stage.follow(&[web(world, &Arc::default(), 1)]);
        // Once more before it counts: the flow table's pages are cold.
        per_flow(stage, world);
        let without = per_flow(stage, world);
        let all = prefixes(world);
        let (half, rest) = all.split_at(all.len() / 2);
        let rules = [rule(half, [1, 3]), rule(rest, [0, 1])].into();
        let loading = time(|| stage.follow(&[web(world, &rules, 1)]));
        let with = per_flow(stage, world);
        let weights = time(|| stage.follow(&[web(world, &rules, 2)]));
        // The same prefixes read again, and a rule with other weights.
        let rules = [rule(half, [1, 1]), rule(rest, [0, 1])].into();
        let rule_weights = time(|| stage.follow(&[web(world, &rules, 2)]));
        // Each has the weights of the other.
        let changed = [rule(rest, [1, 1]), rule(half, [0, 1])].into();
        let changing = time(|| stage.follow(&[web(world, &changed, 2)]));
        let leaving = time(|| stage.follow(&[web(world, &Arc::default(), 1)]));
        println!(
            "{MILLION} prefixes: loaded in {loading:.1?}, weights of the service changed in \
             {weights:.1?}, of a rule in {rule_weights:.1?}, rules exchanged in {changing:.1?}, \
             gone in {leaving:.1?}; a new flow takes {with:.2?} with them, {without:.2?} without, the \
             system call included"
        );
        assert!(loading < LOAD && changing < LOAD && leaving < LOAD);
        assert!(weights < WEIGHTS);
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// What a new flow takes, from clients all over: the least of some rounds.
fn per_flow(stage: &mut Stage<'_>, world: World) -> Duration {
    let rounds = (0..ROUNDS).map(|round| {
        let frames: Vec<Vec<u8>> = (0..FLOWS)
            .map(|n| {
                let client = address(world, u32::from(n) * 124);
                let port = 1024 + round * FLOWS + n;
                between(client, world.vip).tcp(SYN, port, WEB).bytes()
            })
            .collect();
        let all = time(|| {
            for frame in &frames {
                let run = stage.node.run(frame, stage.node.client);
                run.expect("the frame is taken");
            }
        });
        all / u32::from(FLOWS)
    });
    rounds.min().unwrap_or_default()
}

/// The first address of the `n`-th prefix.
fn address(world: World, n: u32) -> IpAddr {
    if world.is_v4() {
        Ipv4Addr::from(0x0b00_0000 + (n << 8)).into()
    } else {
        let [high, low] = [(n >> 16) as u16, n as u16];
        Ipv6Addr::new(0x2001, 0xdb8, high, low, 0, 0, 0, 0).into()
    }
}

fn prefixes(world: World) -> Vec<Prefix> {
    let length = if world.is_v4() { 24 } else { 64 };
    (0..MILLION)
        .map(|n| Prefix {
            address: address(world, n),
            length,
        })
        .collect()
}

fn rule(from: &[Prefix], weights: [u64; 2]) -> Rule {
    Rule {
        from: from.to_vec(),
        weights: from_relative(&weights).expect("a weight"),
    }
}

fn web(world: World, rules: &Arc<[Rule]>, old: u64) -> Service {
    let (one, two) = ([world.endpoint(1, 2)], [world.endpoint(2, 2)]);
    Service {
        slots: 65_536,
        selection: Selection {
            rules: rules.clone(),
            ..Selection::default()
        },
        ..world.web(Tcp, &[("old", old, &one), ("new", 1, &two)])
    }
}
