//! Which endpoint a new flow gets: one look into the table of its service, or of its client's rule.

use lb_common::{
    hash,
    record::{Service, TableRef, flag, turns_of_rule},
    verdict::Reason,
};

use crate::maps::{DEALT, SLOTS, SecretKeys, table_word};
use crate::rule::{self, Ruled};

/// Id of the endpoint in a new flow's slot. `flow` is [`hash::flow`].
#[inline(always)]
pub fn endpoint<A: Ruled>(
    (service_id, service): (u16, &Service),
    client: A,
    flow: u64,
) -> Result<u16, Reason> {
    let mut word = table_word(service);
    if word == TableRef::NONE {
        return Err(Reason::NotForService);
    }
    let mut turns = service_id as u32;
    if service.flags & flag::RULES != 0
        && let Some((rule, table)) = rule::of_client(service_id, client)
    {
        (word, turns) = (table, turns_of_rule(rule));
    }
    let table = TableRef::from_word(word);
    let slot = if service.flags & flag::EXACT != 0 {
        let dealt = DEALT.get(turns).ok_or(Reason::Inconsistent)?;
        table.turn(dealt.flows.add(1))
    } else {
        let bits = service.client_bits;
        let hash = hash::client(&SecretKeys, service.basis, client, bits, flow);
        hash::slot(hash, table.mask as u32)
    };
    let (page, place) = table.locate(slot);
    let page = SLOTS.get(page).ok_or(Reason::Inconsistent)?;
    let slot = *page.slots.get(place).ok_or(Reason::Inconsistent)?;
    table.endpoint(slot).ok_or(Reason::EmptySlot)
}
