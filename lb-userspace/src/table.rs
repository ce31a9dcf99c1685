//! The table: which endpoint each slot of a service names.
//!
//! A flow's hash picks a slot, the slot names an endpoint. Two levels make it: slot → backend by
//! weight ([`TableBuilder`] draws `noise` and gives out `owners`), and slot → endpoint inside the
//! backend (`fill`), over the same slots. Endpoint churn in one backend therefore never moves a
//! slot to another backend, and weight changes never shuffle endpoints inside a backend.
//!
//! What holds:
//! - **Pure.** A function of (seed, slot count, backend names, weights, endpoint addresses).
//!   Neither endpoint ids nor listing order nor what was built before matters, so all nodes agree;
//!   integers only, so all machines agree. [`Table::digest`] shows it. Nor does the service matter:
//!   services with the same backends have the same table, and their flows differ by their hashes.
//! - **Exact.** A backend has its share of slots to less than one slot. A weight above 0 has no
//!   slot only where the share asked is less than one.
//! - **Minimal and monotone for two backends.** A weight change moves exactly the difference of
//!   the slot counts, all in the one direction.
//! - **Near-minimal for more.** Where the asked weights differ by a total variation of δ, about
//!   2δ/(1+δ) of the slots move at most: the optimum for a table that remembers nothing. Raising one
//!   backend may take single slots away from it, by rounding only: no method that keeps every
//!   count within one slot of its share can avoid this (Balinski and Young). At most one slot is
//!   lost for every other backend; two were the most in 30 000 random changes.
//!
//! Where flows take turns instead of being hashed, the table is a dealing order ([`Table::deal`]).
//!
//! Inside a backend, every endpoint has the same number of the service's slots to within one. Of
//! the slots its backend owns it has that share on average only: the levels are independent.

mod builder;
mod check;
mod crew;
mod deal;
mod error;
mod fill;
mod hash;
mod log2;
mod moved;
mod noise;
mod owners;
mod parts;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::weights::Weight;
pub use builder::TableBuilder;
pub use error::TableError;
pub use moved::{Moved, moved};
pub use parts::PartsInUse;

/// How many slots a service has: a power of two, 256 ..= 65 536.
///
/// A table costs 2 bytes a slot in the kernel; one slot is the smallest step of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct SlotCount(u32);

impl SlotCount {
    /// The fewest slots: steps of 0.4 %.
    pub const MIN: Self = Self(1 << 8);
    /// The most slots, and the default: steps of 0.0015 %.
    pub const MAX: Self = Self(1 << 16);

    /// The number of slots.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl Default for SlotCount {
    fn default() -> Self {
        Self::MAX
    }
}

impl TryFrom<u32> for SlotCount {
    type Error = TableError;

    fn try_from(count: u32) -> Result<Self, TableError> {
        if count.is_power_of_two() && (Self::MIN.0..=Self::MAX.0).contains(&count) {
            Ok(Self(count))
        } else {
            Err(TableError::SlotCount { count })
        }
    }
}

impl From<SlotCount> for u32 {
    fn from(count: SlotCount) -> Self {
        count.0
    }
}

/// A named group of endpoints and its share of the new flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Unique in the service; the table depends on it.
    pub name: String,
    /// The weights of a service sum to [`Weight::TOTAL`].
    pub weight: Weight,
    /// Those that may get flows. May be empty while the weight gives the backend no slot.
    pub endpoints: Vec<Endpoint>,
}

/// One address of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What the table depends on, such as `10.0.0.1`: unique in the backend, and written the same way
    /// on every node.
    pub address: String,
    /// What slots hold; unique in the service, not 0 (the empty slot). May differ between nodes.
    pub id: u16,
}

/// The built table of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    slots: Vec<u16>,
    /// Which of `shares` has the slot.
    owners: Vec<u8>,
    /// By name.
    shares: Vec<SlotShare>,
    digest: u64,
}

/// What stands for an address in a digest.
pub fn digest_key(address: &str) -> u64 {
    fill::digest_key(address)
}

/// Spreads what goes into a digest over all its bits.
pub const fn mix_digest(digest: u64) -> u64 {
    hash::mix(digest)
}

/// What a backend was asked to have and has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotShare {
    /// The backend.
    pub name: String,
    /// The share asked.
    pub weight: Weight,
    /// The slots it has; differs from the share asked by less than one.
    pub slots: u32,
}

impl Table {
    /// Builds a table once. Who will build again keeps a [`TableBuilder`].
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn build(seed: u64, slots: SlotCount, backends: &[Backend]) -> Result<Self, TableError> {
        TableBuilder::new(seed, slots).build(backends)
    }

    /// The endpoint id of each slot; never 0.
    pub fn slots(&self) -> &[u16] {
        &self.slots
    }

    /// The same, by itself.
    pub fn into_slots(self) -> Vec<u16> {
        self.slots
    }

    /// The backends, by name, and how many slots each has.
    pub fn shares(&self) -> &[SlotShare] {
        &self.shares
    }

    /// The backend that has a slot; `None` beyond the last slot.
    pub fn backend_of(&self, slot: usize) -> Option<&str> {
        let owner = *self.owners.get(slot)?;
        Some(self.shares[usize::from(owner)].name.as_str())
    }

    /// Equal on two nodes when, and but for chance only when, each slot names the same address.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}
