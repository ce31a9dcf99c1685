//! Which service a packet is for.

use lb_common::{hash, limits::SERVICES as PLACES, parse::Packet, record::Service};

use crate::elsewhere::Elsewhere;
use crate::maps::{SERVICES, SecretKeys, has_ranges, identity_word};

/// The id and record of the service with the packet's destination.
#[inline(always)]
pub fn find<A: Elsewhere>(packet: &Packet<A>) -> Option<(u16, &'static Service)> {
    let address = packet.destination.wide();
    let (port, protocol) = (packet.destination_port, packet.protocol);
    let identity = Service::identity_of(A::FAMILY, port, protocol);
    let place = hash::place(&SecretKeys, address, identity) as u32 % PLACES;
    let service = SERVICES.get(place)?;
    let found = identity_word(service);
    if found == identity && service.address == address {
        return Some((place as u16, service));
    }
    if found == 0 && !has_ranges() {
        return None;
    }
    let id = packet.destination.elsewhere(port, protocol)?;
    Some((id, SERVICES.get(id as u32)?))
}
