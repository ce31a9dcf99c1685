//! Which ids services and endpoints have: those they had, or new ones.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use lb_common::limits;
use lb_common::record::Endpoint;

use super::ids::{FreeIds, Seats};
use super::shape::Shape;
use super::{Numbers, Placed, Placing, Planner, Write, identity, record_of};
use crate::desired::{Backend, Desired, Service};

/// The ids of a wanted service.
pub(super) struct Seat {
    /// Its own.
    pub(super) id: u16,
    /// It was not there.
    pub(super) is_new: bool,
    /// Those of its endpoints.
    pub(super) placing: Arc<Placing>,
    /// What the last plan knew of it, if its endpoints are the same.
    pub(super) placed: Option<Arc<Placed>>,
}

/// A seat before all its endpoints have ids.
struct Empty {
    id: u16,
    is_new: bool,
    placed: Option<Arc<Placed>>,
    /// As the endpoints are listed.
    ids: Vec<Option<u16>>,
}

impl Planner {
    /// The ids of all wanted services. Frees those of endpoints that nothing names any more, and writes the
    /// records of new ones.
    pub(super) fn seats(&mut self, desired: &Desired, on_flows: &Numbers) -> Result<Vec<Seat>> {
        let names = self.backend_names();
        let mut known = None;
        let mut seats = Vec::new();
        for service in &desired.services {
            let seat = self
                .known_seat(service, &names, &mut known)
                .with_context(|| format!("service {}", service.name))?;
            seats.push(seat);
        }
        self.free(&seats, on_flows);
        let is_missing = |seat: &Empty| seat.ids.iter().any(Option::is_none);
        let mut shapes: Vec<Option<Shape>> = seats.iter().map(|_| None).collect();
        if seats.iter().any(is_missing) {
            for ((seat, service), shape) in seats.iter().zip(&desired.services).zip(&mut shapes) {
                *shape = seat.placed.is_none().then(|| Shape::of(service));
            }
            self.fill(&mut seats, &shapes, &desired.services)?;
        }
        let services = desired.services.iter();
        let whole = seats.into_iter().zip(shapes).zip(services);
        Ok(whole
            .map(|((seat, shape), service)| {
                let placing = match &seat.placed {
                    Some(placed) => placed.endpoints.clone(),
                    None => {
                        let shape = shape.unwrap_or_else(|| Shape::of(service));
                        let ids: Vec<u16> = seat.ids.into_iter().flatten().collect();
                        let groups = shape.groups(&ids);
                        Arc::new(Placing { ids, shape, groups })
                    }
                };
                Seat {
                    id: seat.id,
                    is_new: seat.is_new,
                    placing,
                    placed: seat.placed,
                }
            })
            .collect())
    }

    /// The ids that a service has. `known` is filled when it is needed.
    fn known_seat(
        &mut self,
        service: &Service,
        names: &HashMap<String, u16>,
        known: &mut Option<HashMap<Endpoint, u16>>,
    ) -> Result<Empty> {
        let identity = identity(service);
        let found = self.image.find_service(&self.keys, &identity);
        let placed = found.and_then(|id| self.image.placed.get(&id)).cloned();
        if let (Some(id), Some(placed)) = (found, placed)
            && placed.seed == self.seed
            && has_same_endpoints(&placed.service, service)
        {
            return Ok(Empty {
                id,
                is_new: false,
                ids: Vec::new(),
                placed: Some(placed),
            });
        }
        let id = match found {
            Some(id) => id,
            None => {
                let place = self.image.free_place(&self.keys, &identity);
                let id = place.context(
                    "no place in the service map: too many services whose hashes are close; \
                     remove a service",
                )?;
                self.image.reserve(id, &identity);
                id
            }
        };
        let known = known.get_or_insert_with(|| {
            let records = self.image.endpoints.iter();
            records.map(|(&id, &record)| (record, id)).collect()
        });
        let mut ids = Vec::new();
        for backend in &service.backends {
            let index = names.get(&backend.name);
            ids.extend(backend.endpoints.iter().map(|endpoint| {
                let record = Endpoint {
                    service: id,
                    backend: *index?,
                    ..record_of(service, endpoint, &self.keys)
                };
                known.get(&record).copied()
            }));
        }
        Ok(Empty {
            id,
            is_new: found.is_none(),
            placed: None,
            ids,
        })
    }

    /// Frees what an earlier plan left for its flows, and what nothing names any more.
    fn free(&mut self, seats: &[Empty], on_flows: &Numbers) {
        let wanted = seats.iter().map(|seat| match &seat.placed {
            Some(placed) => placed.endpoints.ids.len(),
            None => seat.ids.iter().flatten().count(),
        });
        // No endpoint has two of them: each is wanted, and so is each backend, which goes with its last endpoint.
        if wanted.sum::<usize>() == self.image.endpoints.len() {
            return;
        }
        let mut wanted = Numbers::default();
        for seat in seats {
            wanted.extend(seat.ids.iter().flatten().copied());
            let placed = seat.placed.iter().flat_map(|it| &it.endpoints.ids);
            wanted.extend(placed.copied());
        }
        let ids = self.image.endpoints.keys().copied();
        let unwanted: Vec<u16> = ids
            .filter(|&id| !wanted.contains(id) && !on_flows.contains(id))
            .collect();
        if !unwanted.is_empty() {
            let named = self.image.named_endpoints();
            for id in unwanted {
                if !named.contains(id) {
                    self.write(Write::FreeEndpoint(id));
                }
            }
        }
        let used: Numbers = self.image.endpoints.values().map(|e| e.backend).collect();
        let backends = self.image.backends.keys().copied();
        let unused: Vec<u16> = backends.filter(|&index| !used.contains(index)).collect();
        for index in unused {
            self.write(Write::FreeBackend(index));
        }
    }

    /// Gives ids to the endpoints that have none.
    fn fill(
        &mut self,
        seats: &mut [Empty],
        shapes: &[Option<Shape>],
        services: &[Service],
    ) -> Result<()> {
        let shape_of = |at: usize, seat: &Empty| -> blake3::Hash {
            let placed = seat.placed.as_ref().map(|it| it.endpoints.shape.print);
            let shape = shapes[at].as_ref().map(|it| it.print);
            shape.or(placed).unwrap_or_else(|| blake3::hash(&[]))
        };
        let mut alike: HashMap<blake3::Hash, Vec<usize>> = HashMap::new();
        let mut order = Vec::new();
        for (at, seat) in seats.iter().enumerate() {
            let members = alike.entry(shape_of(at, seat)).or_default();
            if members.is_empty() {
                order.push(shape_of(at, seat));
            }
            members.push(at);
        }
        let mut ids = FreeIds::but(self.image.endpoints.keys().copied().collect());
        for members in order.iter().map(|shape| &alike[shape]) {
            self.fill_alike(members, seats, shapes, services, &mut ids)?;
        }
        Ok(())
    }

    /// The same for services of one shape.
    fn fill_alike(
        &mut self,
        members: &[usize],
        seats: &mut [Empty],
        shapes: &[Option<Shape>],
        services: &[Service],
        free: &mut FreeIds,
    ) -> Result<()> {
        let sorted = |&at: &usize| -> Seats {
            match (&seats[at].placed, &shapes[at]) {
                (Some(placed), _) => {
                    let Placing { ids, shape, .. } = &*placed.endpoints;
                    shape
                        .listed
                        .iter()
                        .map(|&listed| Some(ids[listed]))
                        .collect()
                }
                (None, Some(shape)) => {
                    let listed = shape.listed.iter();
                    listed.map(|&listed| seats[at].ids[listed]).collect()
                }
                (None, None) => Vec::new(),
            }
        };
        let mut all: Vec<Seats> = members.iter().map(sorted).collect();
        if free.seat(&mut all.iter_mut().collect::<Vec<_>>()).is_none() {
            let short = members.iter().find(|&&at| seats[at].ids.contains(&None));
            bail!(
                "service {}: all {} endpoint ids are taken; remove endpoints",
                short.map_or("", |&at| &services[at].name),
                limits::ENDPOINTS - 1
            );
        }
        for (&at, sorted) in members.iter().zip(all) {
            let Some(shape) = &shapes[at] else { continue };
            let mut new = seats[at].ids.clone();
            for (&listed, id) in shape.listed.iter().zip(sorted) {
                new[listed] = id;
            }
            self.write_new(&services[at], seats[at].id, &seats[at].ids, &new)?;
            seats[at].ids = new;
        }
        Ok(())
    }

    /// Writes the records of the endpoints that had no id.
    fn write_new(
        &mut self,
        service: &Service,
        service_id: u16,
        before: &[Option<u16>],
        after: &[Option<u16>],
    ) -> Result<()> {
        let mut ids = before.iter().zip(after);
        for backend in &service.backends {
            let mut index = None;
            for (endpoint, (before, after)) in backend.endpoints.iter().zip(&mut ids) {
                let (None, &Some(id)) = (before, after) else {
                    continue;
                };
                let backend = match index {
                    Some(index) => index,
                    None => *index.insert(self.backend(&backend.name)?),
                };
                let record = Endpoint {
                    service: service_id,
                    backend,
                    ..record_of(service, endpoint, &self.keys)
                };
                self.write(Write::Endpoint(id, record));
            }
        }
        Ok(())
    }

    fn backend_names(&self) -> HashMap<String, u16> {
        let backends = self.image.backends.iter();
        backends
            .map(|(&index, name)| (name.clone(), index))
            .collect()
    }

    fn backend(&mut self, name: &str) -> Result<u16> {
        if let Some((&index, _)) = self.image.backends.iter().find(|(_, n)| *n == name) {
            return Ok(index);
        }
        let index = (0..limits::BACKENDS as u16)
            .find(|index| !self.image.backends.contains_key(index))
            .context("too many backends")?;
        self.write(Write::Backend(index, name.to_owned()));
        Ok(index)
    }
}

/// Whether all that endpoint records are made of is the same.
fn has_same_endpoints(one: &Service, other: &Service) -> bool {
    let backends =
        |one: &Backend, other: &Backend| one.name == other.name && one.endpoints == other.endpoints;
    one.name == other.name
        && one.address == other.address
        && one.protocol == other.protocol
        && one.delivery == other.delivery
        && one.backends.len() == other.backends.len()
        && (one.backends.iter().zip(&other.backends)).all(|(one, other)| backends(one, other))
}
