//! Building the tables of the wanted services, and telling what moved.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::{Image, Slots};
use crate::desired::{Protocol, Scheduling, Service};
use crate::table::{self, SlotCount, Table, TableBuilder};

/// The builders of all services. They keep what does not depend on weights.
#[derive(Debug, Default)]
pub struct Tables {
    builders: BTreeMap<Vec<u8>, (u64, SlotCount, TableBuilder)>,
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
        let mut ids = ids.iter().copied();
        let backends: Vec<table::Backend> = service
            .backends
            .iter()
            .map(|backend| table::Backend {
                name: backend.name.clone(),
                weight: backend.weight,
                endpoints: backend
                    .endpoints
                    .iter()
                    .zip(&mut ids)
                    .map(|(e, id)| table::Endpoint {
                        address: e.address.to_string(),
                        id,
                    })
                    .collect(),
            })
            .collect();
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
    }
}

/// What names a service on every node. Part of what the table is made of: it never changes.
fn key(service: &Service) -> Vec<u8> {
    let protocol = match service.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{}/{protocol}", service.address).into_bytes()
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
