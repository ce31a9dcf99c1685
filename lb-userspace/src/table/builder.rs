//! Building, and what is kept from one build to the next.

use super::check::{Checked, by_name_with};
use super::fill::Fill;
use super::noise::Noise;
use super::parts::{Parts, PartsInUse, Source};
use super::{Backend, Endpoint, SlotCount, SlotShare, Table, TableError, hash, owners};
use crate::weights::{Weight, apportion};

/// Builds the tables of a service, and keeps what does not depend on weights.
///
/// Kept: 2 bytes a slot for each backend with more than one endpoint; 2 bytes a slot for a pair of
/// backends, or 4 bytes a slot for each of more. A build never depends on what was built before.
#[derive(Debug, Clone)]
pub struct TableBuilder {
    source: Source,
    parts: Parts,
}

impl TableBuilder {
    /// A builder with nothing kept yet.
    pub fn new(seed: u64, slots: SlotCount) -> Self {
        Self {
            source: Source { seed, slots },
            parts: Parts::default(),
        }
    }

    /// The table for these backends, which may be listed in any order.
    ///
    /// # Errors
    /// See [`TableError`]; the builder stays usable.
    pub fn build(&mut self, backends: &[Backend]) -> Result<Table, TableError> {
        let weights: Vec<Weight> = backends.iter().map(|it| it.weight).collect();
        self.build_with(backends, &weights, &mut PartsInUse::default())
    }

    /// The same with these weights instead of the backends' own, and with the parts that other builders
    /// have.
    ///
    /// # Errors
    /// As [`TableBuilder::build`].
    pub fn build_with(
        &mut self,
        backends: &[Backend],
        weights: &[Weight],
        others: &mut PartsInUse,
    ) -> Result<Table, TableError> {
        let backends = by_name_with(backends, weights)?;
        let quotas = self.quotas(&backends)?;
        let contenders = contenders(&quotas);
        let names: Vec<&str> = contenders
            .iter()
            .map(|&index| backends[usize::from(index)].name)
            .collect();
        self.parts
            .bring_up_to_date(&self.source, &backends, &names, others);
        let owners = self.give_out(&contenders, &names, &quotas);
        let (slots, digest) = self.flatten(&backends, &owners);
        let shares = backends
            .iter()
            .zip(quotas)
            .map(|(backend, slots)| SlotShare {
                name: backend.name.to_owned(),
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
    fn quotas(&self, backends: &[Checked<'_>]) -> Result<Vec<u32>, TableError> {
        let parts: Vec<u64> = backends.iter().map(|b| b.weight.parts().into()).collect();
        let sum = parts.iter().sum();
        if sum != u64::from(Weight::TOTAL) {
            return Err(TableError::WeightSum { sum });
        }
        let quotas: Vec<u32> = apportion(&parts, self.source.slots.0.into())
            .into_iter()
            .flatten()
            .map(|quota| quota as u32) // At most the slot count.
            .collect();
        for (backend, &slots) in backends.iter().zip(&quotas) {
            if slots > 0 && backend.endpoints.is_empty() {
                let name = backend.name.to_owned();
                return Err(TableError::NoEndpoint { name, slots });
            }
        }
        Ok(quotas)
    }

    /// The first level: gives each slot an owner, an index into `quotas`.
    fn give_out(&self, contenders: &[u8], names: &[&str], quotas: &[u32]) -> Vec<u8> {
        let quota = |&index: &u8| quotas[usize::from(index)];
        if let [one] = *contenders {
            return vec![one; self.source.slots.get()];
        }
        if let ([first, second], Some(order)) = (contenders, &self.parts.order) {
            return order.give_out(*first, *second, quota(first));
        }
        let noise: Vec<&Noise> = self.parts.noise.values().map(|it| &**it).collect();
        let quotas: Vec<u32> = contenders.iter().map(quota).collect();
        let ranked = self.parts.rank.as_ref().map(|rank| rank.among(names));
        let mut owners = owners::give_out(&noise, &quotas, ranked.as_ref());
        for owner in &mut owners {
            *owner = contenders[usize::from(*owner)];
        }
        owners
    }

    /// One lookup out of two: the endpoint id of each slot, and the digest.
    fn flatten(&self, backends: &[Checked<'_>], owners: &[u8]) -> (Vec<u16>, u64) {
        let columns: Vec<Column> = backends
            .iter()
            .zip(self.parts.fills.values())
            .map(|(backend, fill)| Column::of(&backend.endpoints, fill))
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
        (slots, hash::mix(digest ^ u64::from(self.source.slots.0)))
    }
}

/// The second level of one backend, ready to be read.
struct Column<'a> {
    fill: &'a Fill,
    /// Id and digest key of each endpoint, by address.
    endpoints: Vec<(u16, u64)>,
}

impl<'a> Column<'a> {
    fn of(endpoints: &[&Endpoint], fill: &'a Fill) -> Self {
        let ids = endpoints.iter().map(|endpoint| endpoint.id);
        let endpoints = ids.zip(fill.digest_keys().iter().copied()).collect();
        Self { fill, endpoints }
    }

    fn at(&self, slot: usize) -> (u16, u64) {
        self.endpoints[self.fill.endpoint(slot)]
    }
}

/// The backends, by index, to which slots may go.
fn contenders(quotas: &[u32]) -> Vec<u8> {
    (0..=u8::MAX)
        .zip(quotas)
        // Of two, both are ordered even while one has nothing: it is about to.
        .filter(|&(_, &quota)| quota > 0 || quotas.len() == 2)
        .map(|(index, _)| index)
        .collect()
}
