//! Building the tables of the wanted services, and telling what moved.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use anyhow::{Result, ensure};
use lb_common::record::TableRef;

use super::rules::Known;
use super::shape::{Groups, Shape};
use super::{Image, Prefixes, Slots};
use crate::desired::{Rule, Scheduling, Service};
use crate::table::{self, PartsInUse, SlotCount, Table, TableBuilder};
use crate::weights::Weight;

/// What was built before: it saves building it again, and no table depends on it.
#[derive(Debug, Default)]
pub struct Tables {
    /// By service and size: those of rules may be smaller than the service's own.
    builders: HashMap<(String, SlotCount), (u64, TableBuilder)>,
    parts: PartsInUse,
    known: HashMap<blake3::Hash, Weak<Content>>,
    /// By service.
    rules: HashMap<String, Known>,
}

/// A table, whoever has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Content {
    /// Endpoint ids less a base.
    pub slots: Slots,
    /// Slots of each backend, in the order of the names.
    shares: Vec<u32>,
    /// Of the names.
    digest: u64,
}

/// What was built for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The table; services may share it.
    pub table: Arc<Content>,
    /// What is added to a slot to make it an endpoint id.
    pub base: u16,
    /// Slots of each backend, in the service's order.
    pub backend_slots: Vec<u32>,
    /// Slots whose backend changed; 0 where flows take turns.
    pub moved: u32,
    /// Equal on two nodes when, and but for chance only when, their backends with slots have the same
    /// endpoints and each slot names the same one.
    pub digest: u64,
}

/// Everything but backends that a table depends on.
#[derive(Clone, Copy, Debug)]
struct Size {
    seed: u64,
    scheduling: Scheduling,
    slots: u32,
    /// The service's own table, and not a rule's. The table does not depend on it.
    is_own: bool,
}

impl Tables {
    /// Builds a service's table; `before` is the one in force, as in a record.
    pub(super) fn build(
        &mut self,
        seed: u64,
        service: &Service,
        (shape, groups): (&Shape, &Groups),
        before: u64,
        image: &Image,
    ) -> Result<Built> {
        let scheduling = service.selection.scheduling;
        let size = Size {
            seed,
            scheduling,
            slots: service.slots,
            is_own: true,
        };
        let weights: Vec<Weight> = service.backends.iter().map(|it| it.weight).collect();
        let weights: Vec<Weight> = shape.sorted(&weights).collect();
        let table = self.table(size, &service.name, groups, &weights)?;
        // A turn is no flow's own: an order that changes moves nobody.
        let before = (scheduling == Scheduling::Hash).then_some(before);
        Ok(Built {
            backend_slots: shape.as_listed(&table.shares),
            moved: before.map_or(Ok(0), |word| moved(word, &table.slots, groups.base, image))?,
            digest: shape.digest(table.digest, &table.shares),
            base: groups.base,
            table,
        })
    }

    /// Builds the tables of a service's rules, or takes those of the last time.
    pub(super) fn build_rules<'a>(
        &mut self,
        seed: u64,
        service: &Service,
        (shape, groups): (&Shape, &Groups),
        rules: impl Iterator<Item = &'a Rule>,
    ) -> Result<Vec<Slots>> {
        let mut all = Vec::new();
        for rule in rules {
            let size = Size {
                seed,
                scheduling: service.selection.scheduling,
                slots: rule.slots(service),
                is_own: false,
            };
            let weights: Vec<Weight> = shape.sorted(&rule.weights).collect();
            all.push(self.table(size, &service.name, groups, &weights)?);
        }
        let slots = all.iter().map(|table| table.slots.clone()).collect();
        let known = self.rules.entry(service.name.clone()).or_default();
        known.tables = all;
        Ok(slots)
    }

    /// The table of these weights, in the order of the groups: one that somebody has, or a new one.
    fn table(
        &mut self,
        size: Size,
        service: &str,
        groups: &Groups,
        weights: &[Weight],
    ) -> Result<Arc<Content>> {
        let recipe = recipe(size, groups, weights);
        if let Some(known) = self.known.get(&recipe).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let table = Arc::new(self.make(size, service, groups, weights)?);
        self.known.insert(recipe, Arc::downgrade(&table));
        Ok(table)
    }

    fn make(
        &mut self,
        size: Size,
        service: &str,
        groups: &Groups,
        weights: &[Weight],
    ) -> Result<Content> {
        let mut shared = (0..).zip(weights).filter(|it| !it.1.is_zero());
        let only = match (shared.next(), shared.next()) {
            (Some((only, _)), None) => Some(only),
            _ => None,
        };
        if size.slots == 1 {
            // A rule's, to one endpoint.
            let ids = only
                .into_iter()
                .flat_map(|it| &groups.backends[it].endpoints);
            return Ok(Content {
                slots: ids.map(|it| it.id).take(1).collect::<Vec<_>>().into(),
                shares: Vec::new(),
                digest: 0,
            });
        }
        let slots = SlotCount::try_from(size.slots)?;
        if let Some(only) = only.filter(|_| !size.is_own) {
            return of_one(size, slots, groups, only);
        }
        let table = match size.scheduling {
            Scheduling::Hash => {
                let entry = self.builders.entry((service.to_owned(), slots));
                let new = || TableBuilder::new(size.seed, slots);
                let (of_seed, builder) = entry.or_insert_with(|| (size.seed, new()));
                if *of_seed != size.seed {
                    (*of_seed, *builder) = (size.seed, new());
                }
                builder.build_with(&groups.backends, weights, &mut self.parts)?
            }
            Scheduling::Exact => {
                let mut backends = groups.backends.to_vec();
                for (backend, &weight) in backends.iter_mut().zip(weights) {
                    backend.weight = weight;
                }
                Table::deal(slots, &backends)?
            }
        };
        Ok(Content {
            shares: table.shares().iter().map(|share| share.slots).collect(),
            digest: table.digest(),
            slots: table.into_slots().into(),
        })
    }

    /// The prefixes of the service's rules, which have these numbers.
    pub(super) fn prefixes(
        &mut self,
        service: &Service,
        rules: &Arc<[Rule]>,
        numbers: &[u32],
    ) -> Arc<Prefixes> {
        if rules.is_empty() {
            self.rules.remove(&service.name);
            return Arc::default();
        }
        let known = self.rules.entry(service.name.clone()).or_default();
        known.prefixes(rules, numbers)
    }

    /// Forgets services that are wanted no more, and tables that nobody has.
    pub fn keep_only(&mut self, services: &[Service]) {
        let kept: HashMap<&str, &Service> = services.iter().map(|it| (&*it.name, it)).collect();
        self.builders.retain(|(name, slots), _| {
            let mut has_size = kept.get(&**name).into_iter().flat_map(|service| {
                let rules = service.selection.rules.iter();
                rules.map(|rule| rule.slots(service)).chain([service.slots])
            });
            has_size.any(|size| size == u32::from(*slots))
        });
        self.rules.retain(|name, _| kept.contains_key(&**name));
        self.known.retain(|_, table| table.strong_count() > 0);
    }
}

/// A rule's table that names one backend: not worth having the others' parts of that size.
fn of_one(size: Size, slots: SlotCount, groups: &Groups, only: usize) -> Result<Content> {
    let backend = table::Backend {
        weight: Weight::ALL,
        ..groups.backends[only].clone()
    };
    let table = match size.scheduling {
        Scheduling::Hash => Table::build(size.seed, slots, &[backend])?,
        Scheduling::Exact => Table::deal(slots, &[backend])?,
    };
    let mut shares = vec![0; groups.backends.len()];
    shares[only] = table.slots().len() as u32;
    Ok(Content {
        shares,
        digest: table.digest(),
        slots: table.slots().to_vec().into(),
    })
}

/// Equal where tables are, but for chance.
fn recipe(size: Size, groups: &Groups, weights: &[Weight]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&size.seed.to_le_bytes());
    hasher.update(&size.slots.to_le_bytes());
    hasher.update(size.scheduling.name().as_bytes());
    hasher.update(groups.print.as_bytes());
    for weight in weights {
        hasher.update(&weight.parts().to_le_bytes());
    }
    hasher.finalize()
}

/// Slots whose backend differs. Tables of different sizes are compared at the larger's slots: the slot
/// of a flow in the smaller one is the lower bits of that in the larger.
fn moved(before: u64, after: &Slots, base: u16, image: &Image) -> Result<u32> {
    let Some(old) = image.slots(before) else {
        return Ok(0);
    };
    let base_before = TableRef::from_word(before).base;
    if old == after && base_before == base {
        return Ok(0);
    }
    // By id: most slots have the endpoint they had, but looking up those of the others in the image takes longer
    // than going through all endpoints once.
    let mut backends = vec![None; 1 << u16::BITS];
    for (&id, record) in &*image.endpoints {
        backends[usize::from(id)] = Some(record.backend);
    }
    let backend = |slot: u16, base: u16| -> Result<Option<u16>> {
        if slot == 0 {
            return Ok(None);
        }
        let id = base.wrapping_add(slot);
        let backend = backends[usize::from(id)];
        ensure!(backend.is_some(), "endpoint {id} has no record");
        Ok(backend)
    };
    let mut count = 0;
    // Sizes are powers of two.
    let lower_bits = |slots: &Slots| slots.len() - 1;
    for at in 0..old.len().max(after.len()) {
        let (one, other) = (old[at & lower_bits(old)], after[at & lower_bits(after)]);
        if one != other || base_before != base {
            count += u32::from(backend(one, base_before)? != backend(other, base)?);
        }
    }
    Ok(count)
}
