//! What holds after every single write of a plan, and at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_common::limits::PAGES;
use lb_common::record::TableRef;
use proptest::prelude::*;

use super::{Image, Plan, Tables, Write, pages_of};
use crate::desired::{
    Backend, Delivery, Desired, Endpoint, Idle, Ports, Prefix, Protocol, Rule, Selection, Service,
};
use crate::weights::from_relative;

/// A service on 10.99.0.`n` with backends `a`, `b`, `c` of so many endpoints and weights.
fn service(n: u8, slots: u32, backends: &[(usize, u64)]) -> Service {
    let weights = from_relative(&backends.iter().map(|b| b.1).collect::<Vec<_>>()).unwrap();
    let selection = rules(n, backends.len());
    let backends =
        backends
            .iter()
            .zip(weights)
            .enumerate()
            .map(|(i, (&(endpoints, _), weight))| {
                let endpoint = |e: usize| Endpoint {
                    address: format!("10.{n}.{i}.{}:80", e + 1).parse().unwrap(),
                    source: "10.0.0.1".parse().unwrap(),
                };
                let name = ["a", "b", "c"][i].to_owned();
                Backend {
                    name,
                    weight,
                    endpoints: (0..endpoints).map(endpoint).collect(),
                }
            });
    Service {
        name: format!("s{n}"),
        address: format!("10.99.0.{n}:80").parse().unwrap(),
        protocol: Protocol::Tcp,
        slots,
        ports: Ports::One,
        selection,
        idle: Idle::default(),
        delivery: Delivery::default(),
        echo: false,
        backends: backends.collect(),
    }
}

/// Rules for as many backends: none up to three, by `n`: all share, the first alone, the last alone.
fn rules(n: u8, backends: usize) -> Selection {
    let mut numbers = vec![vec![1; backends], vec![0; backends], vec![0; backends]];
    numbers[1][0] = 1;
    numbers[2][backends - 1] = 1;
    let rule = |(i, numbers): (usize, Vec<u64>)| Rule {
        from: vec![Prefix::new([10, n, i as u8, 0].into(), 24).unwrap()],
        weights: from_relative(&numbers).unwrap(),
    };
    let rules = numbers.into_iter().enumerate().map(rule);
    Selection {
        rules: rules.take(usize::from(n % 5).saturating_sub(1)).collect(),
        ..Selection::default()
    }
}

fn desired(services: Vec<Service>) -> Desired {
    Desired { seed: 7, services }
}

/// Carries a plan out, and checks the image after each write.
fn carry_out(image: &mut Image, plan: &Plan) {
    let before = in_force(image);
    for write in &plan.writes {
        check_write(image, write);
        image.write(write);
        check_servable(image);
        for (id, slots) in in_force(image) {
            let is_old = before.get(&id) == Some(&slots);
            let is_new = plan
                .ids
                .services
                .get(&id)
                .is_some_and(|&i| plan.built[i].slots == slots);
            assert!(
                is_old || is_new,
                "service {id} has a mixture of tables after {write:?}"
            );
        }
    }
}

fn in_force(image: &Image) -> BTreeMap<u16, Vec<u16>> {
    image
        .services
        .keys()
        .filter_map(|&id| Some((id, image.table(id)?)))
        .collect()
}

/// Nothing that a packet may be looking at is written in place.
fn check_write(image: &Image, write: &Write) {
    match write {
        Write::Page(page, _) => {
            for table in image.tables() {
                let in_force = pages_of(table);
                assert!(!in_force.contains(page), "page {page} is in force");
            }
        }
        Write::Endpoint(id, _) => assert!(!image.endpoints.contains_key(id)),
        Write::FreeEndpoint(id) => assert!(!image.named_endpoints().contains(id)),
        _ => {}
    }
}

/// Every packet of every service that takes new flows finds an endpoint of that service.
fn check_servable(image: &Image) {
    for (&id, service) in &image.services {
        let Some(slots) = image.table(id) else {
            continue;
        };
        assert_eq!(
            slots.len(),
            TableRef::from_word(service.table).mask as usize + 1
        );
        for slot in slots {
            let endpoint = image.endpoints.get(&slot).expect("a slot names a record");
            assert_eq!(endpoint.service, id);
            assert!(image.backends.contains_key(&endpoint.backend));
        }
        let prefixes = image.prefixes.get(&id).cloned().unwrap_or_default();
        for rule in prefixes.rules() {
            let table = image.rule_tables.get(&rule).expect("a prefix names a rule");
            for slot in image.slots(*table).expect("a rule has a table") {
                let endpoint = image.endpoints.get(&slot).expect("a slot names a record");
                assert_eq!(endpoint.service, id, "of rule {rule}");
            }
        }
    }
}

fn any_desired() -> impl Strategy<Value = Desired> {
    let backend = (1_usize..4, 0_u64..5);
    let shape = (
        prop_oneof![Just(256_u32), Just(1024), Just(2048)],
        prop::collection::vec(backend, 1..4),
    );
    prop::collection::btree_map(1_u8..5, shape, 0..4).prop_map(|services| {
        let services = services.into_iter().map(|(n, (slots, mut backends))| {
            if backends.iter().all(|b| b.1 == 0) {
                backends[0].1 = 1;
            }
            service(n, slots, &backends)
        });
        desired(services.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn after_every_write_every_packet_finds_an_endpoint(
        path in prop::collection::vec(any_desired(), 1..6),
        flows_stay in any::<bool>(),
    ) {
        let mut image = Image::default();
        let mut tables = Tables::default();
        for desired in &path {
            let on_flows = if flows_stay {
                image.endpoints.keys().copied().collect()
            } else {
                BTreeSet::new()
            };
            let kept: Vec<_> = image.endpoints.iter().map(|(&id, &r)| (id, r)).collect();
            let services: BTreeMap<u16, _> = image
                .services
                .iter()
                .map(|(&id, s)| (id, (s.address, s.identity)))
                .collect();
            let plan = Plan::between(&image, desired, &on_flows, &mut tables).unwrap();
            carry_out(&mut image, &plan);
            prop_assert_eq!(in_force(&image).len(), desired.services.len());
            if flows_stay {
                for (id, record) in kept {
                    prop_assert_eq!(image.endpoints.get(&id), Some(&record), "flows are on it");
                    let service = image.services.get(&record.service).map(|s| (s.address, s.identity));
                    prop_assert_eq!(service, Some(services[&record.service]), "its service stays");
                }
            }
        }
    }

    #[test]
    fn what_is_already_so_needs_no_write(desired in any_desired()) {
        let mut image = Image::default();
        let mut tables = Tables::default();
        let plan = Plan::between(&image, &desired, &BTreeSet::new(), &mut tables).unwrap();
        carry_out(&mut image, &plan);
        let again = Plan::between(&image, &desired, &BTreeSet::new(), &mut tables).unwrap();
        prop_assert_eq!(again.writes, vec![]);
    }
}

#[test]
fn a_weight_change_writes_pages_and_one_table_word() {
    let mut image = Image::default();
    let mut tables = Tables::default();
    let first = desired(vec![service(1, 1024, &[(2, 1), (2, 0)])]);
    let plan = Plan::between(&image, &first, &BTreeSet::new(), &mut tables).unwrap();
    carry_out(&mut image, &plan);
    let second = desired(vec![service(1, 1024, &[(2, 3), (2, 1)])]);
    let plan = Plan::between(&image, &second, &BTreeSet::new(), &mut tables).unwrap();
    assert!(
        matches!(plan.writes[..], [Write::Page(..), Write::Table(..)]),
        "{:?}",
        plan.writes
    );
    assert_eq!(plan.built[0].moved, 256);
    assert_eq!(plan.built[0].backend_slots, [768, 256]);
}

#[test]
fn an_endpoint_that_left_is_freed_once_its_flows_are_gone() {
    let mut image = Image::default();
    let mut tables = Tables::default();
    for endpoints in [2, 1] {
        let desired = desired(vec![service(1, 256, &[(endpoints, 1)])]);
        let all = image.endpoints.keys().copied().collect();
        let plan = Plan::between(&image, &desired, &all, &mut tables).unwrap();
        carry_out(&mut image, &plan);
    }
    assert_eq!(image.endpoints.len(), 2, "kept for its flows");
    let desired = desired(vec![service(1, 256, &[(1, 1)])]);
    let plan = Plan::between(&image, &desired, &BTreeSet::new(), &mut tables).unwrap();
    assert_eq!(plan.writes, [Write::FreeEndpoint(2)]);
}

#[test]
fn a_service_that_left_goes_after_its_flows_and_may_come_back() {
    let mut image = Image::default();
    let mut tables = Tables::default();
    let none = BTreeSet::new();
    let with = desired(vec![service(1, 256, &[(1, 1)])]);
    let without = desired(vec![]);
    let mut follow = |image: &mut Image, desired: &Desired, on_flows: &BTreeSet<u16>| {
        let plan = Plan::between(image, desired, on_flows, &mut tables).unwrap();
        carry_out(image, &plan);
        plan.writes
    };
    follow(&mut image, &with, &none);
    let (&id, record) = image.services.iter().next().unwrap();
    let record = *record;
    let flows = BTreeSet::from([1]);
    assert_eq!(follow(&mut image, &without, &flows), [Write::Close(id)]);
    assert_eq!(follow(&mut image, &without, &flows), []);
    let writes = follow(&mut image, &with, &flows);
    assert!(
        matches!(writes[..], [Write::Page(..), Write::Table(..)]),
        "back in its place, with its endpoint: {writes:?}"
    );
    assert_eq!(image.services[&id].basis, record.basis);
    follow(&mut image, &without, &flows);
    assert_eq!(
        follow(&mut image, &without, &none),
        [
            Write::FreeEndpoint(1),
            Write::FreeBackend(0),
            Write::RemoveService(id)
        ]
    );
    assert_eq!(image.services.len(), 0);
}

#[test]
fn idle_limits_change_in_place() {
    let mut image = Image::default();
    let mut tables = Tables::default();
    let mut wanted = desired(vec![service(1, 256, &[(1, 1)])]);
    let plan = Plan::between(&image, &wanted, &BTreeSet::new(), &mut tables).unwrap();
    carry_out(&mut image, &plan);
    wanted.services[0].idle.udp = Duration::from_secs(5);
    let plan = Plan::between(&image, &wanted, &BTreeSet::new(), &mut tables).unwrap();
    // 5 s are 4.66 ticks of 2^30 ns, and one more; the others are the defaults.
    assert!(
        matches!(plan.writes[..], [Write::Idle(_, [29, 3354, _, 6])]),
        "{:?}",
        plan.writes
    );
}

#[test]
fn an_address_answers_while_one_of_its_services_says_so() {
    let mut image = Image::default();
    let mut tables = Tables::default();
    let mut follow = |services: &[&Service]| {
        let wanted = desired(services.iter().map(|&it| it.clone()).collect());
        let plan = Plan::between(&image, &wanted, &BTreeSet::new(), &mut tables).unwrap();
        carry_out(&mut image, &plan);
        let echo = |write: &Write| matches!(write, Write::AnswerEcho(_) | Write::IgnoreEcho(_));
        plan.writes.into_iter().filter(echo).collect::<Vec<_>>()
    };
    let mut loud = service(1, 256, &[(1, 1)]);
    loud.echo = true;
    let mut quiet = loud.clone();
    (quiet.name, quiet.protocol, quiet.echo) = ("quiet".into(), Protocol::Udp, false);
    let address = super::echo_address([10, 99, 0, 1].into());
    assert_eq!(follow(&[&loud, &quiet]), [Write::AnswerEcho(address)]);
    assert_eq!(follow(&[&loud]), []);
    quiet.echo = true;
    assert_eq!(follow(&[&quiet, &loud]), []);
    assert_eq!(follow(&[&quiet]), []);
    quiet.echo = false;
    assert_eq!(follow(&[&quiet]), [Write::IgnoreEcho(address)]);
}

#[test]
fn more_endpoints_than_there_are_ids_are_refused_with_the_number() {
    let mut wanted = service(1, 65_536, &[(1, 1)]);
    wanted.backends[0].endpoints = (0..5000_u32)
        .map(|i| Endpoint {
            address: format!("10.1.{}.{}:80", i / 250, i % 250 + 1)
                .parse()
                .unwrap(),
            source: "10.0.0.1".parse().unwrap(),
        })
        .collect();
    let result = Plan::between(
        &Image::default(),
        &desired(vec![wanted]),
        &BTreeSet::new(),
        &mut Tables::default(),
    );
    let error = format!("{:#}", result.unwrap_err());
    assert_eq!(
        error,
        "service s1: all 4095 endpoint ids are taken; remove endpoints"
    );
}

#[test]
fn tables_of_one_plan_never_share_a_page() {
    let services = (1..=40).map(|n| Service {
        selection: Selection::default(),
        ..service(n, 1024, &[(1, 1)])
    });
    let services = services.collect();
    let mut tables = Tables::default();
    let mut image = Image::default();
    // The cursor stands at the end of the map, as after many changes.
    image.write(&Write::Page(PAGES - 20, vec![0; 1024].into()));
    let plan = Plan::between(&image, &desired(services), &BTreeSet::new(), &mut tables).unwrap();
    let pages: Vec<u32> = plan
        .writes
        .iter()
        .filter_map(|write| {
            if let Write::Page(page, _) = write {
                Some(*page)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(pages.len(), 40);
    assert_eq!(pages.iter().collect::<BTreeSet<_>>().len(), 40);
    assert!(
        pages.contains(&(PAGES - 1)) && pages.contains(&0),
        "around the end: {pages:?}"
    );
}
