//! Random lives of many flows, compared with a plain map.

use std::collections::HashMap;

use proptest::prelude::*;

use super::table::{ENDPOINTS, Given, IDLE, Numbered, Opener, SERVICES, Table};
use crate::address::{V4, V6};
use crate::flow::NodePorts;
use crate::limits::RENEW_TICKS;
use crate::parse::Signals;
use crate::phase::{Phase, Progress, Side};

#[derive(Clone, Debug)]
enum Event {
    Open {
        opener: Opener,
        endpoint: u16,
        udp: bool,
    },
    Packet {
        opener: Opener,
        side: Side,
        signals: Signals,
    },
    End {
        opener: Opener,
        side: Side,
    },
    Wait(u32),
}

/// What a map that never runs out of room knows of a flow.
#[derive(Clone, Copy, Debug)]
struct Known {
    given: Given,
    progress: Progress,
    expires: u32,
}

fn opener() -> impl Strategy<Value = Opener> {
    (0..6_u16, 0..3_u16, 0..SERVICES).prop_map(|(client, port, service)| Opener {
        client,
        port,
        service,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let side = || prop_oneof![Just(Side::Client), Just(Side::Endpoint)];
    let signals = prop_oneof![
        6 => Just(Signals::NONE),
        1 => Just(Signals::SYN),
        2 => Just(Signals::FIN),
        1 => Just(Signals::RST),
    ];
    prop_oneof![
        4 => (opener(), 1..=ENDPOINTS, any::<bool>())
            .prop_map(|(opener, endpoint, udp)| Event::Open { opener, endpoint, udp }),
        8 => (opener(), side(), signals)
            .prop_map(|(opener, side, signals)| Event::Packet { opener, side, signals }),
        1 => (opener(), side()).prop_map(|(opener, side)| Event::End { opener, side }),
        2 => prop_oneof![1..80_u32, 300..640_u32, 57_500..57_700_u32].prop_map(Event::Wait),
    ]
}

fn live_on<A: Numbered>(
    table: &Table<A>,
    events: &[Event],
    is_crowded: bool,
) -> Result<(), TestCaseError> {
    let mut now = 77_u32;
    let mut known: HashMap<Opener, Known> = HashMap::new();
    for event in events {
        match *event {
            Event::Wait(ticks) => now += ticks,
            Event::Open {
                opener,
                endpoint,
                udp,
            } => {
                let progress = if udp { Progress::UDP } else { Progress::TCP };
                let admitted = table.admit(opener, endpoint, progress, now);
                if let Ok(node_port) = admitted {
                    let given = Given {
                        endpoint,
                        node_port,
                    };
                    let expires = now + progress.idle_ticks(IDLE);
                    known.insert(
                        opener,
                        Known {
                            given,
                            progress,
                            expires,
                        },
                    );
                } else if table.of_client(opener, now).is_none() {
                    known.remove(&opener);
                }
            }
            Event::Packet {
                opener,
                side,
                signals,
            } => {
                let Some(flow) = known.get_mut(&opener).filter(|flow| flow.expires > now) else {
                    continue;
                };
                match side {
                    Side::Client => table.after_client(opener, signals, now),
                    Side::Endpoint => table.after_endpoint(flow.given, signals, now),
                };
                flow.note(side, signals, now);
            }
            Event::End { opener, side } => {
                if table.of_client(opener, now).is_some() {
                    table.end(opener, side, now);
                    known.remove(&opener);
                }
            }
        }
        agree(table, &mut known, now, is_crowded)?;
    }
    Ok(())
}

impl Known {
    fn note(&mut self, side: Side, signals: Signals, now: u32) {
        let progress = self.progress.after(side, signals);
        let expires = now + progress.idle_ticks(IDLE);
        // An end may come earlier too: a closed flow's does.
        if progress != self.progress || expires >= self.expires + RENEW_TICKS {
            *self = Self {
                progress,
                expires,
                ..*self
            };
        }
    }
}

/// The table and the map tell the same story. In a crowded table, flows that are opening or closed may
/// have given way: they are forgotten here too.
fn agree<A: Numbered>(
    table: &Table<A>,
    known: &mut HashMap<Opener, Known>,
    now: u32,
    is_crowded: bool,
) -> Result<(), TestCaseError> {
    known.retain(|_, flow| flow.expires > now);
    let lost = |opener: Opener| table.of_client(opener, now).is_none();
    for opener in known
        .keys()
        .copied()
        .filter(|&opener| lost(opener))
        .collect::<Vec<_>>()
    {
        let flow = known[&opener];
        let yields = matches!(flow.progress.phase(), Phase::Opening | Phase::Closed);
        prop_assert!(is_crowded && yields, "{opener:?} is lost: {flow:?}");
        let left = table.of_endpoint(flow.given, now);
        prop_assert!(
            left.is_none_or(|left| left.key != table.key(opener)),
            "half of {opener:?}"
        );
        known.remove(&opener);
    }
    let mut taken = HashMap::new();
    for (&opener, flow) in known.iter() {
        prop_assert!(
            table.is_whole(opener, now),
            "{opener:?} is not whole: {flow:?}"
        );
        let found = table.of_client(opener, now).unwrap().state;
        prop_assert_eq!(Given::of(found), flow.given);
        prop_assert_eq!(found.progress(), flow.progress);
        prop_assert_eq!(found.remaining(now), (flow.expires - now) as i32);
        let twin = taken.insert((flow.given.endpoint, flow.given.node_port), opener);
        prop_assert!(
            twin.is_none(),
            "{opener:?} and {twin:?} share {:?}",
            flow.given
        );
    }
    Ok(())
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(event(), 1..120)
}

const PORTS: NodePorts = NodePorts {
    first: 10_240,
    count: 40,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_roomy_table_is_a_map(events in events()) {
        live_on(&Table::<V4>::new(256, PORTS), &events, false)?;
        live_on(&Table::<V6>::new(256, PORTS), &events, false)?;
    }

    #[test]
    fn a_crowded_table_loses_only_what_may_give_way(events in events()) {
        live_on(&Table::<V4>::new(4, PORTS), &events, true)?;
        live_on(&Table::<V6>::new(1, PORTS), &events, true)?;
    }
}
