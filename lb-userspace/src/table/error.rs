//! What can be wrong with the input of a table.

use super::SlotCount;

/// Why no table was built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Not a slot count the kernel program can index.
    #[error(
        "{count} slots: use a power of two from {} to {}",
        SlotCount::MIN.get(), SlotCount::MAX.get()
    )]
    SlotCount {
        /// What was asked.
        count: u32,
    },
    /// Nothing to name in the slots.
    #[error("the service has no backends: add one")]
    NoBackends,
    /// More backends than a table can tell apart.
    #[error("the service has {count} backends: use at most {most}")]
    TooManyBackends {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Two backends of one name.
    #[error("two backends are named `{name}`: rename one")]
    DuplicateBackend {
        /// The name.
        name: String,
    },
    /// One address twice in a backend.
    #[error("backend `{name}` lists {address} twice: remove one")]
    DuplicateEndpoint {
        /// The backend.
        name: String,
        /// The endpoint's address.
        address: String,
    },
    /// One id for two endpoints.
    #[error("an endpoint of backend `{name}` has the id {id}, and another has it too")]
    DuplicateId {
        /// The backend of one.
        name: String,
        /// The id.
        id: u16,
    },
    /// The id that means an empty slot.
    #[error("endpoint {address} of backend `{name}` has the id 0, which means an empty slot")]
    EmptyId {
        /// The backend.
        name: String,
        /// The endpoint's address.
        address: String,
    },
    /// The weights make no whole.
    #[error("the weights sum to {sum} billionths, not 1000000000")]
    WeightSum {
        /// What they sum to.
        sum: u64,
    },
    /// Flows for a backend that has nowhere to send them.
    #[error(
        "backend `{name}` would get {slots} slots but has no endpoint: add one, or set its weight to 0"
    )]
    NoEndpoint {
        /// The backend.
        name: String,
        /// The slots its weight gives it.
        slots: u32,
    },
    /// Tables that can't be compared slot by slot.
    #[error("a table of {before} slots can't be compared with one of {after}")]
    SizesDiffer {
        /// Slots of the first.
        before: usize,
        /// Slots of the second.
        after: usize,
    },
}
