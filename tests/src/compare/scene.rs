//! The services, and how they change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lb_tests::node::{v4, v6};
use lb_userspace::desired::{
    Affinity, Backend, Delivery, Endpoint, Idle, Mode, Network, Ports, Prefix, Protocol, Rule,
    Scheduling, Selection, Service,
};
use lb_userspace::lab::{VIP_V4, VIP_V6};
use lb_userspace::weights::from_relative;

/// Virtual addresses of each family: one whose services have one port or a few, and one with every port.
const VIPS: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(VIP_V4), IpAddr::V4(Ipv4Addr::new(10, 99, 0, 2))),
    (
        IpAddr::V6(VIP_V6),
        IpAddr::V6(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2)),
    ),
];

/// Services that change at random.
pub struct Scene {
    dice: Rng,
}

impl Scene {
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Rng::with_seed(seed ^ 0x0005_cee0),
        }
    }

    /// The services from now on: other weights, now and then other endpoints.
    pub fn next(&mut self) -> Vec<Service> {
        let mut services = Vec::new();
        for (family, (vip, any)) in VIPS.into_iter().enumerate() {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let name = format!("{family}-{protocol:?}-any");
                let address = (SocketAddr::new(any, 1), Ports::To(u16::MAX));
                services.push(self.service(name, address, protocol));
                let one = [(9000, Ports::One), (9001, Ports::One)];
                for (port, ports) in one.into_iter().chain(self.ranges()) {
                    let name = format!("{family}-{protocol:?}-{port}-{ports:?}");
                    let address = SocketAddr::new(vip, port);
                    services.push(self.service(name, (address, ports), protocol));
                }
            }
        }
        services
    }

    /// Who has the ports from 9010 to 9017: always somebody, and now this service, now that.
    fn ranges(&mut self) -> Vec<(u16, Ports)> {
        match self.dice.u8(..4) {
            0 => vec![(9010, Ports::To(9017))],
            1 => vec![(9010, Ports::To(9013)), (9014, Ports::To(9017))],
            2 => vec![(9010, Ports::One), (9011, Ports::To(9017))],
            _ => vec![(9010, Ports::To(9017)), (9013, Ports::One)],
        }
    }

    /// TCP has rules: other weights, one backend of two or three endpoints, one of a few.
    fn rules(&mut self, address: SocketAddr, protocol: Protocol) -> Arc<[Rule]> {
        if protocol == Protocol::Udp {
            return Arc::default();
        }
        let [outer, inner, innermost] = networks(address);
        let rule = |prefix, numbers: [u64; 3]| Rule {
            from: vec![prefix],
            weights: from_relative(&numbers).expect("one is not zero"),
        };
        let share = self.dice.u64(0..10);
        let only = self.dice.usize(..2);
        let mut one = [0; 3];
        one[only] = 1;
        // In an order that says nothing.
        [
            rule(inner, [0, 1, 0]),
            rule(outer, [10 - share, share, 0]),
            rule(innermost, one),
        ]
        .into()
    }

    /// Port 9000 translates; every other service does now this and now that.
    fn delivery(&mut self, address: SocketAddr) -> Delivery {
        let mode = match self.dice.u8(..4) {
            _ if address.port() == 9000 => Mode::Nat,
            0 => Mode::Nat,
            1 => Mode::Dsr,
            2 => Mode::Ipip,
            _ => Mode::Gue { port: 6080 },
        };
        Delivery {
            mode,
            tunnel_source: None,
            mss: self.dice.bool().then(|| self.dice.u16(500..1500)),
        }
    }

    /// Of which family the endpoints are: tunnels may be of either.
    fn outer(&mut self, service: SocketAddr, delivery: &mut Delivery) -> bool {
        if !delivery.mode.is_tunnel() {
            return service.is_ipv4();
        }
        let is_v4 = self.dice.bool();
        let network = if is_v4 {
            [172, 16, 0, 0].into()
        } else {
            "fd00:1::".parse().expect("an address")
        };
        delivery.tunnel_source = self.dice.bool().then(|| Network {
            address: network,
            bits: self.dice.u8(16..31) + if is_v4 { 0 } else { 80 },
        });
        is_v4
    }

    fn service(
        &mut self,
        name: String,
        (address, ports): (SocketAddr, Ports),
        protocol: Protocol,
    ) -> Service {
        let mut delivery = self.delivery(address);
        let is_v4 = self.outer(address, &mut delivery);
        // Where packets are not translated an endpoint has the service's port, or with several each.
        let its_own = if ports == Ports::One {
            address.port()
        } else {
            0
        };
        let port = |port| match delivery.mode {
            Mode::Nat => port,
            _ => its_own,
        };
        let numbers = [
            self.dice.u64(1..100),
            self.dice.u64(0..100),
            self.dice.u64(0..3),
        ];
        let weights = from_relative(&numbers).expect("the first is not zero");
        let place = |segment, host| {
            if is_v4 {
                v4(segment, host)
            } else {
                v6(segment, host)
            }
        };
        let endpoint = |segment, host, port| Endpoint {
            address: SocketAddr::new(place(segment, host), port),
            source: place(segment, 1),
        };
        let mut new = vec![endpoint(2, 2, port(8080)), endpoint(2, 3, port(8080))];
        if self.dice.bool() {
            // One more, on the clients' segment: out where it came in.
            new.push(endpoint(0, 50, port(8080)));
        }
        let old = vec![endpoint(1, 2, its_own), endpoint(1, 3, port(8081))];
        // No neighbour is known for the one, no way leads to the other.
        let odd = vec![endpoint(1, 77, port(8080)), endpoint(9, 9, port(8080))];
        let backends = ["old", "new", "odd"]
            .into_iter()
            .zip([old, new, odd])
            .zip(weights);
        Service {
            name,
            address,
            protocol,
            // Of several pages, of one, of a part of one.
            slots: match (address.port(), protocol) {
                (9000, Protocol::Tcp) => 4096,
                (9000, Protocol::Udp) => 1024,
                _ => 256,
            },
            ports,
            selection: Selection {
                rules: self.rules(address, protocol),
                ..selection(address, protocol)
            },
            delivery,
            // As long as first fragments are remembered at least: once no flow is on an endpoint that has left,
            // its id may be another's.
            idle: Idle {
                opening: Duration::from_secs(3),
                open: Duration::from_secs(9),
                closing: Duration::from_secs(3),
                udp: Duration::from_secs(3),
            },
            // Changes with the weights, so that an address is answered for now and then.
            echo: self.dice.u8(..8) == 0,
            backends: backends
                .map(|((name, endpoints), weight)| Backend {
                    name: name.to_owned(),
                    weight,
                    endpoints: endpoints.into(),
                })
                .collect(),
        }
    }
}

/// Three networks of clients within each other.
fn networks(address: SocketAddr) -> [Prefix; 3] {
    let all = if address.is_ipv4() {
        [("198.18.0.0", 27), ("198.18.0.8", 29), ("198.18.0.10", 32)]
    } else {
        [
            ("2001:db8::", 107),
            ("2001:db8::8:0", 109),
            ("2001:db8::a:1", 128),
        ]
    };
    all.map(|(address, length)| {
        let address = address.parse().expect("an address");
        Prefix::new(address, length).expect("a network")
    })
}

/// One of each kind: by flow, in turn, by client, by the client's network.
fn selection(address: SocketAddr, protocol: Protocol) -> Selection {
    let mut selection = Selection::default();
    match (protocol, address.port()) {
        (Protocol::Tcp, 9001) => selection.scheduling = Scheduling::Exact,
        (Protocol::Udp, 9001) if address.is_ipv4() => selection.affinity = Affinity::Client(29),
        (Protocol::Udp, 9001) => selection.affinity = Affinity::Client(108),
        (Protocol::Udp, _) if address.is_ipv6() => selection.affinity = Affinity::Client(128),
        _ => {}
    }
    selection
}
