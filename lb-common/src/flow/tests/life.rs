//! One flow, from its first packet to its end.

use super::table::{ENDPOINTS, Given, LIMITS, Opener, PORTS, Table};
use crate::address::{V4, V6};
use crate::flow::{State, step};
use crate::limits::{
    CLOSED_TICKS, FRESH_TICKS, MAX_IDLE_SECONDS, RENEW_TICKS, SECOND_SHIFT, TICK_SHIFT,
};
use crate::parse::Signals;
use crate::phase::{Ending, Phase, Progress, Side};

const NOW: u32 = 1_000_000;
const A: Opener = Opener {
    client: 1,
    port: 40_000,
    service: 1,
};

#[test]
fn a_flow_is_found_from_both_sides() {
    let (v4, v6) = (Table::<V4>::roomy(), Table::<V6>::roomy());
    for number in 0..50 {
        let opener = Opener::number(number);
        let endpoint = 1 + number % 8;
        let node_port = v4.open(opener, endpoint, NOW).unwrap();
        assert_eq!(
            v4.given(opener, NOW),
            Some(Given {
                endpoint,
                node_port
            })
        );
        assert!(v4.is_whole(opener, NOW));
        let node_port = v6.open(opener, endpoint, NOW).unwrap();
        assert_eq!(
            v6.given(opener, NOW),
            Some(Given {
                endpoint,
                node_port
            })
        );
        assert!(v6.is_whole(opener, NOW));
    }
}

#[test]
fn nothing_is_found_of_a_flow_that_differs_in_one_word() {
    let table = Table::<V4>::roomy();
    table.open(A, 1, NOW).unwrap();
    for other in [
        Opener { client: 2, ..A },
        Opener { port: 40_001, ..A },
        Opener { service: 2, ..A },
    ] {
        assert!(table.of_client(other, NOW).is_none(), "{other:?}");
    }
    let given = table.given(A, NOW).unwrap();
    assert!(
        table
            .of_endpoint(
                Given {
                    endpoint: 2,
                    ..given
                },
                NOW
            )
            .is_none()
    );
    let next = Given {
        node_port: given.node_port + 1,
        ..given
    };
    assert!(table.of_endpoint(next, NOW).is_none());
}

#[test]
fn silence_ends_a_flow_for_both_sides_at_once() {
    let table = Table::<V4>::roomy();
    table.open(A, 1, NOW).unwrap();
    let given = table.given(A, NOW).unwrap();
    let end = NOW + LIMITS[0];
    assert!(table.is_whole(A, end - 1));
    assert!(table.of_client(A, end).is_none());
    assert!(table.of_endpoint(given, end).is_none());
}

#[test]
fn each_side_keeps_a_flow_alive_for_both() {
    let table = Table::<V4>::roomy();
    table.establish(A, 1, NOW).unwrap();
    let given = table.given(A, NOW).unwrap();
    let half = LIMITS[1] / 2;
    let mut now = NOW;
    for round in 0..10 {
        now += half;
        if round % 2 == 0 {
            table.after_client(A, Signals::NONE, now);
        } else {
            table.after_endpoint(given, Signals::NONE, now);
        }
        assert!(table.is_whole(A, now + half), "round {round}");
    }
    assert!(!table.is_whole(A, now + LIMITS[1]));
}

#[test]
fn a_flows_end_is_moved_only_when_that_is_worth_a_write() {
    let table = Table::<V4>::roomy();
    table.establish(A, 1, NOW).unwrap();
    let remaining = |now| table.of_client(A, NOW).unwrap().state.remaining(now);
    let before = remaining(NOW);
    table.after_client(A, Signals::NONE, NOW + RENEW_TICKS - 1);
    assert_eq!(remaining(NOW), before);
    table.after_client(A, Signals::NONE, NOW + RENEW_TICKS);
    assert_eq!(remaining(NOW), before + RENEW_TICKS as i32);
}

#[test]
fn a_flow_with_a_short_limit_lives_as_long_as_it_talks() {
    for limit in 1..20 {
        let ticks = u32::from(limit) << SECOND_SHIFT;
        let mut state = State::new(1, 10_240, Side::Client, Progress::UDP, NOW + ticks);
        for now in NOW..NOW + 1000 {
            // It is never much nearer its end than it should be.
            let least = ticks - (ticks / 8).min(RENEW_TICKS);
            assert!(
                state.remaining(now) >= least as i32,
                "a limit of {ticks} ticks"
            );
            if let Some(step) = step(state, Side::Client, Signals::NONE, [limit; 4], now) {
                state = state.with(step.progress, step.expires);
            }
        }
    }
}

#[test]
fn fins_and_resets_are_seen_by_both_entries_and_end_a_flow_once() {
    let table = Table::<V6>::roomy();
    table.establish(A, 1, NOW).unwrap();
    let given = table.given(A, NOW).unwrap();
    assert_eq!(table.after_endpoint(given, Signals::FIN, NOW), None);
    assert_eq!(table.phase(A, NOW), Some(Phase::Closing));
    assert!(table.is_whole(A, NOW));
    assert_eq!(
        table.after_client(A, Signals::FIN, NOW),
        Some(Ending::Finished)
    );
    assert_eq!(
        table.after_endpoint(given, Signals::RST, NOW),
        None,
        "it has ended already"
    );
    assert!(
        table.is_whole(A, NOW + CLOSED_TICKS - 1),
        "for the last acknowledgement"
    );
    assert!(table.of_client(A, NOW + CLOSED_TICKS).is_none());

    let other = Opener::number(2);
    table.open(other, 1, NOW).unwrap();
    let given = table.given(other, NOW).unwrap();
    let ending = table.after_endpoint(given, Signals::RST, NOW);
    assert_eq!(ending, Some(Ending::ResetByEndpoint));
    assert_eq!(table.phase(other, NOW), Some(Phase::Closed));
    assert!(table.is_whole(other, NOW));
}

#[test]
fn an_ended_flow_leaves_nothing_whichever_side_ends_it() {
    for side in [Side::Client, Side::Endpoint] {
        let table = Table::<V4>::roomy();
        table.establish(A, 1, NOW).unwrap();
        let other = Opener::number(2);
        table.establish(other, 1, NOW).unwrap();
        assert_eq!(table.used(), 4);
        table.end(A, side, NOW);
        assert_eq!(table.used(), 2, "{side:?}");
        assert!(table.of_client(A, NOW).is_none());
        assert!(table.is_whole(other, NOW));
    }
}

#[test]
fn a_tuple_used_again_replaces_its_earlier_flow() {
    let table = Table::<V4>::roomy();
    table.establish(A, 1, NOW).unwrap();
    let earlier = table.given(A, NOW).unwrap();
    let node_port = table.open(A, 2, NOW).unwrap();
    assert_eq!(
        table.given(A, NOW),
        Some(Given {
            endpoint: 2,
            node_port
        })
    );
    assert!(table.of_endpoint(earlier, NOW).is_none());
    assert_eq!(table.used(), 2);
}

#[test]
fn a_tuple_used_again_does_not_get_the_node_port_of_its_earlier_flow() {
    // The endpoint may still hold the earlier connection.
    let table = Table::<V4>::roomy();
    let earlier = table.establish(A, 1, NOW).unwrap();
    assert_ne!(table.open(A, 1, NOW).unwrap(), earlier);
}

#[test]
fn a_tuple_used_again_after_silence_leads_a_life_of_its_own() {
    // The entries of the dead flow still stand in the table when the new one comes.
    for clients in 0..200 {
        let table = Table::<V4>::new(64, PORTS);
        let opener = Opener::number(clients);
        table.open(opener, 1, NOW).unwrap();
        let later = NOW + LIMITS[0];
        table.establish(opener, 1, later).unwrap();
        assert!(table.is_whole(opener, later), "client {clients}");
        let given = table.given(opener, later).unwrap();
        table.after_endpoint(given, Signals::FIN, later);
        assert_eq!(
            table.phase(opener, later),
            Some(Phase::Closing),
            "client {clients}"
        );
        assert!(table.is_whole(opener, later), "client {clients}");
        table.end(opener, Side::Client, later);
        assert!(
            table.of_endpoint(given, later).is_none(),
            "client {clients}"
        );
    }
}

#[test]
fn what_is_left_of_an_endpoint_that_is_gone_does_no_harm() {
    // The id was given back, and the address has come back under another.
    for client in 0..200 {
        let mut table = Table::<V4>::new(2, PORTS);
        let opener = Opener::number(client);
        // Flows that make room again, so that what comes later stands behind the leftover, too.
        let others = (0..client % 3).map(|port| Opener { port, ..opener });
        for other in others.clone() {
            let earlier = NOW - FRESH_TICKS * (10 - u32::from(other.port));
            table.open(other, 1, earlier).unwrap();
        }
        table.open(opener, 1, NOW).unwrap();
        for other in others {
            if table.of_client(other, NOW).is_some() {
                table.end(other, Side::Client, NOW);
            }
        }
        table.free(1);
        let later = NOW + LIMITS[0];
        table.establish(opener, 1 + ENDPOINTS, later).unwrap();
        let given = table.given(opener, later).unwrap();
        table.after_endpoint(given, Signals::FIN, later);
        assert_eq!(
            table.phase(opener, later),
            Some(Phase::Closing),
            "client {client}"
        );
        assert!(table.is_whole(opener, later), "client {client}");
    }
}

#[test]
fn a_udp_flow_lives_by_its_own_limit() {
    let table = Table::<V4>::roomy();
    table.admit(A, 1, Progress::UDP, NOW).unwrap();
    table.after_client(A, Signals::NONE, NOW + 20);
    assert_eq!(table.phase(A, NOW + 20), Some(Phase::Open));
    assert!(table.is_whole(A, NOW + 20 + LIMITS[3] - 1));
    assert!(table.of_client(A, NOW + 20 + LIMITS[3]).is_none());
}

#[test]
fn a_flow_survives_the_wrap_of_the_24_bits_its_end_is_kept_in() {
    for now in [0xff_ffff - 5, 0xffff_ffff - 5] {
        let table = Table::<V4>::roomy();
        table.establish(A, 1, now).unwrap();
        let later = now.wrapping_add(LIMITS[1] - 1);
        assert!(table.is_whole(A, later));
        assert!(table.of_client(A, later.wrapping_add(1)).is_none());
    }
}

#[test]
fn what_seems_to_last_longer_than_any_flow_is_over() {
    let longest = MAX_IDLE_SECONDS << SECOND_SHIFT;
    let state = |expires| State::new(1, 10_240, Side::Client, Progress::TCP, expires);
    for now in [NOW, 0xff_ffff - 5, 0xffff_ffff - 5] {
        let lives = |ticks: u32| state(now.wrapping_add(ticks)).is_live(now);
        assert!(lives(1) && lives(longest));
        assert!(!lives(0) && !lives(longest + 1) && !lives(0x7f_ffff));
        // Twelve days after its end.
        let days = |days: u64| ((days * 86_400_000_000_000) >> TICK_SHIFT) as u32;
        assert!(!state(now.wrapping_sub(days(12))).is_live(now));
        assert!(!state(now.wrapping_sub(1)).is_live(now));
    }
}
