//! Which endpoint a new flow gets: one look into the service's table.

use lb_common::{
    hash,
    record::{Endpoint, Service, TableRef},
    verdict::Reason,
};

use crate::maps::{ENDPOINTS, SLOTS, table_word};

/// Id and record of the endpoint in the flow's slot.
#[inline(always)]
pub fn endpoint(service: &Service, hash: u64) -> Result<(u16, &'static Endpoint), Reason> {
    let word = table_word(service);
    if word == TableRef::NONE {
        return Err(Reason::NotForService);
    }
    let table = TableRef::from_word(word);
    let (page, place) = table.locate(hash::slot(hash, table.mask));
    let page = SLOTS.get(page).ok_or(Reason::Inconsistent)?;
    let id = *page.slots.get(place).ok_or(Reason::Inconsistent)?;
    if id == 0 {
        return Err(Reason::EmptySlot);
    }
    let endpoint = ENDPOINTS.get(id as u32).ok_or(Reason::Inconsistent)?;
    Ok((id, endpoint))
}
