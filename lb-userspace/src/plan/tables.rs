//! Building the tables of the wanted services, and telling what moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::rules::{Ingredients, Known};
use super::{Image, Prefixes, Slots};
use crate::desired::{Backend, Ports, Protocol, Rule, Scheduling, Service};
use crate::table::{self, SlotCount, Table, TableBuilder};
use crate::weights::Weight;

/// The builders of all services. They keep what does not depend on weights.
#[derive(Debug, Default)]
pub struct Tables {
    builders: BTreeMap<Vec<u8>, (u64, SlotCount, TableBuilder)>,
    rules: BTreeMap<Vec<u8>, Known>,
}

/// What was built for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// Endpoint id of each slot.
    pub slots: Slots,
    /// Slots of each backend, in the service's order.
    pub backend_slots: Vec<u32>,
    /// Slots whose backend changed; 0 where flows take turns.
    pub moved: u32,
    /// [`table::Table::digest`].
    pub digest: u64,
}

impl Tables {
    /// Builds a service's table. `ids` are those of all its endpoints, in order; `before` is the table
    /// in force.
    pub(super) fn build(
        &mut self,
        seed: u64,
        service: &Service,
        ids: &[u16],
        before: Option<&Slots>,
        image: &Image,
    ) -> Result<Built> {
        let slots = SlotCount::try_from(service.slots)?;
        let weights = service.backends.iter().map(|backend| backend.weight);
        let backends = backends(service, ids, weights);
        let table = match service.selection.scheduling {
            Scheduling::Hash => self.builder(seed, service, slots).build(&backends)?,
            Scheduling::Exact => Table::deal(slots, &backends)?,
        };
        let slots_of = |name: &str| table.shares().iter().find(|s| s.name == name);
        let backend_slots = service
            .backends
            .iter()
            .map(|b| slots_of(&b.name).map_or(0, |share| share.slots))
            .collect();
        // A turn is no flow's own: an order that changes moves nobody.
        let before = before.filter(|_| service.selection.scheduling == Scheduling::Hash);
        Ok(Built {
            slots: table.slots().to_vec(),
            backend_slots,
            moved: before.map_or(Ok(0), |before| moved(before, table.slots(), image))?,
            digest: table.digest(),
        })
    }

    /// Builds the tables of a service's rules, or takes those of the last time.
    pub(super) fn build_rules<'a>(
        &mut self,
        seed: u64,
        service: &Service,
        ids: &[u16],
        rules: impl Iterator<Item = &'a Rule>,
    ) -> Result<Vec<Slots>> {
        let mut all = Vec::new();
        let known = self.rules.entry(key(service)).or_default();
        let mut now = Vec::new();
        for rule in rules {
            let of = Ingredients {
                seed,
                scheduling: service.selection.scheduling,
                slots: rule.slots(service),
                backends: backends(service, ids, rule.weights.iter().copied()),
            };
            let slots = match known.built.iter().find(|(known, _)| *known == of) {
                Some((_, slots)) => slots.clone(),
                None => rule_slots(service, &of)?,
            };
            all.push(slots.clone());
            now.push((of, slots));
        }
        known.built = now;
        Ok(all)
    }

    /// The prefixes of the service's rules, which have these numbers.
    pub(super) fn prefixes(
        &mut self,
        service: &Service,
        rules: &Arc<[Rule]>,
        numbers: &[u32],
    ) -> Arc<Prefixes> {
        if rules.is_empty() {
            self.rules.remove(&key(service));
            return Arc::default();
        }
        let known = self.rules.entry(key(service)).or_default();
        known.prefixes(rules, numbers)
    }

    fn builder(&mut self, seed: u64, service: &Service, slots: SlotCount) -> &mut TableBuilder {
        let key = key(service);
        let entry = self.builders.entry(key.clone());
        let (of_seed, of_slots, builder) =
            entry.or_insert_with(|| (seed, slots, TableBuilder::new(seed, &key, slots)));
        if (*of_seed, *of_slots) != (seed, slots) {
            (*of_seed, *of_slots, *builder) = (seed, slots, TableBuilder::new(seed, &key, slots));
        }
        builder
    }

    /// Forgets services that are wanted no more.
    pub fn keep_only(&mut self, services: &[Service]) {
        let kept: Vec<Vec<u8>> = services.iter().map(key).collect();
        self.builders.retain(|key, _| kept.contains(key));
        self.rules.retain(|key, _| kept.contains(key));
    }
}

/// The table of a rule.
fn rule_slots(service: &Service, of: &Ingredients) -> Result<Slots> {
    let mut shared = of.backends.iter().filter(|it| !it.weight.is_zero());
    let backends = match (shared.next(), shared.next()) {
        (Some(only), None) => std::slice::from_ref(only),
        _ => &of.backends,
    };
    if let (1, [only]) = (of.slots, backends) {
        return Ok(only.endpoints.iter().map(|it| it.id).take(1).collect());
    }
    let slots = SlotCount::try_from(of.slots)?;
    let table = match of.scheduling {
        // Drawn as the service's own: who gets `new` at a lower weight gets it at a higher one too,
        // whether by a rule or not.
        Scheduling::Hash => Table::build(of.seed, &key(service), slots, backends)?,
        Scheduling::Exact => Table::deal(slots, backends)?,
    };
    Ok(table.slots().to_vec())
}

/// A service's backends with these weights. `ids` are those of all its endpoints, in order.
fn backends(
    service: &Service,
    ids: &[u16],
    weights: impl Iterator<Item = Weight>,
) -> Vec<table::Backend> {
    let mut ids = ids.iter().copied();
    let named = |(backend, weight): (&Backend, Weight)| table::Backend {
        name: backend.name.clone(),
        weight,
        endpoints: backend
            .endpoints
            .iter()
            .zip(&mut ids)
            .map(|(e, id)| table::Endpoint {
                address: e.address.to_string(),
                id,
            })
            .collect(),
    };
    service.backends.iter().zip(weights).map(named).collect()
}

/// What names a service on every node. Part of what the table is made of: it never changes.
fn key(service: &Service) -> Vec<u8> {
    let protocol = match service.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    // A range goes by its first port: with more or fewer ports it keeps its table.
    let range = match service.ports {
        Ports::One => "",
        Ports::To(_) => "-",
    };
    format!("{}{range}/{protocol}", service.address).into_bytes()
}

/// Slots whose backend differs. Tables of different sizes are compared at the larger's slots: the slot
/// of a flow in the smaller one is the lower bits of that in the larger.
fn moved(before: &Slots, after: &[u16], image: &Image) -> Result<u32> {
    let backend = |id: u16| {
        let record = image.endpoints.get(&id);
        record
            .map(|record| record.backend)
            .with_context(|| format!("endpoint {id} has no record"))
    };
    let slots = before.len().max(after.len());
    let mut backends: BTreeMap<u16, u16> = BTreeMap::new();
    let mut count = 0;
    for slot in 0..slots {
        let (one, other) = (before[slot % before.len()], after[slot % after.len()]);
        if one == other {
            continue;
        }
        let mut of = |id| -> Result<u16> {
            if let Some(&known) = backends.get(&id) {
                return Ok(known);
            }
            let found = backend(id)?;
            backends.insert(id, found);
            Ok(found)
        };
        if of(one)? != of(other)? {
            count += 1;
        }
    }
    Ok(count)
}
