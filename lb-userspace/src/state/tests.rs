use super::*;
use crate::desired::{Backend, Delivery, Endpoint, Idle, Ports, Protocol, Selection};

/// A service whose backends have one endpoint each and the given relative weights.
fn service(name: &str, backends: &[(&str, u64)]) -> Service {
    let numbers: Vec<u64> = backends.iter().map(|it| it.1).collect();
    let weights = weights::from_relative(&numbers).expect("weights");
    let port = name.bytes().map(u16::from).sum();
    let backends = backends
        .iter()
        .zip(weights)
        .zip(2..)
        .map(|((&(name, _), weight), host)| {
            let address = ([10, 64, 1, host], 9000).into();
            let source = [10, 64, 1, 1].into();
            Backend {
                name: name.into(),
                weight,
                endpoints: [Endpoint { address, source }].into(),
            }
        });
    Service {
        name: name.into(),
        address: ([10, 99, 0, 1], port).into(),
        protocol: Protocol::Tcp,
        slots: 65_536,
        ports: Ports::One,
        selection: Selection::default(),
        idle: Idle::default(),
        delivery: Delivery::default(),
        echo: false,
        backends: backends.collect(),
    }
}

fn state(services: Vec<Service>) -> State {
    State::start(1, 7, services, &Overrides::new()).0
}

fn echo() -> State {
    state(vec![service("echo", &[("old", 100), ("new", 0)])])
}

fn set(changes: &[&str]) -> Request {
    Request::SetWeights {
        service: None,
        changes: weights::parse(changes).expect("changes"),
    }
}

fn set_of(service: &str, changes: &[&str]) -> Request {
    let changes = weights::parse(changes).expect("changes");
    Request::SetWeights {
        service: Some(service.into()),
        changes,
    }
}

/// Weights of the only service, in percent.
fn percent(state: &State) -> Vec<String> {
    let backends = &state.desired.services[0].backends;
    backends
        .iter()
        .map(|it| format!("{}={}", it.name, it.weight.percent()))
        .collect()
}

#[test]
fn the_only_service_need_not_be_named() {
    let (next, change) = echo().apply(set(&["new=30"])).unwrap();
    assert_eq!(percent(&next), ["old=70", "new=30"]);
    assert_eq!(next.generation, 2);
    assert!(next.is_overridden("echo"));
    assert_eq!(change.services[0].kind, ChangeKind::Changed);
    let new = &change.services[0].backends[1];
    assert_eq!(
        (new.before, new.after),
        (Some(Weight::ZERO), Weight::from_parts(300_000_000))
    );
}

#[test]
fn one_of_several_services_must_be_named() {
    let two = state(vec![
        service("echo", &[("old", 1), ("new", 1)]),
        service("dns", &[("a", 1), ("b", 1)]),
    ]);
    assert_eq!(
        two.apply(set(&["a=1%"])).unwrap_err().to_string(),
        "there are several services: name one with -s (echo, dns)"
    );
    assert_eq!(
        two.apply(set_of("ecoh", &["new=1%"]))
            .unwrap_err()
            .to_string(),
        "no service `ecoh`: did you mean `echo`?"
    );
    assert_eq!(
        two.apply(set_of("web", &["new=1%"]))
            .unwrap_err()
            .to_string(),
        "no service `web`: there are echo, dns"
    );
    let (next, _) = two.apply(set_of("dns", &["b=10"])).unwrap();
    assert_eq!(next.desired.services[0], two.desired.services[0]);
    assert!(!next.is_overridden("echo"));
}

#[test]
fn without_services_there_is_nothing_to_weigh() {
    assert_eq!(
        state(vec![]).apply(set(&["new=1"])).unwrap_err(),
        Refusal::NoServices
    );
}

#[test]
fn an_unknown_backend_is_refused_with_the_nearest() {
    assert_eq!(
        echo().apply(set(&["nwe=30"])).unwrap_err().to_string(),
        "no backend `nwe`: did you mean `new`?"
    );
}

#[test]
fn a_backend_without_endpoints_gets_no_flows() {
    let mut empty = service("echo", &[("old", 1), ("new", 0)]);
    empty.backends[1].endpoints = [].into();
    let empty = state(vec![empty]);
    let refusal = Refusal::NoEndpoints {
        backend: "new".into(),
    };
    assert_eq!(empty.apply(set(&["new=1%"])).unwrap_err(), refusal);
}

#[test]
fn asking_again_for_the_same_weights_changes_nothing() {
    let (once, _) = echo().apply(set(&["new=30"])).unwrap();
    let (twice, change) = once.apply(set(&["new=30"])).unwrap();
    assert_eq!(twice, once);
    assert_eq!(change.services[0].kind, ChangeKind::Unchanged);
}

#[test]
fn run_time_weights_stay_over_a_file_with_the_same_backends() {
    let (set, _) = echo().apply(set(&["new=30"])).unwrap();
    let mut file = service("echo", &[("old", 1), ("new", 1)]);
    let more = Endpoint {
        address: ([10, 64, 1, 9], 9000).into(),
        source: [10, 64, 1, 1].into(),
    };
    let endpoints = &mut file.backends[1].endpoints;
    *endpoints = [endpoints[0], more].into();
    let (next, change) = set.apply(Request::Configure(vec![file])).unwrap();
    assert_eq!(percent(&next), ["old=70", "new=30"]);
    assert_eq!(next.desired.services[0].backends[1].endpoints.len(), 2);
    assert_eq!(
        change.notes,
        ["The weights of `echo` were set at run time and stay in force over the file's."]
    );
}

#[test]
fn a_backend_the_file_adds_starts_at_zero_under_run_time_weights() {
    let (set, _) = echo().apply(set(&["new=30"])).unwrap();
    let file = service("echo", &[("old", 7), ("new", 3), ("newer", 5)]);
    let (next, change) = set.apply(Request::Configure(vec![file])).unwrap();
    assert_eq!(percent(&next), ["old=70", "new=30", "newer=0"]);
    assert!(change.notes[0].starts_with("Backend `newer` of `echo` starts at 0 %"));
    assert_eq!(next.overrides["echo"].len(), 3);
}

#[test]
fn run_time_weights_go_with_a_backend_they_name() {
    let (set, _) = echo().apply(set(&["new=30"])).unwrap();
    let file = service("echo", &[("old", 1)]);
    let (next, change) = set.apply(Request::Configure(vec![file])).unwrap();
    assert_eq!(percent(&next), ["old=100"]);
    assert!(next.overrides.is_empty());
    assert_eq!(
        change.notes,
        [
            "The run-time weights of `echo` are dropped, the file's hold: \
          there is no backend `new` any more."
        ]
    );
    let gone = BackendChange {
        name: "new".into(),
        before: Weight::from_parts(300_000_000),
        after: None,
    };
    assert_eq!(change.services[0].backends[1], gone);
}

#[test]
fn run_time_weights_go_with_their_service() {
    let (set, _) = echo().apply(set(&["new=30"])).unwrap();
    let file = service("dns", &[("a", 1)]);
    let (next, change) = set.apply(Request::Configure(vec![file])).unwrap();
    assert!(next.overrides.is_empty());
    let kinds: Vec<_> = change
        .services
        .iter()
        .map(|it| (it.service.as_str(), it.kind))
        .collect();
    assert_eq!(
        kinds,
        [("dns", ChangeKind::Added), ("echo", ChangeKind::Removed)]
    );
}

#[test]
fn kept_weights_that_do_not_make_a_whole_are_dropped() {
    let mut kept = Overrides::new();
    kept.entry("echo".into())
        .or_default()
        .insert("old".into(), Weight::ZERO);
    let (state, notes) = State::start(
        5,
        7,
        vec![service("echo", &[("old", 1), ("new", 1)])],
        &kept,
    );
    assert_eq!(percent(&state), ["old=50", "new=50"]);
    assert_eq!(state.generation, 5);
    assert!(notes[0].contains("do not add up to 100 %"), "{notes:?}");
}

#[test]
fn the_same_file_again_changes_nothing() {
    let before = echo();
    let (after, change) = before
        .apply(Request::Configure(before.desired.services.clone()))
        .unwrap();
    assert_eq!(after, before);
    assert_eq!(change.notes, Vec::<String>::new());
}
