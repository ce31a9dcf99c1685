use super::*;
use crate::desired::{Delivery, Endpoint, Idle, Ports, Protocol, Selection};
use crate::state::{Overrides, Request};
use crate::weights;

fn desired_endpoint(host: u8) -> Endpoint {
    Endpoint {
        address: ([10, 64, 1, host], 9000).into(),
        source: [10, 64, 1, 1].into(),
    }
}

fn echo(backends: &[(&str, u64)]) -> Service {
    let numbers: Vec<u64> = backends.iter().map(|it| it.1).collect();
    let weights = weights::from_relative(&numbers).unwrap();
    let backends = backends
        .iter()
        .zip(weights)
        .zip(2..)
        .map(|((&(name, _), weight), host)| Backend {
            name: name.into(),
            weight,
            endpoints: [desired_endpoint(host)].into(),
        });
    Service {
        name: "echo".into(),
        address: ([10, 99, 0, 1], 9000).into(),
        protocol: Protocol::Tcp,
        slots: 256,
        ports: Ports::One,
        selection: Selection::default(),
        idle: Idle::default(),
        delivery: Delivery::default(),
        echo: false,
        backends: backends.collect(),
    }
}

fn state(backends: &[(&str, u64)]) -> State {
    State::start(1, 7, vec![echo(backends)], &Overrides::new()).0
}

fn reported(backend: &str, host: u8, slots: u32, open: u64) -> EndpointReport {
    EndpointReport {
        service: "echo".into(),
        backend: backend.into(),
        address: ([10, 64, 1, host], 9000).into(),
        configured: slots > 0,
        slots,
        counters: Counters {
            opened: open,
            ..Counters::default()
        },
        live: LiveFlows {
            open,
            ..LiveFlows::default()
        },
    }
}

fn applied(slots: &[u32]) -> Vec<AppliedService> {
    vec![AppliedService {
        service: "echo".into(),
        slots: 256,
        backend_slots: slots.to_vec(),
        moved: 128,
        digest: 0xabc,
    }]
}

#[test]
fn a_shift_names_slots_and_live_flows_before_and_after() {
    let before = state(&[("old", 1), ("new", 0)]);
    let changes = weights::parse(&["new=50"]).unwrap();
    let request = Request::SetWeights {
        service: None,
        changes,
    };
    let (after, change) = before.apply(request).unwrap();
    let reports = [reported("old", 2, 128, 20), reported("new", 3, 128, 0)];
    let reports = Reports::of(&reports);
    let shift = shift(
        &change.services[0],
        &tables(&before.desired, &applied(&[256, 0])),
        &tables(&after.desired, &applied(&[128, 128])),
        |backend| reports.live("echo", backend),
    );
    assert_eq!((shift.slots, shift.moved), (256, 128));
    assert_eq!(shift.digest, "0000000000000abc");
    let expected = BackendShift {
        name: "old".into(),
        before_percent: Some(100.0),
        after_percent: Some(50.0),
        slots_before: 256,
        slots_after: 128,
        realised_percent: 50.0,
        live_flows: 20,
    };
    assert_eq!(shift.backends[0], expected);
}

#[test]
fn slots_follow_their_backend_when_the_file_changes_the_order() {
    let before = state(&[("old", 3), ("new", 1)]);
    let request = Request::Configure(vec![echo(&[("new", 1), ("old", 1)])]);
    let (after, change) = before.apply(request).unwrap();
    let shift = shift(
        &change.services[0],
        &tables(&before.desired, &applied(&[192, 64])),
        &tables(&after.desired, &applied(&[128, 128])),
        |_| LiveFlows::default(),
    );
    let slots: Vec<_> = shift
        .backends
        .iter()
        .map(|it| (it.name.as_str(), it.slots_before))
        .collect();
    assert_eq!(slots, [("new", 64), ("old", 192)]);
}

#[test]
fn a_backend_that_left_is_listed_last_while_it_has_flows() {
    let state = state(&[("new", 1)]);
    let reports = [reported("old", 9, 0, 5), reported("new", 2, 256, 1)];
    let views = backends(&state, &Reports::of(&reports), &Carried::default());
    let listed: Vec<_> = views
        .iter()
        .map(|it| (it.name.as_str(), it.configured))
        .collect();
    assert_eq!(listed, [("new", true), ("old", false)]);
    assert_eq!((views[1].live.open, views[1].counters.opened), (5, 5));
    assert_eq!(views[1].endpoints[0].source, None);
    assert_eq!(views[0].endpoints[0].source, Some([10, 64, 1, 1].into()));
    assert_eq!((views[0].percent, views[0].slot_percent), (100.0, 100.0));
}

#[test]
fn a_backend_counts_the_endpoints_that_are_gone() {
    let state = state(&[("new", 1)]);
    let service = &state.desired.services[0];
    let reports = [reported("old", 9, 0, 5), reported("new", 2, 256, 1)];
    let mut carried = Carried::default();
    carried.add(service, "old", reports[0].counters);
    carried.add(service, "new", reports[0].counters);
    let views = backends(&state, &Reports::of(&reports), &carried);
    let opened: Vec<_> = views.iter().map(|it| it.counters.opened).collect();
    assert_eq!(opened, [6, 10]);
    assert_eq!(views[0].endpoints.len(), 1);
}
