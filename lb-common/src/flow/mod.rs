//! The flow table: which endpoint each flow was given, findable from both sides.
//!
//! A flow is two entries of one table: the *client entry*, in a bucket named by the client's tuple,
//! and the *endpoint entry*, in a bucket named by the endpoint and the flow's node port. Both hold the
//! same words, so either side's packet finds everything in one bucket. A flow whose endpoint answers past
//! the node is *one-sided*: it has its client entry only, with the virtual port for a node port.
//!
//! ```text
//!   key    IPv4  client address 32 | client port 16 | virtual port 16
//!          IPv6  client address 128,  client port 16 | virtual port 16
//!   state        endpoint 16 | node port 16 | expires 24 | side and progress 8
//! ```
//!
//! What the key leaves out of the tuple, the virtual address and the protocol, is known by the endpoint: its
//! id belongs to one service. Two flows that differ in nothing else hardly ever meet in a bucket, because the
//! hash is of all of the tuple, but they may.
//!
//! 16 bytes an entry (IPv6: 32), four entries a bucket: an IPv4 bucket is one cache line. A client
//! entry may stand in either of two buckets; an endpoint entry in one only, because its node port is
//! ours to choose: if the bucket is taken, the next port is tried. Neither takes the last room of a bucket while
//! there is better: so both of a client's buckets are hardly ever full before the table is.
//!
//! There are no locks. An entry is taken by compare-and-swap of its state to *claimed* (for which node port),
//! filled, and published by storing its state; who reads checks the key before and after. Two processors that race
//! for an entry or a port cost one of them the insertion, never an entry its integrity. No live flow that is
//! open ever gives way: only empty, expired, closed and, last, opening entries are taken, of these the oldest
//! of those that are met.
//!
//! An endpoint id is given back only when no entry names it any more, not even one of a flow that is
//! over: the id is the way from either entry to the other, and what is left of a dead flow could pass
//! for half of a live one. So the table is swept before ids are given back.

use crate::hash::{first_bucket as first, second_bucket as second};

mod choose;
mod enter;
mod entry;
mod find;
mod follow;
mod word;

pub use choose::{NodePorts, Offer, Probe, choose, offer, probe};
pub use enter::{Entrant, enter, forget_earlier};
pub use entry::{Arrival, Bucket, Client, Entry, Key, State};
pub use find::{Found, find_by_client, find_by_endpoint, find_to_service};
pub use follow::{Step, advance, end, forget_partner, step};
pub use word::Word;

/// The table's storage and the records its entries name.
pub trait Flows<A: Client> {
    /// The bucket of a 24-bit number, which the table reduces to its size.
    fn bucket(&self, number: u32) -> Option<&Bucket<A::Key>>;
    /// Whether the service of an endpoint id has the virtual address and protocol of a service id. It may be
    /// another service that had the port before.
    fn is_to(&self, endpoint: u16, service: u16) -> bool;
    /// [`crate::record::Service::basis`] of the service of an endpoint id.
    fn service_basis(&self, endpoint: u16) -> Option<u64>;
    /// [`crate::record::Endpoint::basis_for`] of an endpoint id and a virtual port.
    fn endpoint_basis(&self, endpoint: u16, port: u16) -> Option<u64>;
}

/// The longer steps of admission. Each is the function of the same name; the kernel program
/// makes each a function of its own to the verifier, which then walks it once and not again for every
/// way there is to it.
pub trait Steps<A: Client>: Flows<A> {
    /// [`offer`].
    fn offer(&self, flow: u64, endpoint_basis: u64, step: u32, arrival: Arrival) -> Offer;
    /// [`probe`].
    fn probe(&self, hash: u64, node_port: u16, arrival: Arrival) -> Probe;
    /// [`forget_partner`].
    fn forget_partner(&self, key: A::Key, state: State);
}

#[cfg(test)]
mod tests;
