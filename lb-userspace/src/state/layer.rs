//! Run-time weights laid over a configuration.

use std::collections::BTreeMap;

use super::Overrides;
use crate::desired::Service;
use crate::weights::Weight;

pub(super) struct Layered {
    pub(super) services: Vec<Service>,
    pub(super) overrides: Overrides,
    pub(super) notes: Vec<String>,
}

/// Puts the weights of `overrides` in the place of those in `services`, where they still fit.
///
/// They fit while every backend they name is there. A backend they do not name starts with no
/// flows: a release under way is not to be changed by a file that adds a group.
pub(super) fn put(overrides: &Overrides, services: Vec<Service>) -> Layered {
    let mut layered = Layered {
        services,
        overrides: Overrides::new(),
        notes: Vec::new(),
    };
    for (name, weights) in overrides {
        let Some(service) = layered.services.iter_mut().find(|it| it.name == *name) else {
            layered.notes.push(format!(
                "The run-time weights of `{name}` are dropped: there is no such service any more."
            ));
            continue;
        };
        if let Err(why) = fits(weights, service) {
            layered.notes.push(format!(
                "The run-time weights of `{name}` are dropped, the file's hold: {why}."
            ));
            continue;
        }
        layered.notes.extend(cover(weights, service));
        let all = service
            .backends
            .iter()
            .map(|it| (it.name.clone(), it.weight))
            .collect();
        layered.overrides.insert(name.clone(), all);
    }
    layered
}

fn fits(weights: &BTreeMap<String, Weight>, service: &Service) -> Result<(), String> {
    let sum: u64 = weights.values().map(|it| u64::from(it.parts())).sum();
    if sum != u64::from(Weight::TOTAL) {
        return Err("they do not add up to 100 %".to_owned());
    }
    for (name, weight) in weights {
        match service.backends.iter().find(|it| it.name == *name) {
            None => return Err(format!("there is no backend `{name}` any more")),
            Some(backend) if backend.endpoints.is_empty() && !weight.is_zero() => {
                return Err(format!("backend `{name}` has no endpoints any more"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Sets the weights of `service`; says so if that hides what the file says.
fn cover(weights: &BTreeMap<String, Weight>, service: &mut Service) -> Vec<String> {
    let mut notes = Vec::new();
    let mut hidden = false;
    for backend in &mut service.backends {
        let weight = weights.get(&backend.name).copied();
        if weight.is_none() && !backend.weight.is_zero() {
            notes.push(format!(
                "Backend `{}` of `{}` starts at 0 %: weights set at run time are in force; \
                 give it its share with set-weight.",
                backend.name, service.name
            ));
        }
        hidden |= weight.is_some_and(|it| it != backend.weight);
        backend.weight = weight.unwrap_or(Weight::ZERO);
    }
    if hidden {
        notes.push(format!(
            "The weights of `{}` were set at run time and stay in force over the file's.",
            service.name
        ));
    }
    notes
}
