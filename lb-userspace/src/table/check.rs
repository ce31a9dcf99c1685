//! What a table's input must be before anything is built of it.

use super::{Backend, Endpoint, TableError};
use crate::weights::Weight;

/// A backend a table may be built of.
pub(super) struct Checked<'a> {
    pub(super) name: &'a str,
    pub(super) weight: Weight,
    /// By address.
    pub(super) endpoints: Vec<&'a Endpoint>,
}

/// The backends in the order of their names, checked.
pub(super) fn by_name(backends: &[Backend]) -> Result<Vec<Checked<'_>>, TableError> {
    let weights: Vec<Weight> = backends.iter().map(|it| it.weight).collect();
    by_name_with(backends, &weights)
}

/// The same with other weights than theirs, in their order.
pub(super) fn by_name_with<'a>(
    backends: &'a [Backend],
    weights: &[Weight],
) -> Result<Vec<Checked<'a>>, TableError> {
    /// An owner is a byte.
    const MOST: usize = 256;
    if backends.is_empty() {
        return Err(TableError::NoBackends);
    }
    if backends.len() > MOST {
        let count = backends.len();
        return Err(TableError::TooManyBackends { count, most: MOST });
    }
    let weighted = backends.iter().zip(weights.iter().copied());
    let mut sorted: Vec<(&Backend, Weight)> = weighted.collect();
    sorted.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let same = |pair: &&[(&Backend, Weight)]| pair[0].0.name == pair[1].0.name;
    if let Some(twice) = sorted.windows(2).find(same) {
        let name = twice[0].0.name.clone();
        return Err(TableError::DuplicateBackend { name });
    }
    sorted.into_iter().map(check).collect()
}

fn check((backend, weight): (&Backend, Weight)) -> Result<Checked<'_>, TableError> {
    let name = || backend.name.clone();
    let mut endpoints: Vec<&Endpoint> = backend.endpoints.iter().collect();
    if let Some(empty) = endpoints.iter().find(|endpoint| endpoint.id == 0) {
        let (name, address) = (name(), empty.address.clone());
        return Err(TableError::EmptyId { name, address });
    }
    let mut ids: Vec<u16> = endpoints.iter().map(|endpoint| endpoint.id).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        let (name, id) = (name(), twice[0]);
        return Err(TableError::DuplicateId { name, id });
    }
    // Stable: it is the one that is fast on what is nearly in order.
    endpoints.sort_by(|a, b| a.address.cmp(&b.address));
    let same = |pair: &&[&Endpoint]| pair[0].address == pair[1].address;
    if let Some(twice) = endpoints.windows(2).find(same) {
        let (name, address) = (name(), twice[0].address.clone());
        return Err(TableError::DuplicateEndpoint { name, address });
    }
    Ok(Checked {
        name: &backend.name,
        weight,
        endpoints,
    })
}
