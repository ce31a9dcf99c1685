//! Flows whose endpoint answers past the node.

use super::table::*;
use crate::address::V4;
use crate::limits::WAYS;
use crate::parse::Signals;
use crate::phase::{Ending, Phase};

const NOW: u32 = 1000;

#[test]
fn it_has_one_entry_with_the_virtual_port() {
    let table = Table::<V4>::new(1, PORTS);
    for number in 0..WAYS as u16 {
        let opener = Opener::number(number);
        assert!(table.open_one_sided(opener, 1, NOW));
        let given = table.given(opener, NOW).unwrap();
        assert_eq!(
            (given.endpoint, given.node_port),
            (1, opener.virtual_port())
        );
        assert!(table.of_endpoint(given, NOW).is_none());
    }
    for number in 0..WAYS as u16 {
        assert!(table.of_client(Opener::number(number), NOW).is_some());
    }
}

#[test]
fn the_clients_fin_or_reset_ends_it_once() {
    for (signals, phase, ending) in [
        (Signals::FIN, Phase::Closing, Ending::Finished),
        (Signals::RST, Phase::Closed, Ending::ResetByClient),
    ] {
        let table = Table::<V4>::roomy();
        let opener = Opener::number(1);
        assert!(table.open_one_sided(opener, 1, NOW));
        assert_eq!(table.after_client(opener, Signals::NONE, NOW), None);
        assert_eq!(table.phase(opener, NOW), Some(Phase::Open));
        assert_eq!(table.after_client(opener, signals, NOW), Some(ending));
        assert_eq!(table.phase(opener, NOW), Some(phase));
        assert!(table.of_client(opener, NOW).unwrap().state.is_one_sided());
        assert_eq!(table.after_client(opener, Signals::FIN, NOW), None);
    }
}

#[test]
fn when_there_is_no_room_the_finished_give_way_and_the_open_do_not() {
    let table = Table::<V4>::new(1, PORTS);
    let opener = Opener::number;
    for number in 0..WAYS as u16 {
        assert!(table.open_one_sided(opener(number), 1, NOW));
        table.after_client(opener(number), Signals::NONE, NOW);
    }
    assert!(!table.open_one_sided(opener(90), 1, NOW));
    table.after_client(opener(2), Signals::FIN, NOW);
    assert!(table.open_one_sided(opener(91), 1, NOW));
    assert!(table.of_client(opener(2), NOW).is_none());
    for number in [0, 1, 3, 91] {
        assert!(table.of_client(opener(number), NOW).is_some());
    }
}

#[test]
fn a_tuple_used_again_in_the_other_manner_leaves_nothing_of_the_earlier_flow() {
    let table = Table::<V4>::roomy();
    let opener = Opener::number(1);
    table.establish(opener, 1, NOW).unwrap();
    let earlier = table.given(opener, NOW).unwrap();
    assert!(table.open_one_sided(opener, 2, NOW));
    assert!(table.of_endpoint(earlier, NOW).is_none());
    table.establish(opener, 3, NOW).unwrap();
    assert!(table.is_whole(opener, NOW));
    assert!(!table.of_client(opener, NOW).unwrap().state.is_one_sided());
}
