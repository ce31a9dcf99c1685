//! What holds after every single write of a plan, and at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lb_common::limits::PAGES;
use lb_common::record::TableRef;
use proptest::prelude::*;

use super::{Built, Image, Numbers, Plan, Tables, Write, pages_for, pages_of};
use crate::desired::{
    Backend, Delivery, Desired, Endpoint, Idle, Ports, Prefix, Protocol, Rule, Selection, Service,
};
use crate::weights::{Weight, from_relative};

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
            let is_new = plan.ids.services.get(&id).is_some_and(|&i| {
                let Built { table, base, .. } = &plan.built[i];
                let ids = table.slots.iter().map(|slot| base.wrapping_add(*slot));
                ids.eq(slots.iter().copied())
            });
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
        Write::Pages(first, slots) => {
            let written = pages_for(*first, slots.len());
            for table in image.words() {
                let in_force = pages_of(table);
                let is_apart = in_force.end <= written.start || written.end <= in_force.start;
                assert!(is_apart, "{written:?} is written, {in_force:?} is in force");
            }
        }
        Write::Endpoint(id, _) => assert!(!image.endpoints.contains_key(id)),
        Write::FreeEndpoint(id) => assert!(!image.named_endpoints().contains(*id)),
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
            usize::from(TableRef::from_word(service.table).mask) + 1
        );
        for slot in slots {
            let endpoint = image.endpoints.get(&slot).expect("a slot names a record");
            assert_eq!(endpoint.service, id);
            assert!(image.backends.contains_key(&endpoint.backend));
        }
        let prefixes = image.prefixes.get(&id).cloned().unwrap_or_default();
        for rule in prefixes.rules() {
            let table = image.rule_tables.get(&rule).expect("a prefix names a rule");
            for slot in image.ids(*table).expect("a rule has a table") {
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
                Numbers::default()
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
        let plan = Plan::between(&image, &desired, &Numbers::default(), &mut tables).unwrap();
        carry_out(&mut image, &plan);
        let again = Plan::between(&image, &desired, &Numbers::default(), &mut tables).unwrap();
        prop_assert_eq!(again.writes, vec![]);
    }
}

#[test]
fn a_weight_change_writes_pages_and_one_table_word() {
    let mut image = Image::default();
    let mut tables = Tables::default();
    let first = desired(vec![service(1, 1024, &[(2, 1), (2, 0)])]);
    let plan = Plan::between(&image, &first, &Numbers::default(), &mut tables).unwrap();
    carry_out(&mut image, &plan);
    let second = desired(vec![service(1, 1024, &[(2, 3), (2, 1)])]);
    let plan = Plan::between(&image, &second, &Numbers::default(), &mut tables).unwrap();
    assert!(
        matches!(plan.writes[..], [Write::Pages(..), Write::Table(..)]),
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
    let plan = Plan::between(&image, &desired, &Numbers::default(), &mut tables).unwrap();
    assert_eq!(plan.writes, [Write::FreeEndpoint(2)]);
}

#[test]
fn a_service_that_left_goes_after_its_flows_and_may_come_back() {
    let mut image = Image::default();
    let mut tables = Tables::default();
    let none = Numbers::default();
    let with = desired(vec![service(1, 256, &[(1, 1)])]);
    let without = desired(vec![]);
    let mut follow = |image: &mut Image, desired: &Desired, on_flows: &Numbers| {
        let plan = Plan::between(image, desired, on_flows, &mut tables).unwrap();
        carry_out(image, &plan);
        image.forget_retired();
        plan.writes
    };
    follow(&mut image, &with, &none);
    let (&id, record) = image.services.iter().next().unwrap();
    let record = *record;
    let flows = Numbers::from([1]);
    assert_eq!(follow(&mut image, &without, &flows), [Write::Close(id)]);
    assert_eq!(follow(&mut image, &without, &flows), []);
    let writes = follow(&mut image, &with, &flows);
    assert!(
        matches!(writes[..], [Write::Pages(..), Write::Table(..)]),
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
    let plan = Plan::between(&image, &wanted, &Numbers::default(), &mut tables).unwrap();
    carry_out(&mut image, &plan);
    wanted.services[0].idle.udp = Duration::from_secs(5);
    let plan = Plan::between(&image, &wanted, &Numbers::default(), &mut tables).unwrap();
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
        let plan = Plan::between(&image, &wanted, &Numbers::default(), &mut tables).unwrap();
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
    wanted.backends[0].endpoints = (0..20_000_u32)
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
        &Numbers::default(),
        &mut Tables::default(),
    );
    let error = format!("{:#}", result.unwrap_err());
    assert_eq!(
        error,
        "service s1: all 16383 endpoint ids are taken; remove endpoints"
    );
}

#[test]
fn tables_of_one_plan_never_share_a_page() {
    let services = (1..=40).map(|n| Service {
        selection: Selection::default(),
        ..service(n, 1024, &[(2, 1)])
    });
    let services = services.collect();
    let mut tables = Tables::default();
    let mut image = Image::default();
    // The cursor stands at the end of the map, as after many changes.
    image.write(&Write::Pages(PAGES - 20, vec![0; 1024].into()));
    let plan = Plan::between(&image, &desired(services), &Numbers::default(), &mut tables).unwrap();
    let pages: Vec<u32> = plan
        .writes
        .iter()
        .filter_map(|write| {
            if let Write::Pages(first, _) = write {
                Some(*first)
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

/// A service on its own port with the same hosts behind it as its likes.
fn alike(port: u16, endpoints: usize, weights: [u64; 2]) -> Service {
    let weights = from_relative(&weights).unwrap();
    let backend = |(i, weight): (usize, Weight)| Backend {
        name: ["old", "new"][i].to_owned(),
        weight,
        endpoints: (0..endpoints)
            .map(|e| Endpoint {
                address: format!("10.1.{i}.{}:{}", e + 1, port + 1).parse().unwrap(),
                source: "10.0.0.1".parse().unwrap(),
            })
            .collect(),
    };
    Service {
        name: format!("s{port}"),
        address: format!("10.99.0.1:{port}").parse().unwrap(),
        backends: weights.into_iter().enumerate().map(backend).collect(),
        selection: Selection::default(),
        ..service(1, 1024, &[(1, 1)])
    }
}

/// Follows, and knows afterwards what `Dataplane` would know.
fn follow(image: &mut Image, tables: &mut Tables, services: Vec<Service>) -> Plan {
    let plan = Plan::between(image, &desired(services), &Numbers::default(), tables).unwrap();
    carry_out(image, &plan);
    image.forget_retired();
    image.placed = Arc::new(plan.placed.clone());
    plan
}

#[test]
fn services_with_the_same_hosts_share_a_table_until_their_weights_differ() {
    let (mut image, mut tables) = (Image::default(), Tables::default());
    let mut services: Vec<Service> = (1..=3).map(|port| alike(port, 3, [9, 1])).collect();
    follow(&mut image, &mut tables, services.clone());
    assert_eq!(image.tables.len(), 1);
    let before = in_force(&image);
    let [first, ..] = *image.services.keys().collect::<Vec<_>>() else {
        panic!("three services")
    };
    let first = *first;
    let changed = services
        .iter()
        .position(|it| image.find_service(&image_keys(), &super::identity(it)) == Some(first));
    let changed = changed.unwrap();
    services[changed] = alike(services[changed].address.port(), 3, [1, 1]);
    let plan = follow(&mut image, &mut tables, services.clone());
    assert!(
        matches!(plan.writes[..], [Write::Pages(..), Write::Table(id, _)] if id == first),
        "{:?}",
        plan.writes
    );
    assert_eq!(plan.built[changed].moved, 410);
    assert_eq!(image.tables.len(), 2);
    for (id, slots) in in_force(&image) {
        assert!(
            id == first || slots == before[&id],
            "service {id} is another's"
        );
    }
    // Equal again: the table that is there, and no page written.
    services[changed] = alike(services[changed].address.port(), 3, [9, 1]);
    let plan = follow(&mut image, &mut tables, services);
    assert!(
        matches!(plan.writes[..], [Write::Table(id, _)] if id == first),
        "{:?}",
        plan.writes
    );
    assert_eq!(in_force(&image), before);
    assert_eq!(image.tables.len(), 1);
}

#[test]
fn services_that_all_get_an_endpoint_share_a_table_still() {
    let (mut image, mut tables) = (Image::default(), Tables::default());
    for endpoints in [2, 3, 5, 1, 4] {
        let services = (1..=20)
            .map(|port| alike(port, endpoints, [9, 1]))
            .collect();
        follow(&mut image, &mut tables, services);
        assert_eq!(image.tables.len(), 1, "{endpoints} endpoints");
    }
}

#[test]
fn a_thousand_services_of_ten_endpoints_have_one_table_and_ten_thousand_ids() {
    let (mut image, mut tables) = (Image::default(), Tables::default());
    let services = (1..=1000).map(|port| alike(port, 5, [9, 1])).collect();
    let wanted = desired(services);
    let plan = Plan::between(&image, &wanted, &Numbers::default(), &mut tables).unwrap();
    for write in &plan.writes {
        image.write(write);
    }
    assert_eq!(
        (image.services.len(), image.endpoints.len()),
        (1000, 10_000)
    );
    assert_eq!(image.tables.len(), 1);
    check_servable(&image);
}

fn image_keys() -> [u64; lb_common::hash::KEYS] {
    lb_common::hash::keys(7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Services that are alike and differ, in their endpoints and in their weights; sharing changes no
    /// slot, and what the last plan knew changes no write.
    #[test]
    fn sharing_and_knowing_change_nothing_but_the_room(
        path in prop::collection::vec(
            prop::collection::btree_map(1_u16..6, (1_usize..3, 0_u64..3, 0_u64..3), 1..5),
            1..6,
        ),
    ) {
        let (mut image, mut tables) = (Image::default(), Tables::default());
        for wanted in path {
            let services: Vec<Service> = wanted
                .into_iter()
                .map(|(port, (endpoints, old, new))| alike(port, endpoints, [old + 1, new]))
                .collect();
            let mut unknown = image.clone();
            unknown.placed = Arc::default();
            let wanted = desired(services.clone());
            let slow = Plan::between(
                &unknown, &wanted, &Numbers::default(), &mut Tables::default(),
            ).unwrap();
            let plan = follow(&mut image, &mut tables, services.clone());
            prop_assert_eq!(&slow.writes, &plan.writes);
            for (service, built) in services.iter().zip(&plan.built) {
                let id = image.find_service(&image_keys(), &super::identity(service)).unwrap();
                let alone = Plan::between(
                    &Image::default(),
                    &desired(vec![service.clone()]),
                    &Numbers::default(),
                    &mut Tables::default(),
                ).unwrap();
                let address = |image: &Image, id: u16| {
                    let record = &image.endpoints[&id];
                    (record.address, record.port)
                };
                let mut image_alone = Image::default();
                carry_out(&mut image_alone, &alone);
                let id_alone = *image_alone.services.keys().next().unwrap();
                let shared = image.table(id).unwrap();
                let own = image_alone.table(id_alone).unwrap();
                for (shared, own) in shared.into_iter().zip(own) {
                    prop_assert_eq!(address(&image, shared), address(&image_alone, own));
                }
                prop_assert_eq!(built.digest, alone.built[0].digest);
            }
        }
    }
}
