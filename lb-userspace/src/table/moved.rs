//! What a change of the table does to new flows: which slots change hands.

use std::collections::BTreeMap;

use super::{Table, TableError};

/// Slots that go from one backend to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The backend that loses them.
    pub from: String,
    /// The backend that gets them.
    pub to: String,
    /// How many, above 0.
    pub slots: u32,
}

/// How many slots change their backend, for each pair of backends with any, by name. A slot that
/// goes to another endpoint of the same backend does not count.
///
/// # Errors
/// [`TableError::SizesDiffer`] when the tables have different numbers of slots.
pub fn moved(before: &Table, after: &Table) -> Result<Vec<Moved>, TableError> {
    if before.owners.len() != after.owners.len() {
        return Err(TableError::SizesDiffer {
            before: before.owners.len(),
            after: after.owners.len(),
        });
    }
    let mut pairs = BTreeMap::new();
    for pair in before.owners.iter().zip(&after.owners) {
        *pairs.entry(pair).or_insert(0) += 1;
    }
    let name = |table: &Table, owner: u8| table.shares[usize::from(owner)].name.clone();
    Ok(pairs
        .into_iter()
        .map(|((&from, &to), slots)| Moved {
            from: name(before, from),
            to: name(after, to),
            slots,
        })
        .filter(|moved| moved.from != moved.to)
        .collect())
}
