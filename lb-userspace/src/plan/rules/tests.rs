use super::*;
use crate::desired::{Backend, Delivery, Desired, Endpoint, Idle, Ports, Protocol, Selection};
use crate::plan::{Image, Numbers, Plan, Traits};
use crate::weights::from_relative;

/// A rule for 10.0.`net`.0/24 with weights for `old` and `new`.
fn rule(nets: &[u8], old: u64, new: u64) -> Rule {
    let prefix = |&net: &u8| Prefix::new([10, 0, net, 0].into(), 24).unwrap();
    Rule {
        from: nets.iter().map(prefix).collect(),
        weights: from_relative(&[old, new]).unwrap(),
    }
}

fn service(rules: Vec<Rule>) -> Service {
    let backend = |(n, name): (u8, &str)| Backend {
        name: name.to_owned(),
        weight: if n == 1 { Weight::ALL } else { Weight::ZERO },
        endpoints: (1..=2)
            .map(|host| Endpoint {
                address: ([10, 64, n, host], 80).into(),
                source: [10, 64, 0, 1].into(),
            })
            .collect(),
    };
    Service {
        name: "web".to_owned(),
        address: ([10, 99, 0, 1], 80).into(),
        protocol: Protocol::Tcp,
        slots: 1024,
        ports: Ports::One,
        selection: Selection {
            rules: rules.into(),
            ..Selection::default()
        },
        idle: Idle::default(),
        delivery: Delivery::default(),
        echo: false,
        backends: (1..).zip(["old", "new"]).map(backend).collect(),
    }
}

/// What follows the image is carried out; the writes are returned.
fn follow(image: &mut Image, tables: &mut Tables, services: Vec<Service>) -> Vec<Write> {
    let desired = Desired { seed: 7, services };
    let plan = Plan::between(image, &desired, &Numbers::default(), tables).unwrap();
    for write in &plan.writes {
        image.write(write);
    }
    plan.writes
}

/// The image of a service with these rules.
fn with(rules: Vec<Rule>) -> (Image, Tables) {
    let (mut image, mut tables) = (Image::default(), Tables::default());
    follow(&mut image, &mut tables, vec![service(rules)]);
    (image, tables)
}

fn words(image: &Image) -> Vec<u64> {
    image.rule_tables.values().copied().collect()
}

#[test]
fn rules_of_equal_weights_share_a_small_table() {
    let (image, _) = with(vec![
        rule(&[1], 0, 1),
        rule(&[2, 3], 0, 1),
        rule(&[4], 1, 1),
    ]);
    let words = words(&image);
    assert_eq!(words.len(), 3);
    assert_eq!(words[0], words[1]);
    assert_eq!(image.slots(words[0]).unwrap().len(), 256, "two endpoints");
    assert_eq!(
        image.slots(words[2]).unwrap().len(),
        1024,
        "the service's size"
    );
    assert_eq!(image.tables.len(), 3, "with the service's own");
}

#[test]
fn new_weights_of_a_rule_are_one_store() {
    let (mut image, mut tables) = with(vec![rule(&[1, 2, 3], 1, 1), rule(&[4], 0, 1)]);
    let after = vec![service(vec![rule(&[1, 2, 3], 1, 3), rule(&[4], 0, 1)])];
    let writes = follow(&mut image, &mut tables, after.clone());
    assert!(
        matches!(writes[..], [Write::Pages(..), Write::Rule(0, _)]),
        "{writes:?}"
    );
    assert_eq!(follow(&mut image, &mut tables, after), []);
}

#[test]
fn raising_new_by_a_rule_moves_slots_to_new_only() {
    let (image, _) = with(vec![rule(&[1], 4, 1), rule(&[2], 1, 1)]);
    let [low, high] = words(&image)[..] else {
        panic!("two rules")
    };
    let (low, high) = (image.ids(low).unwrap(), image.ids(high).unwrap());
    let is_new = |id: u16| image.backends[&image.endpoints[&id].backend] == "new";
    for (low, high) in low.iter().zip(&high) {
        assert!(!is_new(*low) || low == high, "taken away from new");
    }
    assert_eq!(high.iter().filter(|&&id| is_new(id)).count(), 512);
}

#[test]
fn prefixes_that_come_go_and_change_sides_are_written_and_no_others() {
    let (mut image, mut tables) = with(vec![rule(&[1, 2, 3], 0, 1), rule(&[4], 1, 0)]);
    let after = service(vec![rule(&[1, 4], 0, 1), rule(&[3, 5], 1, 0)]);
    let writes = follow(&mut image, &mut tables, vec![after]);
    let change = writes.iter().find_map(|it| match it {
        Write::Prefixes(_, change) => Some(change.clone()),
        _ => None,
    });
    let change = change.unwrap();
    let net = |net: u8| Prefix::new([10, 0, net, 0].into(), 24).unwrap();
    let put: Vec<Prefix> = change.put.iter().map(|it| it.0).collect();
    assert_eq!(
        (put, change.take.clone()),
        (vec![net(3), net(4), net(5)], vec![net(2)])
    );
    assert_eq!(change.after.len(), 4);
}

#[test]
fn a_rule_that_left_is_given_back_after_its_prefixes() {
    let (mut image, mut tables) = with(vec![rule(&[1], 0, 1)]);
    let writes = follow(&mut image, &mut tables, vec![service(vec![])]);
    assert!(
        matches!(
            writes[..],
            [
                Write::Prefixes(..),
                Write::FreeRule(0),
                Write::Traits(_, Traits { flags: 0, .. })
            ]
        ),
        "{writes:?}"
    );
    assert!(image.rule_tables.is_empty());
    // A packet under way may mean the number still.
    follow(
        &mut image,
        &mut tables,
        vec![service(vec![rule(&[2], 0, 1)])],
    );
    assert_eq!(image.rule_tables.keys().collect::<Vec<_>>(), [&1]);
}

#[test]
fn a_service_that_left_takes_its_rules_along() {
    let (mut image, mut tables) = with(vec![rule(&[1], 0, 1)]);
    let writes = follow(&mut image, &mut tables, vec![]);
    assert!(
        matches!(
            writes[..],
            [Write::Close(_), Write::Prefixes(..), Write::FreeRule(0)]
        ),
        "{writes:?}"
    );
    let writes = follow(
        &mut image,
        &mut tables,
        vec![service(vec![rule(&[1], 0, 1)])],
    );
    let is_put = |it: &Write| matches!(it, Write::Prefixes(_, change) if change.put.len() == 1);
    assert!(writes.iter().any(is_put), "{writes:?}");
}
