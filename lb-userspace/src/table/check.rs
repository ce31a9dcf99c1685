//! What a table's input must be before anything is built of it.

use super::{Backend, Endpoint, TableError};
use crate::weights::Weight;

/// A backend a table may be built of.
pub(super) struct Checked<'a> {
    /// Which of the listed backends it is.
    pub(super) index: usize,
    pub(super) name: &'a str,
    pub(super) weight: Weight,
    /// By address.
    pub(super) endpoints: Vec<&'a Endpoint>,
}

/// The backends in the order of their names, checked.
pub(super) fn by_name(backends: &[Backend]) -> Result<Vec<Checked<'_>>, TableError> {
    /// An owner is a byte.
    const MOST: usize = 256;
    if backends.is_empty() {
        return Err(TableError::NoBackends);
    }
    if backends.len() > MOST {
        let count = backends.len();
        return Err(TableError::TooManyBackends { count, most: MOST });
    }
    let mut sorted: Vec<(usize, &Backend)> = backends.iter().enumerate().collect();
    sorted.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    let same = |pair: &&[(usize, &Backend)]| pair[0].1.name == pair[1].1.name;
    if let Some(twice) = sorted.windows(2).find(same) {
        let name = twice[0].1.name.clone();
        return Err(TableError::DuplicateBackend { name });
    }
    let mut taken = vec![false; 1 << u16::BITS];
    let sorted = sorted.into_iter();
    sorted
        .map(|(index, backend)| check(index, backend, &mut taken))
        .collect()
}

/// `taken` holds the ids so far.
fn check<'a>(
    index: usize,
    backend: &'a Backend,
    taken: &mut [bool],
) -> Result<Checked<'a>, TableError> {
    let name = || backend.name.clone();
    let mut endpoints: Vec<&Endpoint> = backend.endpoints.iter().collect();
    for endpoint in &endpoints {
        let id = endpoint.id;
        if id == 0 {
            let (name, address) = (name(), endpoint.address.clone());
            return Err(TableError::EmptyId { name, address });
        }
        if std::mem::replace(&mut taken[usize::from(id)], true) {
            return Err(TableError::DuplicateId { name: name(), id });
        }
    }
    // Stable: it is the one that is fast on what is nearly in order.
    endpoints.sort_by(|a, b| a.address.cmp(&b.address));
    let same = |pair: &&[&Endpoint]| pair[0].address == pair[1].address;
    if let Some(twice) = endpoints.windows(2).find(same) {
        let (name, address) = (name(), twice[0].address.clone());
        return Err(TableError::DuplicateEndpoint { name, address });
    }
    Ok(Checked {
        index,
        name: &backend.name,
        weight: backend.weight,
        endpoints,
    })
}
