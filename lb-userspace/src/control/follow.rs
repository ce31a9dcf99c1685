//! A change of the kernel that forgets no counter.

use anyhow::Result;

use crate::dataplane::{Applied, Dataplane};
use crate::desired::Desired;
use crate::persist::{Carried, Kept, Pending, Store};

/// Makes the kernel follow `desired`. What it counted of endpoints that it lets go of meanwhile is
/// carried on.
///
/// # Errors
/// As [`Dataplane::apply`].
pub(super) fn follow(
    dataplane: &mut Dataplane,
    desired: &Desired,
    carried: &mut Carried,
) -> Result<Applied> {
    // A change must not fail for a counter.
    let before = dataplane.tally().unwrap_or_else(|cause| {
        tracing::warn!("counters of endpoints that are gone may be missing: {cause:#}");
        Vec::new()
    });
    let applied = dataplane.apply(desired);
    // Also of a change that was refused half way.
    for it in dataplane.departed(&before) {
        carried.add(it.service, it.backend, it.counters);
    }
    applied
}

/// Puts the counters on disk.
pub(super) fn keep(store: &Store, kept: &Kept) {
    if let Err(cause) = store.prepare(kept).and_then(Pending::keep) {
        tracing::warn!("the next lbd will miss counters of endpoints that are gone: {cause}");
    }
}
