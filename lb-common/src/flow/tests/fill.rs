//! What gives way when there is no room, and what never does.

use std::collections::HashSet;

use super::table::{Given, LIMITS, Opener, PORTS, Table};
use crate::address::{V4, V6};
use crate::flow::NodePorts;
use crate::hash;
use crate::limits::{FRESH_TICKS, MOST_PORT_PROBES, PORT_PROBES, WAYS};
use crate::parse::Signals;
use crate::phase::{Phase, Side};
use crate::verdict::Reason;

const NOW: u32 = 5000;

/// A table of one bucket: room for two flows.
fn tiny() -> Table<V4> {
    assert_eq!(WAYS, 4);
    Table::new(1, PORTS)
}

#[test]
fn open_flows_never_give_way() {
    let table = Table::<V6>::new(16, PORTS);
    let mut admitted = Vec::new();
    let mut refused = 0;
    for number in 0..500 {
        let opener = Opener::number(number);
        match table.establish(opener, 1 + number % 8, NOW) {
            Ok(node_port) => admitted.push((opener, node_port)),
            Err(reason) => {
                assert_eq!(reason, Reason::FlowTableFull);
                refused += 1;
            }
        }
        for &(opener, node_port) in &admitted {
            let given = table.given(opener, NOW).expect("an open flow is found");
            assert_eq!(given.node_port, node_port);
            assert!(table.is_whole(opener, NOW));
        }
    }
    assert!(
        refused > 400,
        "{refused} of 500 refused; there is room for 32"
    );
    assert!(admitted.len() > 16, "{} admitted", admitted.len());
}

#[test]
fn a_closing_flow_does_not_give_way() {
    let table = tiny();
    for number in 0..2 {
        table.establish(Opener::number(number), 1, NOW).unwrap();
        table.after_client(Opener::number(number), Signals::FIN, NOW);
        assert_eq!(
            table.phase(Opener::number(number), NOW),
            Some(Phase::Closing)
        );
    }
    assert_eq!(
        table.open(Opener::number(9), 1, NOW),
        Err(Reason::FlowTableFull)
    );
}

#[test]
fn a_closed_flow_gives_way_before_an_opening_one() {
    for (closed, opening) in [(0, 1), (1, 0)] {
        let table = tiny();
        for number in 0..2 {
            table.open(Opener::number(number), 1, NOW).unwrap();
        }
        table.after_client(Opener::number(closed), Signals::RST, NOW);
        table.open(Opener::number(9), 1, NOW).unwrap();
        assert!(table.of_client(Opener::number(closed), NOW).is_none());
        assert!(table.is_whole(Opener::number(opening), NOW));
        assert!(table.is_whole(Opener::number(9), NOW));
    }
}

#[test]
fn of_opening_flows_the_one_nearest_its_end_gives_way() {
    let table = tiny();
    table.open(Opener::number(1), 1, NOW + 3).unwrap();
    table.open(Opener::number(2), 1, NOW).unwrap();
    table.open(Opener::number(9), 1, NOW + 5).unwrap();
    assert!(table.of_client(Opener::number(2), NOW + 5).is_none());
    assert!(table.is_whole(Opener::number(1), NOW + 5));
}

#[test]
fn an_expired_flow_gives_way_whatever_it_was() {
    let table = tiny();
    table.establish(Opener::number(1), 1, NOW).unwrap();
    table.establish(Opener::number(2), 1, NOW + 100).unwrap();
    let later = NOW + LIMITS[1] + 50;
    table.establish(Opener::number(9), 1, later).unwrap();
    assert!(table.is_whole(Opener::number(2), later));
    assert!(table.is_whole(Opener::number(9), later));
}

#[test]
fn what_gives_way_takes_both_its_entries_along() {
    let table = Table::<V4>::new(4, PORTS);
    for number in 0..1000 {
        let now = NOW + u32::from(number);
        let _ = table.open(Opener::number(number), 1 + number % 8, now);
        for earlier in 0..=number {
            let opener = Opener::number(earlier);
            let half = table.of_client(opener, now).is_some() && !table.is_whole(opener, now);
            assert!(!half, "half of {earlier} is left after {number}");
        }
        assert_eq!(table.used() % 2, 0, "after {number}");
    }
}

#[test]
fn exhausted_node_ports_refuse_the_new_flow_and_no_other() {
    let ports = NodePorts {
        first: 10_240,
        count: 3,
    };
    let table = Table::<V4>::new(256, ports);
    for number in 0..3 {
        table.establish(Opener::number(number), 1, NOW).unwrap();
    }
    assert_eq!(
        table.open(Opener::number(3), 1, NOW),
        Err(Reason::NodePortsExhausted)
    );
    for number in 0..3 {
        assert!(table.is_whole(Opener::number(number), NOW));
    }
    // Ports are an endpoint's own.
    table.open(Opener::number(3), 2, NOW).unwrap();
}

#[test]
fn a_closed_flows_node_port_is_given_again_when_no_other_is_free() {
    let ports = NodePorts {
        first: 10_240,
        count: 3,
    };
    let table = Table::<V4>::new(256, ports);
    let given: Vec<u16> = (0..3)
        .map(|number| table.establish(Opener::number(number), 1, NOW).unwrap())
        .collect();
    table.after_client(Opener::number(1), Signals::RST, NOW);
    let again = table.establish(Opener::number(3), 1, NOW);
    assert_eq!(again, Ok(given[1]));
    assert_eq!(table.given(Opener::number(1), NOW), None);
    for number in [0, 2, 3] {
        assert!(table.is_whole(Opener::number(number), NOW), "{number}");
    }
    assert_eq!(table.used(), 2 * 3);
    assert_eq!(
        table.open(Opener::number(4), 1, NOW),
        Err(Reason::NodePortsExhausted)
    );
}

#[test]
fn an_opening_flows_node_port_is_given_again_when_no_other_is_free_and_no_flow_closed() {
    let ports = NodePorts {
        first: 10_240,
        count: 3,
    };
    let table = Table::<V4>::new(256, ports);
    let open = table.establish(Opener::number(0), 1, NOW).unwrap();
    let opening = table.open(Opener::number(1), 1, NOW).unwrap();
    let closed = table.establish(Opener::number(2), 1, NOW).unwrap();
    table.after_client(Opener::number(2), Signals::RST, NOW);
    assert_eq!(table.open(Opener::number(3), 1, NOW), Ok(closed));
    let later = NOW + FRESH_TICKS;
    let taken = table.open(Opener::number(4), 1, later).unwrap();
    assert!([opening, closed].contains(&taken), "one of those opening");
    assert_ne!(taken, open);
    assert!(table.is_whole(Opener::number(0), later));
    assert_eq!(table.used(), 2 * 3, "both entries of who gave way are gone");
}

#[test]
fn a_closed_flow_keeps_its_node_port_while_another_is_free() {
    let ports = NodePorts {
        first: 10_240,
        count: 16,
    };
    let table = Table::<V4>::new(256, ports);
    table.establish(Opener::number(0), 1, NOW).unwrap();
    table.after_client(Opener::number(0), Signals::RST, NOW);
    for number in 1..16 {
        table.establish(Opener::number(number), 1, NOW).unwrap();
    }
    assert_eq!(table.phase(Opener::number(0), NOW), Some(Phase::Closed));
}

#[test]
fn node_ports_stay_in_their_range_up_to_its_last() {
    for (first, count) in [(1, 1), (65_535, 1), (65_530, 6), (10_240, 5), (10_240, 64)] {
        let table = Table::<V4>::new(256, NodePorts { first, count });
        let mut seen: Vec<u16> = (0..200)
            .filter_map(|n| table.establish(Opener::number(n), 1, NOW).ok())
            .collect();
        seen.sort_unstable();
        let all: Vec<u16> = (0..count).map(|i| first + i).collect();
        assert!(u32::from(count) <= MOST_PORT_PROBES, "every port is tried");
        assert_eq!(seen, all, "each given out once");
    }
}

#[test]
fn no_two_flows_to_an_endpoint_share_a_node_port() {
    let table = Table::<V4>::new(
        1024,
        NodePorts {
            first: 10_240,
            count: 300,
        },
    );
    let mut seen = HashSet::new();
    for number in 0..2000 {
        let endpoint = 1 + number % 8;
        if let Ok(node_port) = table.establish(Opener::number(number), endpoint, NOW) {
            assert!(
                seen.insert((endpoint, node_port)),
                "{endpoint} {node_port} twice"
            );
            let given = Given {
                endpoint,
                node_port,
            };
            let found = table.of_endpoint(given, NOW).unwrap();
            assert_eq!(found.key, table.key(Opener::number(number)));
        }
    }
    assert!(seen.len() > 1000);
}

#[test]
fn whatever_the_number_of_ports_a_flow_tries_many_of_them() {
    // Each has divisors; the first is the default.
    for count in [19_760, 1000, 1024, 840, 100] {
        let ports = NodePorts {
            first: 20_000,
            count,
        };
        for flow in 0..20_000_u64 {
            let tried: HashSet<u16> = (0..PORT_PROBES)
                .map(|step| ports.port(hash::mix(flow), step))
                .collect();
            assert!(
                tried
                    .iter()
                    .all(|port| (20_000..20_000 + count).contains(port))
            );
            assert!(tried.len() >= 8, "flow {flow} of {count} ports: {tried:?}");
        }
    }
}

#[test]
fn as_many_flows_as_there_are_buckets_find_room() {
    let table = Table::<V4>::new(1 << 14, PORTS);
    let mut refused = [0, 0];
    for number in 0..1 << 14 {
        let is_late = number >= 1 << 13;
        let opened = table.establish(Opener::number(number), 1 + number % 8, NOW);
        refused[usize::from(is_late)] += u32::from(opened.is_err());
    }
    assert_eq!(refused[0], 0, "in the first half");
    assert!(refused[1] <= 8, "{} in the second half", refused[1]);
}

#[test]
fn one_flow_in_800_is_refused_when_nine_tenths_of_the_ports_are_open_flows() {
    let ports = NodePorts {
        first: 2000,
        count: 60_000,
    };
    let table = Table::<V4>::new(1 << 16, ports);
    let mut numbers = 0..;
    let mut refused_of_next = |until: usize, tries: usize| {
        let (mut open, mut refused) = (table.used() / 2, 0);
        while open < until {
            let number = numbers.next().unwrap();
            open += usize::from(table.establish(Opener::number(number), 1, NOW).is_ok());
        }
        for _ in 0..tries {
            let opened = table.establish(Opener::number(numbers.next().unwrap()), 1, NOW);
            refused += usize::from(opened == Err(Reason::NodePortsExhausted));
        }
        refused
    };
    assert_eq!(refused_of_next(30_000, 1000), 0);
    // 0.9^64 is 0.0012.
    let refused = refused_of_next(54_000, 2000);
    assert!(refused < 20, "{refused} of 2000");
}

#[test]
fn who_came_a_moment_ago_does_not_give_way() {
    let ports = NodePorts {
        first: 10_240,
        count: 3,
    };
    // Neither its room nor its port.
    for table in [tiny(), Table::new(256, ports)] {
        let mut number = 0;
        while table.open(Opener::number(number), 1, NOW).is_ok() {
            number += 1;
        }
        assert!((2..=3).contains(&number), "{number} had room");
        let newcomer = Opener::number(90);
        for now in NOW..NOW + FRESH_TICKS {
            table.open(newcomer, 1, now).unwrap_err();
        }
        table.open(newcomer, 1, NOW + FRESH_TICKS).unwrap();
    }
}

#[test]
fn of_the_flows_whose_ports_are_tried_the_oldest_gives_way() {
    let count = PORT_PROBES as u16;
    let first = 10_240;
    let table = Table::<V4>::new(256, NodePorts { first, count });
    for number in 0..count {
        let now = NOW + 10 + u32::from(number * 7 % count);
        table.open(Opener::number(number), 1, now).unwrap();
    }
    for (age, newcomer) in (0..count).zip(100..) {
        let oldest = (0..count).find(|it| it * 7 % count == age).unwrap();
        let oldest = Opener::number(oldest);
        let now = NOW + 100 + u32::from(age);
        let port = table.given(oldest, now).unwrap().node_port;
        assert_eq!(table.open(Opener::number(newcomer), 1, now), Ok(port));
        assert!(table.of_client(oldest, now).is_none());
    }
}

#[test]
fn in_a_flood_who_finishes_in_half_the_time_there_is_room_for_is_not_sent_away() {
    let ports = NodePorts {
        first: 10_240,
        count: 4000,
    };
    // Rooms for all ports, so that ports are scarce, and for fewer flows, so that room is.
    for buckets in [8192, 1024] {
        let table = Table::<V6>::new(buckets, ports);
        let room = u32::min(4000, buckets as u32 * WAYS as u32 / 2);
        let a_tick = room / 20;
        let mut waiting = std::collections::VecDeque::new();
        let (mut comers, mut lost, mut refused) = (0, 0, 0);
        for number in 0..40 * room {
            let now = NOW + number / a_tick;
            let opener = Opener {
                client: (number >> 16) as u16,
                port: number as u16,
                service: 0,
            };
            let opened = table.open(opener, 1, now);
            refused += u32::from(opened.is_err());
            // One of a hundred means it.
            if number > 2 * room && number % 100 == 0 && opened.is_ok() {
                waiting.push_back((now + 10, opener));
            }
            while waiting.front().is_some_and(|&(then, _)| then <= now) {
                let (_, opener) = waiting.pop_front().unwrap();
                comers += 1;
                match table.phase(opener, now) {
                    // It asks, is answered, and leaves.
                    Some(_) => table.end(opener, Side::Client, now),
                    None => lost += 1,
                }
            }
        }
        assert_eq!(refused, 0, "{buckets} buckets");
        assert!(lost * 50 <= comers, "{buckets} buckets: {lost} of {comers}");
        println!("{buckets} buckets: {lost} of {comers}");
    }
}
