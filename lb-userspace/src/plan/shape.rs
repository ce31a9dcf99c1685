//! A service's endpoints as its tables know them.
//!
//! A table names an endpoint by its address without its port, and a slot holds the distance of its id from
//! the service's base. So services that have the same hosts behind them, each on a port of its own, have
//! the same table, and it is in the kernel once.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::desired::{self, Service};
use crate::table::{self, digest_key};
use crate::weights::Weight;

/// The endpoints of a service in the order of their names.
#[derive(Debug)]
pub(super) struct Shape {
    /// Names of the backends, in order, and of the endpoints of each.
    names: Vec<(String, Vec<String>)>,
    /// Which of the listed endpoints, counted through all backends, stands where.
    pub(super) listed: Vec<usize>,
    /// Which of the listed backends stands where.
    backends: Vec<usize>,
    /// Equal where the names are.
    pub(super) print: blake3::Hash,
    /// What stands for each backend's addresses in a digest.
    digest_keys: Vec<u64>,
}

/// The backends as tables are built of them.
#[derive(Debug)]
pub(super) struct Groups {
    /// By name, endpoints by name; the ids are distances from `base`.
    pub(super) backends: Arc<[table::Backend]>,
    /// What is added to a slot to make it an endpoint id.
    pub(super) base: u16,
    /// Equal where names and distances are.
    pub(super) print: blake3::Hash,
}

impl Shape {
    pub(super) fn of(service: &Service) -> Self {
        let mut backends: Vec<usize> = (0..service.backends.len()).collect();
        backends.sort_by(|&a, &b| service.backends[a].name.cmp(&service.backends[b].name));
        let sizes = service.backends.iter().map(|it| it.endpoints.len());
        let firsts: Vec<usize> = sizes
            .scan(0, |next, size| {
                let first = *next;
                *next += size;
                Some(first)
            })
            .collect();
        let (mut names, mut listed, mut digest_keys) = (Vec::new(), Vec::new(), Vec::new());
        let mut hasher = blake3::Hasher::new();
        for &at in &backends {
            let backend = &service.backends[at];
            let mut places: Vec<(String, usize)> =
                places(&backend.endpoints).into_iter().zip(0..).collect();
            places.sort();
            listed.extend(places.iter().map(|&(_, endpoint)| firsts[at] + endpoint));
            let addresses = places.iter().map(|&(_, endpoint)| {
                let address = backend.endpoints[endpoint].address;
                digest_key(&address.to_string())
            });
            digest_keys.push(addresses.fold(0, |sum: u64, key| {
                sum.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(key)
            }));
            let places: Vec<String> = places.into_iter().map(|(place, _)| place).collect();
            hash_names(&mut hasher, &backend.name, &places);
            names.push((backend.name.clone(), places));
        }
        Self {
            names,
            listed,
            backends,
            print: hasher.finalize(),
            digest_keys,
        }
    }

    /// The backends, with the ids of all endpoints as they are listed.
    pub(super) fn groups(&self, ids: &[u16]) -> Groups {
        let mut ids = self.listed.iter().map(|&listed| ids[listed]);
        let all: Vec<u16> = ids.clone().collect();
        let base = base(&all);
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.print.as_bytes());
        let mut endpoint = |address: &String| {
            // As many ids as names.
            let id = ids.next().unwrap_or(base).wrapping_sub(base);
            hasher.update(&id.to_le_bytes());
            table::Endpoint {
                address: address.clone(),
                id,
            }
        };
        let backends = self.names.iter().map(|(name, places)| table::Backend {
            name: name.clone(),
            weight: Weight::ZERO,
            endpoints: places.iter().map(&mut endpoint).collect(),
        });
        Groups {
            backends: backends.collect(),
            base,
            print: hasher.finalize(),
        }
    }

    /// Values of the listed backends in the order of the names.
    pub(super) fn sorted<'a, T: Copy>(&'a self, listed: &'a [T]) -> impl Iterator<Item = T> + 'a {
        self.backends.iter().map(|&at| listed[at])
    }

    /// Values in the order of the names as the backends are listed.
    pub(super) fn as_listed<T: Copy + Default>(&self, sorted: &[T]) -> Vec<T> {
        let mut listed = vec![T::default(); sorted.len()];
        for (&at, &value) in self.backends.iter().zip(sorted) {
            listed[at] = value;
        }
        listed
    }

    /// A digest of names, with the addresses behind them of the backends that have slots (in the order of
    /// their names).
    pub(super) fn digest(&self, of_names: u64, slots: &[u32]) -> u64 {
        let with_slots = self.digest_keys.iter().zip(slots).filter(|it| *it.1 > 0);
        with_slots.fold(of_names, |digest, (key, _)| table::mix_digest(digest ^ key))
    }
}

/// What tables call the endpoints of a backend: by their address. Of several at one address the one with the
/// lowest port has this name, the next is `#1`, and so on.
pub fn places(endpoints: &[desired::Endpoint]) -> Vec<String> {
    let mut sorted: Vec<SocketAddr> = endpoints.iter().map(|it| it.address).collect();
    sorted.sort_unstable();
    let place = |endpoint: &desired::Endpoint| {
        let ip = endpoint.address.ip();
        let first = sorted.partition_point(|it| it.ip() < ip);
        match sorted.partition_point(|it| *it < endpoint.address) - first {
            0 => ip.to_string(),
            number => format!("{ip}#{number}"),
        }
    };
    endpoints.iter().map(place).collect()
}

fn hash_names(hasher: &mut blake3::Hasher, backend: &str, places: &[String]) {
    let mut word = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    word(backend);
    places.iter().for_each(|place| word(place));
    hasher.update(&u64::MAX.to_le_bytes());
}

/// The number below the first id, or the next one below that none of the ids is: then no distance is 0.
fn base(ids: &[u16]) -> u16 {
    let mut base = ids.first().copied().unwrap_or(1).wrapping_sub(1);
    while ids.contains(&base) {
        base = base.wrapping_sub(1);
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(addresses: &[&str]) -> Vec<desired::Endpoint> {
        let endpoint = |address: &&str| desired::Endpoint {
            address: address.parse().unwrap(),
            source: [10, 64, 0, 1].into(),
        };
        addresses.iter().map(endpoint).collect()
    }

    #[test]
    fn a_place_is_an_address_and_which_one_of_it() {
        let places = places(&endpoints(&[
            "10.0.0.1:90",
            "10.0.0.2:80",
            "10.0.0.1:80",
            "[fd00::1]:80",
        ]));
        assert_eq!(places, ["10.0.0.1#1", "10.0.0.2", "10.0.0.1", "fd00::1"]);
    }

    #[test]
    fn no_distance_from_the_base_is_0() {
        assert_eq!(base(&[7, 8, 9]), 6);
        assert_eq!(base(&[7, 6, 4]), 5);
        assert_eq!(base(&[1, 2]), 0);
        assert_eq!(base(&[]), 0);
    }
}
