use super::*;
use crate::desired::{self, Backend, Delivery, Endpoint, Idle, Protocol, Selection};
use crate::plan::{Image, Numbers, Plan, Tables};
use crate::weights::Weight;

fn service(first: u16, last: u16, protocol: Protocol) -> desired::Service {
    desired::Service {
        name: format!("s{first}"),
        address: ([10, 99, 0, 1], first).into(),
        ports: if first == last {
            Ports::One
        } else {
            Ports::To(last)
        },
        protocol,
        slots: 256,
        selection: Selection::default(),
        idle: Idle::default(),
        delivery: Delivery::default(),
        echo: false,
        backends: vec![Backend {
            name: "one".to_owned(),
            weight: Weight::ALL,
            endpoints: [Endpoint {
                address: ([10, 64, 0, 2], first).into(),
                source: [10, 64, 0, 1].into(),
            }]
            .into(),
        }],
    }
}

fn follow(
    image: &mut Image,
    services: &[desired::Service],
    on_flows: &[u16],
) -> Result<Vec<Write>> {
    let desired = Desired {
        seed: 7,
        services: services.to_vec(),
    };
    let on_flows: Numbers = on_flows.iter().copied().collect();
    let plan = Plan::between(image, &desired, &on_flows, &mut Tables::default())?;
    for write in &plan.writes {
        image.write(write);
    }
    Ok(plan.writes)
}

/// First port of the service that a packet to this TCP port is for, by its range.
fn found(image: &Image, port: u16) -> Option<u16> {
    let (family, [head, tail]) = address::wide([10, 99, 0, 1].into());
    let key = [head, tail, PortRanges::identity_of(family, 6)];
    let id = image.port_ranges.get(&key)?.find(port)?;
    Some(image.services[&id].port())
}

#[test]
fn a_port_leads_to_the_service_whose_range_it_lies_in() {
    let mut image = Image::default();
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    let services = [
        service(9000, 9010, tcp),
        service(9011, 9011, tcp),
        service(9012, 9020, tcp),
        service(1, 65_535, udp),
    ];
    follow(&mut image, &services, &[]).unwrap();
    assert_eq!(found(&image, 9000), Some(9000));
    assert_eq!(found(&image, 9010), Some(9000));
    assert_eq!(
        found(&image, 9011),
        None,
        "a service with one port is found by it"
    );
    assert_eq!(found(&image, 9020), Some(9012));
    assert_eq!(found(&image, 9021), None);
    assert_eq!(image.port_ranges.len(), 2, "TCP and UDP");
    assert_eq!(follow(&mut image, &services, &[]).unwrap(), []);
}

#[test]
fn a_range_that_left_keeps_its_ports_until_its_flows_have_gone() {
    let mut image = Image::default();
    let wide = [service(9000, 9010, Protocol::Tcp)];
    follow(&mut image, &wide, &[]).unwrap();
    let endpoint = *image.endpoints.keys().next().unwrap();
    follow(&mut image, &[], &[endpoint]).unwrap();
    assert_eq!(found(&image, 9005), Some(9000), "for its flows");
    let other = [service(9001, 9010, Protocol::Tcp)];
    follow(&mut image, &other, &[endpoint]).unwrap();
    assert_eq!(
        found(&image, 9005),
        Some(9001),
        "what is wanted comes first"
    );
    assert_eq!(found(&image, 9000), Some(9000));
    for _ in 0..2 {
        follow(&mut image, &other, &[]).unwrap();
    }
    assert_eq!(found(&image, 9000), None);
    for _ in 0..3 {
        follow(&mut image, &[], &[]).unwrap();
    }
    assert!(image.port_ranges.is_empty());
}

#[test]
fn more_ranges_than_there_is_room_for_are_refused() {
    let all: Vec<desired::Service> = (0..=limits::PORT_RANGES as u16)
        .map(|n| service(1000 + 10 * n, 1005 + 10 * n, Protocol::Tcp))
        .collect();
    let mut image = Image::default();
    let refused = follow(&mut image, &all, &[]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "more than 16 ranges of ports at one address and protocol"
    );
    follow(&mut image, &all[1..], &[]).unwrap();
}

#[test]
fn a_service_that_left_gives_its_port_to_a_range_at_once_and_gets_it_back() {
    let mut image = Image::default();
    let tcp = Protocol::Tcp;
    let (one, wide) = ([service(9005, 9005, tcp)], [service(9000, 9010, tcp)]);
    let apart = [service(9006, 9010, tcp)];
    follow(&mut image, &one, &[]).unwrap();
    let endpoint = *image.endpoints.keys().next().unwrap();
    let id = *image.services.keys().next().unwrap();
    let is_hidden = |image: &Image| Service::is_hidden(image.services[&id].identity);

    let writes = follow(&mut image, &wide, &[endpoint]).unwrap();
    let place = |wanted: &dyn Fn(&Write) -> bool| writes.iter().position(wanted).unwrap();
    let there = place(&|it| matches!(it, Write::AddService(..)));
    let found = place(&|it| matches!(it, Write::PortRanges(..)));
    let hidden = place(&|it| *it == Write::Hide(id));
    let closed = place(&|it| *it == Write::Close(id));
    assert!(
        there < found && found < hidden && hidden < closed,
        "{writes:?}"
    );
    assert!(is_hidden(&image));
    assert_eq!(follow(&mut image, &wide, &[endpoint]).unwrap(), []);

    // Nobody has the port: its flows must find it.
    follow(&mut image, &apart, &[endpoint]).unwrap();
    assert!(!is_hidden(&image));
    follow(&mut image, &wide, &[endpoint]).unwrap();
    let writes = follow(&mut image, &one, &[endpoint]).unwrap();
    assert!(writes.contains(&Write::Show(id)), "{writes:?}");
    assert!(!is_hidden(&image));
    assert_eq!(image.endpoints[&endpoint].service, id, "the same again");
    follow(&mut image, &wide, &[endpoint]).unwrap();
    for _ in 0..3 {
        follow(&mut image, &wide, &[]).unwrap();
    }
    assert!(!image.services.contains_key(&id), "its flows have gone");
}
