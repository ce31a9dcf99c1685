//! Flows that differ in the virtual address or port alone.

use super::table::*;
use crate::address::{V4, V6};
use crate::flow::NodePorts;
use crate::parse::Signals;
use crate::phase::{Phase, Side};

const NOW: u32 = 1000;

/// The same client and virtual port at two virtual addresses.
fn twins() -> [Opener; 2] {
    let twins = [0, 1].map(|service| Opener {
        service,
        ..Opener::number(1)
    });
    assert_eq!(twins[0].virtual_port(), twins[1].virtual_port());
    twins
}

fn are_told_apart<A: Numbered>() {
    // One bucket: there they meet.
    let table = Table::<A>::new(1, PORTS);
    let [one, other] = twins();
    assert!(table.key(one) == table.key(other));
    for (mine, theirs) in [(one, other), (other, one)] {
        table.establish(mine, 1, NOW).unwrap();
        assert!(table.of_client(theirs, NOW).is_none(), "not yet");
        table.establish(theirs, 2, NOW).unwrap();
        for (opener, endpoint) in [(mine, 1), (theirs, 2)] {
            assert_eq!(table.given(opener, NOW).unwrap().endpoint, endpoint);
            assert!(table.is_whole(opener, NOW));
        }
        table.after_client(mine, Signals::FIN, NOW);
        assert_eq!(table.phase(mine, NOW), Some(Phase::Closing));
        assert_eq!(table.phase(theirs, NOW), Some(Phase::Open));
        // The tuple again: the earlier flow of the same tuple goes, and no other.
        table.after_client(mine, Signals::RST, NOW);
        table.establish(mine, 3, NOW).unwrap();
        assert_eq!(table.given(theirs, NOW).unwrap().endpoint, 2);
        assert!(table.is_whole(theirs, NOW));
        assert_eq!(table.used(), 4);
        table.end(mine, Side::Client, NOW);
        assert!(table.is_whole(theirs, NOW));
        table.end(theirs, Side::Endpoint, NOW);
        assert_eq!(table.used(), 0);
    }
}

#[test]
fn flows_to_two_addresses_are_told_apart_in_one_bucket() {
    are_told_apart::<V4>();
    are_told_apart::<V6>();
}

#[test]
fn one_sided_flows_to_two_addresses_are_told_apart_in_one_bucket() {
    let table = Table::<V4>::new(1, PORTS);
    let [one, other] = twins();
    for opener in [one, other] {
        assert!(table.open_one_sided(opener, 1, NOW));
        assert!(table.open_one_sided(opener, 1, NOW), "in its own place");
    }
    assert_eq!(table.used(), 2);
    table.after_client(one, Signals::RST, NOW);
    assert_eq!(table.phase(one, NOW), Some(Phase::Closed));
    assert_eq!(table.phase(other, NOW), Some(Phase::Opening));
}

#[test]
fn a_flow_stays_found_when_its_port_has_become_another_services() {
    // Services 0 and 2 have one address; here 2 stands for what now has the port of 0.
    for buckets in [1, 64] {
        let table = Table::<V6>::new(buckets, PORTS);
        let opener = Opener::number(1);
        let opener = Opener {
            service: 0,
            ..opener
        };
        table.establish(opener, 1, NOW).unwrap();
        let found = table.of_client(opener, NOW);
        assert!(found.is_some());
        assert_eq!(table.to_service(opener, 2, NOW), found);
        assert_eq!(table.to_service(opener, 1, NOW), None);
    }
}

#[test]
fn an_endpoint_that_keeps_the_port_answers_from_the_one_that_was_asked() {
    let ports = NodePorts {
        first: 10_240,
        count: 2,
    };
    let table = Table::<V4>::new(256, ports);
    let openers = [0, 1].map(|number| {
        [0, 2].map(|service| Opener {
            service,
            ..Opener::number(number)
        })
    });
    for opener in openers.into_iter().flatten() {
        table.establish(opener, KEEPING, NOW).unwrap();
    }
    // Two node ports, and of each port of the endpoint two flows.
    for opener in openers.into_iter().flatten() {
        let given = table.given(opener, NOW).unwrap();
        let found = table.of_endpoint_at(given, opener.virtual_port(), NOW);
        let found = found.expect("by the port that was asked");
        assert_eq!(found.key, table.key(opener));
        let other_port = 9000 + 9001 - opener.virtual_port();
        let other = table.of_endpoint_at(given, other_port, NOW);
        assert!(other.is_some_and(|other| other.key != found.key));
        assert!(table.of_endpoint_at(given, 9002, NOW).is_none());
    }
    for opener in openers.into_iter().flatten() {
        table.end(opener, Side::Client, NOW);
        assert!(table.of_client(opener, NOW).is_none());
    }
    assert_eq!(table.used(), 0, "both entries of each were found");
}
