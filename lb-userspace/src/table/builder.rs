//! Building, and what is kept from one build to the next.

use std::collections::BTreeMap;

use super::check::by_name;
use super::fill::Fill;
use super::noise::Noise;
use super::owners::{self, PairOrder};
use super::{Backend, SlotCount, SlotShare, Table, TableError, hash};
use crate::weights::{Weight, apportion};

/// Builds the tables of one service, and keeps what does not depend on weights.
///
/// Kept: 2 bytes a slot for each backend with more than one endpoint; 2 bytes a slot for a pair of
/// backends, or 4 bytes a slot for each of more. A build never depends on what was built before.
#[derive(Debug, Clone)]
pub struct TableBuilder {
    seed: u64,
    service: Vec<u8>,
    slots: SlotCount,
    fills: BTreeMap<String, Fill>,
    noise: BTreeMap<String, Noise>,
    pair: Option<PairOrder>,
}

impl TableBuilder {
    /// A builder with nothing kept yet. `service` is what names the service on every node: address,
    /// port and protocol.
    pub fn new(seed: u64, service: &[u8], slots: SlotCount) -> Self {
        Self {
            seed,
            service: service.to_owned(),
            slots,
            fills: BTreeMap::new(),
            noise: BTreeMap::new(),
            pair: None,
        }
    }

    /// The table for these backends, which may be listed in any order.
    ///
    /// # Errors
    /// See [`TableError`]; the builder stays usable.
    pub fn build(&mut self, backends: &[Backend]) -> Result<Table, TableError> {
        let backends = by_name(backends)?;
        let quotas = self.quotas(&backends)?;
        self.fill(&backends);
        let owners = self.give_out(&backends, &quotas);
        let (slots, digest) = self.flatten(&backends, &owners);
        let shares = backends
            .iter()
            .zip(quotas)
            .map(|(backend, slots)| SlotShare {
                name: backend.name.clone(),
                weight: backend.weight,
                slots,
            })
            .collect();
        Ok(Table {
            slots,
            owners,
            shares,
            digest,
        })
    }

    /// How many slots each backend gets.
    fn quotas(&self, backends: &[&Backend]) -> Result<Vec<u32>, TableError> {
        let parts: Vec<u64> = backends.iter().map(|b| b.weight.parts().into()).collect();
        let sum = parts.iter().sum();
        if sum != u64::from(Weight::TOTAL) {
            return Err(TableError::WeightSum { sum });
        }
        let quotas: Vec<u32> = apportion(&parts, self.slots.0.into())
            .into_iter()
            .flatten()
            .map(|quota| quota as u32) // At most the slot count.
            .collect();
        for (backend, &slots) in backends.iter().zip(&quotas) {
            if slots > 0 && backend.endpoints.is_empty() {
                let name = backend.name.clone();
                return Err(TableError::NoEndpoint { name, slots });
            }
        }
        Ok(quotas)
    }

    /// Brings the second level up to date. Backends without slots too: theirs is the next
    /// weight to be raised.
    fn fill(&mut self, backends: &[&Backend]) {
        let mut kept = std::mem::take(&mut self.fills);
        for backend in backends {
            let addresses = sorted_addresses(backend);
            let fill = match kept.remove(&backend.name) {
                Some(fill) if fill.is_of(&addresses) => fill,
                _ => Fill::of(self.seed, &self.service, self.slots, &addresses),
            };
            self.fills.insert(backend.name.clone(), fill);
        }
    }

    /// The first level: gives each slot an owner, an index into `backends`.
    fn give_out(&mut self, backends: &[&Backend], quotas: &[u32]) -> Vec<u8> {
        // Of two, both are ordered even while one has nothing: it is about to.
        let contenders: Vec<u8> = (0..=u8::MAX)
            .zip(quotas)
            .filter(|&(_, &quota)| quota > 0 || quotas.len() == 2)
            .map(|(index, _)| index)
            .collect();
        if let [one] = contenders[..] {
            return vec![one; self.slots.get()];
        }
        if let [first, second] = contenders[..] {
            let of = |index: u8| backends[usize::from(index)].name.as_str();
            let order = self.order(of(first), of(second));
            return order.give_out(first, second, quotas[usize::from(first)]);
        }
        self.draw(contenders.iter().map(|&i| &*backends[usize::from(i)].name));
        let noise: Vec<&Noise> = self.noise.values().collect();
        let quotas: Vec<u32> = contenders.iter().map(|&i| quotas[usize::from(i)]).collect();
        let mut owners = owners::give_out(&noise, &quotas);
        for owner in &mut owners {
            *owner = contenders[usize::from(*owner)];
        }
        owners
    }

    fn order(&mut self, first: &str, second: &str) -> &PairOrder {
        self.noise.clear();
        let kept = self.pair.take().filter(|order| order.is_of(first, second));
        let order = kept.unwrap_or_else(|| {
            let noise = |name| Noise::draw(self.seed, &self.service, name, self.slots);
            PairOrder::of((first, &noise(first)), (second, &noise(second)))
        });
        self.pair.insert(order)
    }

    /// Makes the kept noise that of exactly these backends.
    fn draw<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        self.pair = None;
        let mut kept = std::mem::take(&mut self.noise);
        for name in names {
            let noise = kept
                .remove(name)
                .unwrap_or_else(|| Noise::draw(self.seed, &self.service, name, self.slots));
            self.noise.insert(name.to_owned(), noise);
        }
    }

    /// One lookup out of two: the endpoint id of each slot, and the digest.
    fn flatten(&self, backends: &[&Backend], owners: &[u8]) -> (Vec<u16>, u64) {
        let columns: Vec<Column> = backends
            .iter()
            .zip(self.fills.values())
            .map(|(backend, fill)| Column::of(backend, fill))
            .collect();
        let mut digest = 0;
        let slots = owners
            .iter()
            .enumerate()
            .map(|(slot, &owner)| {
                let (id, key) = columns[usize::from(owner)].at(slot);
                // A sum, not a chain: each term depends on the slot, and none waits for another.
                digest = hash::stream(key, slot).wrapping_add(digest);
                id
            })
            .collect();
        (slots, hash::mix(digest ^ u64::from(self.slots.0)))
    }
}

/// The second level of one backend, ready to be read.
struct Column<'a> {
    fill: &'a Fill,
    /// Id and digest key of each endpoint, by address.
    endpoints: Vec<(u16, u64)>,
}

impl<'a> Column<'a> {
    fn of(backend: &Backend, fill: &'a Fill) -> Self {
        let by_address: BTreeMap<&str, u16> = backend
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.address.as_str(), endpoint.id))
            .collect();
        let endpoints = by_address
            .into_iter()
            .map(|(address, id)| (id, hash::key(0, &[b"digest", address.as_bytes()])))
            .collect();
        Self { fill, endpoints }
    }

    fn at(&self, slot: usize) -> (u16, u64) {
        self.endpoints[self.fill.endpoint(slot)]
    }
}

fn sorted_addresses(backend: &Backend) -> Vec<&str> {
    let mut addresses: Vec<&str> = backend.endpoints.iter().map(|e| &*e.address).collect();
    addresses.sort_unstable();
    addresses
}
