//! What a table's input must be before anything is built of it.

use std::collections::BTreeSet;

use super::{Backend, Endpoint, TableError};

/// The backends in the order of their names, checked.
pub(super) fn by_name(backends: &[Backend]) -> Result<Vec<&Backend>, TableError> {
    /// An owner is a byte.
    const MOST: usize = 256;
    if backends.is_empty() {
        return Err(TableError::NoBackends);
    }
    if backends.len() > MOST {
        let count = backends.len();
        return Err(TableError::TooManyBackends { count, most: MOST });
    }
    let mut sorted: Vec<&Backend> = backends.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let name = twice[0].name.clone();
        return Err(TableError::DuplicateBackend { name });
    }
    backends.iter().try_for_each(check_endpoints)?;
    Ok(sorted)
}

fn check_endpoints(backend: &Backend) -> Result<(), TableError> {
    let mut addresses = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for Endpoint { address, id } in &backend.endpoints {
        let (name, address) = (backend.name.clone(), address.clone());
        if *id == 0 {
            return Err(TableError::EmptyId { name, address });
        }
        if !ids.insert(*id) {
            return Err(TableError::DuplicateId { name, id: *id });
        }
        if !addresses.insert(address.clone()) {
            return Err(TableError::DuplicateEndpoint { name, address });
        }
    }
    Ok(())
}
