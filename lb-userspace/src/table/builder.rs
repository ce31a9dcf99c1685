//! Building, and what is kept from one build to the next.

use std::sync::Arc;

use super::check::{Checked, by_name};
use super::fill::Fill;
use super::noise::Noise;
use super::parts::{Parts, PartsInUse, Source};
use super::{Backend, SlotCount, SlotShare, Table, TableError, hash, owners};
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
    known: Option<Known>,
    last: Option<Flat>,
}

/// The backends of the last build: they passed the check, and the parts for their endpoints are there.
#[derive(Debug, Clone)]
struct Known {
    backends: Arc<[Backend]>,
    /// Which of them stands where in the order of the names.
    order: Vec<usize>,
    columns: Arc<Columns>,
}

impl TableBuilder {
    /// A builder with nothing kept yet.
    pub fn new(seed: u64, slots: SlotCount) -> Self {
        Self {
            source: Source { seed, slots },
            parts: Parts::default(),
            known: None,
            last: None,
        }
    }

    /// The table for these backends, which may be listed in any order.
    ///
    /// # Errors
    /// See [`TableError`]; the builder stays usable.
    pub fn build(&mut self, backends: &[Backend]) -> Result<Table, TableError> {
        let weights: Vec<Weight> = backends.iter().map(|it| it.weight).collect();
        self.build_with(&backends.into(), &weights, &mut PartsInUse::default())
    }

    /// The same with these weights instead of the backends' own, and with the parts that other builders
    /// have. Where the backends are the very ones of the last build, nothing is done for them again.
    ///
    /// # Errors
    /// As [`TableBuilder::build`].
    pub fn build_with(
        &mut self,
        backends: &Arc<[Backend]>,
        weights: &[Weight],
        others: &mut PartsInUse,
    ) -> Result<Table, TableError> {
        let is_same = |known: &Known| Arc::ptr_eq(&known.backends, backends);
        let known = self.known.take().filter(is_same);
        let checked = match &known {
            Some(_) => None,
            None => Some(by_name(backends)?),
        };
        let order = known.as_ref().map(|it| it.order.clone());
        let order = order.unwrap_or_else(|| checked.iter().flatten().map(|it| it.index).collect());
        let weighted = order.iter().map(|&at| (&backends[at], weights[at]));
        let weighted: Vec<(&Backend, Weight)> = weighted.collect();
        let quotas = self.quotas(&weighted)?;
        let contenders = contenders(&quotas);
        let names: Vec<&str> = contenders
            .iter()
            .map(|&index| weighted[usize::from(index)].0.name.as_str())
            .collect();
        self.parts
            .bring_up_to_date(&self.source, checked.as_deref(), &names, others);
        let owners = self.give_out(&contenders, &names, &quotas);
        let known = known.unwrap_or_else(|| Known {
            columns: Arc::new(Columns::of(checked.iter().flatten(), &self.parts)),
            backends: Arc::clone(backends),
            order,
        });
        let flat = Flat::of(Arc::clone(&known.columns), owners, self.last.take());
        let (owners, slots) = (flat.owners.clone(), flat.slots.clone());
        let digest = hash::mix(flat.digest ^ u64::from(self.source.slots.0));
        (self.known, self.last) = (Some(known), Some(flat));
        let shares = weighted.iter().zip(quotas);
        let shares = shares.map(|(&(backend, weight), slots)| SlotShare {
            name: backend.name.clone(),
            weight,
            slots,
        });
        Ok(Table {
            slots,
            owners,
            shares: shares.collect(),
            digest,
        })
    }

    /// How many slots each backend gets.
    fn quotas(&self, backends: &[(&Backend, Weight)]) -> Result<Vec<u32>, TableError> {
        let parts: Vec<u64> = backends.iter().map(|it| it.1.parts().into()).collect();
        let sum = parts.iter().sum();
        if sum != u64::from(Weight::TOTAL) {
            return Err(TableError::WeightSum { sum });
        }
        let quotas: Vec<u32> = apportion(&parts, self.source.slots.0.into())
            .into_iter()
            .flatten()
            .map(|quota| quota as u32) // At most the slot count.
            .collect();
        for ((backend, _), &slots) in backends.iter().zip(&quotas) {
            if slots > 0 && backend.endpoints.is_empty() {
                let name = backend.name.clone();
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
    columns: Arc<Columns>,
    /// Which of the columns a slot's endpoint is of.
    owners: Vec<u8>,
    slots: Vec<u16>,
    /// A sum, not a chain: each term depends on the slot, and none on another.
    digest: u64,
}

impl Flat {
    /// Where only owners differ from what was there before, only their slots are looked at: the columns of many
    /// backends are larger than a processor's caches.
    fn of(columns: Arc<Columns>, owners: Vec<u8>, before: Option<Self>) -> Self {
        let term = |id: u16, slot: usize| hash::stream(columns.keys[usize::from(id)], slot);
        let (mut slots, mut digest) = (Vec::new(), 0_u64);
        match before {
            Some(before) if before.columns == columns && before.owners.len() == owners.len() => {
                (slots, digest) = (before.slots, before.digest);
                let both = before.owners.iter().zip(&owners).enumerate();
                for (slot, (_, &owner)) in both.filter(|(_, (old, new))| old != new) {
                    let id = columns.id(owner, slot);
                    let old = std::mem::replace(&mut slots[slot], id);
                    digest = digest
                        .wrapping_sub(term(old, slot))
                        .wrapping_add(term(id, slot));
                }
            }
            _ => slots.extend(owners.iter().enumerate().map(|(slot, &owner)| {
                let id = columns.id(owner, slot);
                digest = digest.wrapping_add(term(id, slot));
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

/// The second level of all backends, ready to be read.
#[derive(Debug)]
struct Columns {
    /// By the backends' names.
    all: Vec<Column>,
    /// What stands for each endpoint in a digest, by id.
    keys: Vec<u64>,
}

/// The second level of one backend.
#[derive(Debug)]
struct Column {
    fill: Arc<Fill>,
    /// Of each endpoint, by address.
    ids: Vec<u16>,
}

impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        // With the same ids at the same addresses the keys are the same.
        self.all == other.all
    }
}

impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fill, &other.fill) && self.ids == other.ids
    }
}

impl Columns {
    fn of<'a>(backends: impl Iterator<Item = &'a Checked<'a>>, parts: &Parts) -> Self {
        let (mut all, mut keys) = (Vec::new(), Vec::new());
        for (backend, fill) in backends.zip(parts.fills.values()) {
            let ids: Vec<u16> = backend.endpoints.iter().map(|it| it.id).collect();
            for (&id, &key) in ids.iter().zip(fill.digest_keys()) {
                let id = usize::from(id);
                keys.resize(keys.len().max(id + 1), 0);
                keys[id] = key;
            }
            let fill = Arc::clone(fill);
            all.push(Column { fill, ids });
        }
        Self { all, keys }
    }

    /// The endpoint of a slot that this backend has.
    fn id(&self, owner: u8, slot: usize) -> u16 {
        let Column { fill, ids } = &self.all[usize::from(owner)];
        ids[fill.endpoint(slot)]
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
