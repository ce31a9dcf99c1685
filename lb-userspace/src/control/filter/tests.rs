use super::*;
use crate::desired::{Backend, Delivery, Idle, Ports, Protocol, Selection, Service};
use crate::state::Overrides;
use crate::weights::Weight;

/// One service `echo` with backends `old` and `new`.
fn state() -> State {
    let backends = [("old", Weight::ALL), ("new", Weight::ZERO)].map(|(name, weight)| Backend {
        name: name.into(),
        weight,
        endpoints: [].into(),
    });
    let echo = Service {
        name: "echo".into(),
        address: ([10, 99, 0, 1], 9000).into(),
        protocol: Protocol::Tcp,
        slots: 256,
        ports: Ports::One,
        selection: Selection::default(),
        idle: Idle::default(),
        delivery: Delivery::default(),
        echo: false,
        backends: backends.into(),
    };
    State::start(1, 7, vec![echo], &Overrides::new()).0
}

fn flow(client: &str, backend: &str) -> FlowReport {
    FlowReport {
        protocol: Protocol::Tcp,
        client: client.parse().unwrap(),
        service: "echo".into(),
        port: 9000,
        backend: backend.into(),
        endpoint: ([10, 64, 1, 2], 9000).into(),
        node_port: Some(10_240),
        phase: "open".into(),
        idle_seconds: 0,
    }
}

#[test]
fn all_that_a_flow_query_names_must_fit() {
    let state = state();
    let wants = |query: FlowsQuery, client: &str, backend: &str| {
        FlowFilter::parse(&query, &state, &[])
            .unwrap()
            .wants(&flow(client, backend))
    };
    assert!(wants(FlowsQuery::default(), "10.0.0.9:4000", "old"));
    let by_address = FlowsQuery {
        client: Some("10.0.0.9".into()),
        ..FlowsQuery::default()
    };
    assert!(wants(by_address.clone(), "10.0.0.9:4000", "old"));
    assert!(!wants(by_address.clone(), "10.0.0.8:4000", "old"));
    let on_new = FlowsQuery {
        backend: Some("new".into()),
        ..by_address
    };
    assert!(!wants(on_new.clone(), "10.0.0.9:4000", "old"));
    assert!(wants(on_new, "10.0.0.9:4000", "new"));
    let by_port = FlowsQuery {
        client: Some("10.0.0.9:4000".into()),
        ..FlowsQuery::default()
    };
    assert!(wants(by_port.clone(), "10.0.0.9:4000", "old"));
    assert!(!wants(by_port, "10.0.0.9:4001", "old"));
}

#[test]
fn a_flow_query_for_what_is_not_there_is_a_mistake() {
    let state = state();
    let error = |query: FlowsQuery| match FlowFilter::parse(&query, &state, &[]) {
        Ok(_) => panic!("refused"),
        Err(failure) => (failure.code, failure.error),
    };
    assert_eq!(
        error(FlowsQuery {
            backend: Some("nwe".into()),
            ..FlowsQuery::default()
        }),
        (
            Code::UnknownName,
            "no backend `nwe`: did you mean `new`?".into()
        )
    );
    assert_eq!(
        error(FlowsQuery {
            service: Some("web".into()),
            ..FlowsQuery::default()
        }),
        (
            Code::UnknownName,
            "no service `web`: see lbctl get services".into()
        )
    );
    assert_eq!(
        error(FlowsQuery {
            client: Some("me".into()),
            ..FlowsQuery::default()
        }),
        (Code::BadRequest, "client `me` is not an address".into())
    );
}
