//! What is in force, and what a request makes of it. Pure: no clock, no file, no kernel.

mod layer;
mod refusal;

use std::collections::BTreeMap;

pub use refusal::Refusal;

use crate::desired::{Desired, Service};
use crate::nearest;
use crate::weights::{self, Weight};

/// Weights set at run time, by service and backend: a layer over the configuration.
///
/// Each service in it names all its backends, and their weights sum to the whole.
pub type Overrides = BTreeMap<String, BTreeMap<String, Weight>>;

/// What is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Number of the applied configuration: one more with every change.
    pub generation: u64,
    /// What the kernel is to do, run-time weights included.
    pub desired: Desired,
    /// The run-time weights.
    pub overrides: Overrides,
}

/// Something asked of the state.
#[derive(Clone, Debug)]
pub enum Request {
    /// New weights for one service.
    SetWeights {
        /// The service; may be left out if there is one.
        service: Option<String>,
        /// The changes.
        changes: Vec<weights::Change>,
    },
    /// A new configuration.
    Configure(Vec<Service>),
}

/// What a request changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The services it is about: the asked one for weights, all for a configuration, removed ones
    /// last.
    pub services: Vec<ServiceChange>,
    /// What an operator should know, each a full sentence.
    pub notes: Vec<String>,
}

/// What became of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceChange {
    /// Its name.
    pub service: String,
    /// What became of it.
    pub kind: ChangeKind,
    /// Its backends, those that left last.
    pub backends: Vec<BackendChange>,
}

/// What became of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// Something about it is different.
    Changed,
    /// Nothing is.
    Unchanged,
}

/// The weight of a backend before and after; `None` where there is no such backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendChange {
    /// Its name.
    pub name: String,
    /// Before.
    pub before: Option<Weight>,
    /// After.
    pub after: Option<Weight>,
}

impl State {
    /// The state of a daemon that starts with `services` from the file and kept `overrides`.
    pub fn start(
        generation: u64,
        seed: u64,
        services: Vec<Service>,
        overrides: &Overrides,
    ) -> (Self, Vec<String>) {
        let layered = layer::put(overrides, services);
        let desired = Desired {
            seed,
            services: layered.services,
        };
        (
            Self {
                generation,
                desired,
                overrides: layered.overrides,
            },
            layered.notes,
        )
    }

    /// The state after `request`, and what changed. `self` stays as it is.
    ///
    /// # Errors
    /// If the request makes no sense in this state.
    pub fn apply(&self, request: Request) -> Result<(Self, Change), Refusal> {
        match request {
            Request::SetWeights { service, changes } => {
                self.set_weights(service.as_deref(), &changes)
            }
            Request::Configure(services) => Ok(self.configure(services)),
        }
    }

    /// True if the weights of `service` were set at run time.
    pub fn is_overridden(&self, service: &str) -> bool {
        self.overrides.contains_key(service)
    }

    /// The service called `name`, or the only one there is.
    ///
    /// # Errors
    /// If there is none of that name, or several and no name.
    pub fn service(&self, name: Option<&str>) -> Result<&Service, Refusal> {
        let services = &self.desired.services;
        match (name, &services[..]) {
            (_, []) => Err(Refusal::NoServices),
            (None, [only]) => Ok(only),
            (None, _) => Err(Refusal::ServiceRequired {
                known: names(services),
            }),
            (Some(name), _) => {
                services
                    .iter()
                    .find(|it| it.name == name)
                    .ok_or_else(|| Refusal::UnknownService {
                        name: name.to_owned(),
                        nearest: nearest::to(name, services.iter().map(|it| it.name.as_str()))
                            .map(str::to_owned),
                        known: names(services),
                    })
            }
        }
    }

    fn set_weights(
        &self,
        service: Option<&str>,
        changes: &[weights::Change],
    ) -> Result<(Self, Change), Refusal> {
        let before = self.service(service)?;
        let after = reweighted(before, changes)?;
        let mut next = self.clone();
        let weights = after
            .backends
            .iter()
            .map(|it| (it.name.clone(), it.weight))
            .collect();
        next.overrides.insert(after.name.clone(), weights);
        let change = Change {
            services: vec![difference(Some(before), Some(&after))],
            notes: Vec::new(),
        };
        for service in &mut next.desired.services {
            if service.name == after.name {
                service.clone_from(&after);
            }
        }
        Ok((next.numbered_after(self), change))
    }

    fn configure(&self, services: Vec<Service>) -> (Self, Change) {
        let (next, notes) = Self::start(
            self.generation,
            self.desired.seed,
            services,
            &self.overrides,
        );
        let change = Change {
            services: differences(&self.desired, &next.desired),
            notes,
        };
        (next.numbered_after(self), change)
    }

    fn numbered_after(mut self, before: &Self) -> Self {
        self.generation = before.generation + u64::from(self != *before);
        self
    }
}

fn reweighted(service: &Service, changes: &[weights::Change]) -> Result<Service, Refusal> {
    let current: Vec<(&str, Weight)> = service
        .backends
        .iter()
        .map(|it| (it.name.as_str(), it.weight))
        .collect();
    let weights = weights::resolve(&current, changes).map_err(Refusal::Weights)?;
    let mut service = service.clone();
    for (backend, weight) in service.backends.iter_mut().zip(weights) {
        if !weight.is_zero() && backend.endpoints.is_empty() {
            return Err(Refusal::NoEndpoints {
                backend: backend.name.clone(),
            });
        }
        backend.weight = weight;
    }
    Ok(service)
}

fn differences(before: &Desired, after: &Desired) -> Vec<ServiceChange> {
    let in_before = |name: &str| before.services.iter().find(|it| it.name == name);
    let is_gone = |it: &&Service| after.services.iter().all(|other| other.name != it.name);
    let stayed = after
        .services
        .iter()
        .map(|it| difference(in_before(&it.name), Some(it)));
    let gone = before
        .services
        .iter()
        .filter(is_gone)
        .map(|it| difference(Some(it), None));
    stayed.chain(gone).collect()
}

fn difference(before: Option<&Service>, after: Option<&Service>) -> ServiceChange {
    let kind = match (before, after) {
        (None, _) => ChangeKind::Added,
        (_, None) => ChangeKind::Removed,
        (Some(before), Some(after)) if before == after => ChangeKind::Unchanged,
        _ => ChangeKind::Changed,
    };
    let mut backends: Vec<BackendChange> = Vec::new();
    for backend in after.iter().flat_map(|it| &it.backends) {
        let (name, after) = (backend.name.clone(), Some(backend.weight));
        backends.push(BackendChange {
            name,
            before: None,
            after,
        });
    }
    for backend in before.iter().flat_map(|it| &it.backends) {
        let weight = Some(backend.weight);
        match backends.iter_mut().find(|it| it.name == backend.name) {
            Some(known) => known.before = weight,
            None => {
                let name = backend.name.clone();
                backends.push(BackendChange {
                    name,
                    before: weight,
                    after: None,
                });
            }
        }
    }
    let service = after
        .or(before)
        .map(|it| it.name.clone())
        .unwrap_or_default();
    ServiceChange {
        service,
        kind,
        backends,
    }
}

fn names(services: &[Service]) -> Vec<String> {
    services.iter().map(|it| it.name.clone()).collect()
}

#[cfg(test)]
mod tests;
