//! Several processors at one small table: a race may cost an insertion, never an entry its integrity.

use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use super::table::{ENDPOINTS, Given, Numbered, Opener, Table};
use crate::address::{V4, V6};
use crate::flow::NodePorts;
use crate::hash::mix;
use crate::parse::Signals;
use crate::phase::Side;

const NOW: u32 = 100;
const ROUNDS: u64 = 100_000;
/// Twice as many as there is room for.
const CLIENTS: u16 = 32;

/// The endpoint of each client, so that a key beside another flow's state is seen.
fn endpoint_of(client: u16) -> u16 {
    1 + client % ENDPOINTS
}

/// One thread's random operations; the number of finds.
fn hammer<A: Numbered>(table: &Table<A>, seed: u64) -> u64 {
    let mut found = 0;
    for round in 0..ROUNDS {
        let dice = mix(seed << 32 | round);
        let opener = Opener {
            client: (dice >> 8) as u16 % CLIENTS,
            port: 7,
            service: 1,
        };
        let endpoint = endpoint_of(opener.client);
        match dice % 16 {
            0..=5 => {
                let _ = table.open(opener, endpoint, NOW);
            }
            6 => {
                table.after_client(opener, Signals::RST, NOW);
            }
            7 => {
                table.after_client(opener, Signals::FIN, NOW);
            }
            8 => {
                let node_port = 10_240 + (dice >> 40) as u16 % 64;
                let given = Given {
                    endpoint,
                    node_port,
                };
                if let Some(flow) = table.of_endpoint(given, NOW) {
                    let (client, _, port) = A::from_key(flow.key);
                    assert!(
                        (0..CLIENTS).any(|n| A::number(n) == client && endpoint_of(n) == endpoint)
                    );
                    assert_eq!(port, opener.virtual_port());
                    assert_eq!(flow.state.side(), Side::Endpoint);
                    found += 1;
                }
            }
            _ => {
                if let Some(flow) = table.of_client(opener, NOW) {
                    assert_eq!(Given::of(flow.state).endpoint, endpoint, "{opener:?}");
                    assert!((10_240..10_304).contains(&flow.state.node_port()));
                    assert_eq!(flow.state.side(), Side::Client);
                    found += 1;
                }
            }
        }
    }
    found
}

fn hammer_from_many_threads<A: Numbered + Sync>()
where
    Table<A>: Sync,
{
    let table = Table::<A>::new(
        8,
        NodePorts {
            first: 10_240,
            count: 64,
        },
    );
    let found = AtomicU64::new(0);
    thread::scope(|scope| {
        for seed in 0..4 {
            let (table, found) = (&table, &found);
            scope.spawn(move || found.fetch_add(hammer(table, seed), Relaxed));
        }
    });
    assert!(
        found.into_inner() > ROUNDS / 4,
        "too few finds to mean anything"
    );
}

#[test]
fn what_threads_find_in_a_contested_ipv4_table_always_belongs_together() {
    hammer_from_many_threads::<V4>();
}

#[test]
fn what_threads_find_in_a_contested_ipv6_table_always_belongs_together() {
    hammer_from_many_threads::<V6>();
}

/// Threads open flows to one endpoint at once, with hardly more ports than flows, again and again.
#[test]
fn flows_opened_at_once_have_ports_of_their_own() {
    const THREADS: u16 = 4;
    const FLOWS: u16 = 8;
    let ports = NodePorts {
        first: 10_240,
        count: 40,
    };
    for _ in 0..2000 {
        let table = Table::<V4>::new(8, ports);
        let start = Barrier::new(THREADS.into());
        let opened: Vec<u16> = thread::scope(|scope| {
            let open = |thread: u16| {
                let (table, start) = (&table, &start);
                start.wait();
                let numbers = thread * FLOWS..(thread + 1) * FLOWS;
                let open = |number| table.open(Opener::number(number), 1, NOW).ok();
                numbers.filter_map(open).collect::<Vec<u16>>()
            };
            let threads = (0..THREADS).map(|thread| scope.spawn(move || open(thread)));
            let threads: Vec<_> = threads.collect();
            let ports = threads.into_iter().map(|thread| thread.join().unwrap());
            ports.flatten().collect()
        });
        let different: HashSet<u16> = opened.iter().copied().collect();
        assert_eq!(different.len(), opened.len(), "{opened:?}");
    }
}
