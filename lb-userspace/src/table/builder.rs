//! Building, and what is kept from one build to the next.

use std::sync::Arc;

use super::check::{Checked, by_name_with};
use super::fill::Fill;
use super::noise::Noise;
use super::parts::{Parts, PartsInUse, Source};
use super::{Backend, Endpoint, SlotCount, SlotShare, Table, TableError, hash, owners};
use crate::weights::{Weight, apportion};

/// Builds the tables of a service, and keeps what does not depend on weights.
///
/// Kept: 2 bytes a slot for each backend with more than one endpoint; 2 bytes a slot for a pair of
/// backends, or 4 bytes a slot for each of more; 3 bytes a slot for the last table. What comes of a build never
/// depends on what was built before, only how long it takes.
#[derive(Debug, Clone)]
pub struct TableBuilder {
    source: Source,
    parts: Parts,
    last: Option<Flat>,
}

impl TableBuilder {
    /// A builder with nothing kept yet.
    pub fn new(seed: u64, slots: SlotCount) -> Self {
        Self {
            source: Source { seed, slots },
            parts: Parts::default(),
            last: None,
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
        let columns = backends.iter().zip(self.parts.fills.values());
        let columns = columns
            .map(|(backend, fill)| Column::of(&backend.endpoints, fill))
            .collect();
        let flat = Flat::of(columns, owners, self.last.take());
        let (owners, slots) = (flat.owners.clone(), flat.slots.clone());
        let digest = hash::mix(flat.digest ^ u64::from(self.source.slots.0));
        self.last = Some(flat);
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
}

/// One lookup out of two: the endpoint id of each slot.
#[derive(Debug, Clone)]
struct Flat {
    columns: Vec<Column>,
    /// Which of the columns a slot's endpoint is of.
    owners: Vec<u8>,
    slots: Vec<u16>,
    /// A sum, not a chain: each term depends on the slot, and none on another.
    digest: u64,
}

impl Flat {
    /// Where only owners differ from what was there before, only their slots are looked at: the columns of many
    /// backends are larger than a processor's caches.
    fn of(columns: Vec<Column>, owners: Vec<u8>, before: Option<Self>) -> Self {
        let term = |owner: u8, slot: usize| {
            let (id, key) = columns[usize::from(owner)].at(slot);
            (id, hash::stream(key, slot))
        };
        let (mut slots, mut digest) = (Vec::new(), 0_u64);
        match before {
            Some(before) if before.columns == columns && before.owners.len() == owners.len() => {
                (slots, digest) = (before.slots, before.digest);
                let both = before.owners.iter().zip(&owners).enumerate();
                for (slot, (&old, &new)) in both.filter(|(_, (old, new))| old != new) {
                    let ((_, old), (id, new)) = (term(old, slot), term(new, slot));
                    digest = digest.wrapping_sub(old).wrapping_add(new);
                    slots[slot] = id;
                }
            }
            _ => slots.extend(owners.iter().enumerate().map(|(slot, &owner)| {
                let (id, term) = term(owner, slot);
                digest = digest.wrapping_add(term);
                id
            })),
        }
        Self {
            columns,
            owners,
            slots,
            digest,
        }
    }
}

/// The second level of one backend, ready to be read.
#[derive(Debug, Clone)]
struct Column {
    fill: Arc<Fill>,
    /// Id and digest key of each endpoint, by address.
    endpoints: Vec<(u16, u64)>,
}

impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fill, &other.fill) && self.endpoints == other.endpoints
    }
}

impl Column {
    fn of(endpoints: &[&Endpoint], fill: &Arc<Fill>) -> Self {
        let ids = endpoints.iter().map(|endpoint| endpoint.id);
        let endpoints = ids.zip(fill.digest_keys().iter().copied()).collect();
        Self {
            fill: Arc::clone(fill),
            endpoints,
        }
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
