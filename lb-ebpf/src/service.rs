//! Which service a packet is for.

use lb_common::{
    address::Address,
    hash,
    limits::{SERVICE_PROBES, SERVICES as PLACES},
    parse::Packet,
    record::Service,
    verifier::obscure,
};

use crate::maps::{SERVICES, SecretKeys, has_ranges, identity_word};
use crate::range::Ranged;

/// The id and record of the service with the packet's destination.
#[inline(always)]
pub fn find<A: Ranged>(packet: &Packet<A>) -> Option<(u16, &'static Service)> {
    let id = match place(packet) {
        Some(id) => id,
        None if has_ranges() => of_range(packet)?,
        None => return None,
    };
    // Looked up once more: on each way out of the loop the verifier has another pointer, and would
    // walk all that follows once for each.
    Some((id, SERVICES.get(id as u32)?))
}

#[inline(always)]
fn place<A: Address>(packet: &Packet<A>) -> Option<u16> {
    let address = packet.destination.wide();
    let identity = Service::identity_of(A::FAMILY, packet.destination_port, packet.protocol);
    let place = hash::place(&SecretKeys, address, identity);
    for probe in 0..SERVICE_PROBES {
        let id = (place as u32).wrapping_add(probe) % PLACES;
        let service = SERVICES.get(id)?;
        let found = identity_word(service);
        if found == identity && service.address == address {
            return Some(obscure(id as usize, place) as u16);
        }
        if found == 0 {
            return None;
        }
    }
    None
}

/// The id of the service with several ports, one of which is the packet's destination.
#[inline(always)]
fn of_range<A: Ranged>(packet: &Packet<A>) -> Option<u16> {
    let id = packet
        .destination
        .of_range(packet.destination_port, packet.protocol)?;
    let service = SERVICES.get(id as u32)?;
    let is_it =
        Service::has_range(identity_word(service)) && service.address == packet.destination.wide();
    is_it.then_some(id)
}
