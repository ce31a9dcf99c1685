//! The services, and how they change.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fastrand::Rng;
use lb_tests::node::{v4, v6};
use lb_userspace::desired::{Backend, Endpoint, Idle, Protocol, Service};
use lb_userspace::lab::{VIP_V4, VIP_V6};
use lb_userspace::weights::from_relative;

/// No flow is live after this silence: the limits below, and ten ticks for closed ones.
pub const LONGEST_LIFE: Duration = Duration::from_secs(12);

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
        for (family, vip) in [IpAddr::from(VIP_V4), VIP_V6.into()]
            .into_iter()
            .enumerate()
        {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for port in [9000, 9001] {
                    let name = format!("{family}-{protocol:?}-{port}");
                    let address = SocketAddr::new(vip, port);
                    services.push(self.service(name, address, protocol));
                }
            }
        }
        services
    }

    fn service(&mut self, name: String, address: SocketAddr, protocol: Protocol) -> Service {
        let numbers = [
            self.dice.u64(1..100),
            self.dice.u64(0..100),
            self.dice.u64(0..3),
        ];
        let weights = from_relative(&numbers).expect("the first is not zero");
        let place = |segment, host| match address {
            SocketAddr::V4(_) => v4(segment, host),
            SocketAddr::V6(_) => v6(segment, host),
        };
        let endpoint = |segment, host, port| Endpoint {
            address: SocketAddr::new(place(segment, host), port),
            source: place(segment, 1),
        };
        let mut new = vec![endpoint(2, 2, 8080), endpoint(2, 3, 8080)];
        if self.dice.bool() {
            // One more, on the clients' segment: out where it came in.
            new.push(endpoint(0, 50, 8080));
        }
        let old = vec![endpoint(1, 2, address.port()), endpoint(1, 3, 8081)];
        // No neighbour is known for the one, no way leads to the other.
        let odd = vec![endpoint(1, 77, 8080), endpoint(9, 9, 8080)];
        let backends = ["old", "new", "odd"]
            .into_iter()
            .zip([old, new, odd])
            .zip(weights);
        Service {
            name,
            address,
            protocol,
            slots: if address.port() == 9000 { 1024 } else { 256 },
            idle: Idle {
                opening: Duration::from_secs(3),
                open: Duration::from_secs(9),
                closing: Duration::from_secs(2),
                udp: Duration::from_secs(2),
            },
            // Changes with the weights, so that an address is answered for now and then.
            echo: self.dice.u8(..8) == 0,
            backends: backends
                .map(|((name, endpoints), weight)| Backend {
                    name: name.to_owned(),
                    weight,
                    endpoints,
                })
                .collect(),
        }
    }
}
