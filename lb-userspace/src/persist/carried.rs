//! Counters of endpoints that are gone.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::dataplane::Counters;
use crate::desired::{Ports, Protocol, Service};

/// What was counted of the endpoints that backends had and that the kernel knows no more.
///
/// A service goes by its address (of several ports by the first) and protocol, as in the kernel: another name
/// makes it no other one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Carried(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    address: SocketAddr,
    /// It has more ports.
    #[serde(default)]
    several: bool,
    protocol: Protocol,
    backend: String,
    counters: Counters,
}

impl Entry {
    fn is_of(&self, service: &Service) -> bool {
        self.address == service.address
            && self.several == (service.ports != Ports::One)
            && self.protocol == service.protocol
    }
}

impl Carried {
    /// True if no endpoint is gone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was counted of the endpoints that a backend has had.
    #[must_use]
    pub fn of(&self, service: &Service, backend: &str) -> Counters {
        self.0
            .iter()
            .find(|it| it.is_of(service) && it.backend == backend)
            .map(|it| it.counters)
            .unwrap_or_default()
    }

    /// Adds what was counted of an endpoint that goes.
    pub fn add(&mut self, service: &Service, backend: &str, counters: Counters) {
        let mut entries = self.0.iter_mut();
        match entries.find(|it| it.is_of(service) && it.backend == backend) {
            Some(entry) => entry.counters = entry.counters + counters,
            None => self.0.push(Entry {
                address: service.address,
                several: service.ports != Ports::One,
                protocol: service.protocol,
                backend: backend.to_owned(),
                counters,
            }),
        }
    }

    /// Forgets services that are gone. A backend that is gone may come back.
    pub fn keep_only(&mut self, services: &[Service]) {
        self.0
            .retain(|it| services.iter().any(|service| it.is_of(service)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{Delivery, Idle, Selection};

    fn service(name: &str, port: u16) -> Service {
        Service {
            name: name.into(),
            address: ([10, 99, 0, 1], port).into(),
            protocol: Protocol::Tcp,
            slots: 256,
            ports: Ports::One,
            selection: Selection::default(),
            idle: Idle::default(),
            delivery: Delivery::default(),
            echo: false,
            backends: Vec::new(),
        }
    }

    fn opened(opened: u64) -> Counters {
        Counters {
            opened,
            ..Counters::default()
        }
    }

    #[test]
    fn every_endpoint_that_goes_adds_to_its_backend() {
        let echo = service("echo", 9000);
        let mut carried = Carried::default();
        carried.add(&echo, "old", opened(3));
        carried.add(&echo, "new", opened(10));
        carried.add(&echo, "old", opened(4));
        assert_eq!(carried.of(&echo, "old"), opened(7));
        assert_eq!(carried.of(&echo, "new"), opened(10));
        assert_eq!(carried.of(&service("other", 9001), "old"), opened(0));
    }

    #[test]
    fn a_service_keeps_them_under_another_name_and_loses_them_when_it_goes() {
        let mut carried = Carried::default();
        carried.add(&service("echo", 9000), "old", opened(3));
        carried.keep_only(&[service("renamed", 9000)]);
        assert_eq!(carried.of(&service("renamed", 9000), "old"), opened(3));
        carried.keep_only(&[service("echo", 9001)]);
        assert!(carried.is_empty());
    }
}
