//! Services with several ports.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use lb_common::address;
use lb_common::limits;
use lb_common::record::{PortRange, PortRanges, Service};

use super::{Planner, Write, protocol_number};
use crate::desired::{self, Desired, Ports};

impl Planner {
    /// Writes which services have several ports, once they themselves are written. A service that was closed
    /// keeps its ports for its flows, behind those that are wanted.
    pub(super) fn port_ranges(&mut self, desired: &Desired) -> Result<()> {
        let mut after: BTreeMap<[u64; 3], Vec<PortRange>> = BTreeMap::new();
        for (&id, &index) in &self.plan.ids.services {
            let service = &desired.services[index];
            if let Ports::To(last) = service.ports {
                let (family, [head, tail]) = address::wide(service.address.ip());
                let protocol = protocol_number(service.protocol);
                let key = [head, tail, PortRanges::identity_of(family, protocol)];
                after.entry(key).or_default().push(PortRange {
                    first: service.address.port(),
                    last,
                    service: id,
                    zero: 0,
                });
            }
        }
        let done = self.done();
        for (&key, ranges) in &self.image.port_ranges {
            let closed = ranges.ranges.iter().filter(|it| {
                **it != PortRange::NONE
                    && self.image.services.contains_key(&it.service)
                    && !self.plan.ids.services.contains_key(&it.service)
                    && !done.contains(&it.service)
            });
            let closed: Vec<PortRange> = closed.copied().collect();
            after.entry(key).or_default().extend(closed);
        }
        for (key, ranges) in after {
            let record = record(&ranges)?;
            let known = self.image.port_ranges.get(&key);
            if *known.unwrap_or(&PortRanges::NONE) != record {
                self.write(Write::PortRanges(key, record));
            }
        }
        Ok(())
    }

    /// Leaves the ports of services that are not wanted to those that have them in a range: else who comes
    /// would meet the closed service until its last flow has gone. Its flows are found by their tuple.
    pub(super) fn hide_services(&mut self, desired: &Desired) {
        let mut writes = Vec::new();
        for (id, service) in self.gone() {
            let is_covered = desired.services.iter().any(|it| covers(it, service));
            match (Service::is_hidden(service.identity), is_covered) {
                (false, true) => writes.push(Write::Hide(id)),
                (true, false) => writes.push(Write::Show(id)),
                _ => {}
            }
        }
        for write in writes {
            self.write(write);
        }
    }
}

/// Whether a range of a service has the one port of another.
fn covers(service: &desired::Service, other: &Service) -> bool {
    let ports = service.address.port()..=service.last_port();
    service.ports != Ports::One
        && !Service::has_range(other.identity)
        && address::wide(service.address.ip()) == (other.family(), other.address)
        && protocol_number(service.protocol) == other.protocol()
        && ports.contains(&other.port())
}

fn record(ranges: &[PortRange]) -> Result<PortRanges> {
    let mut record = PortRanges::NONE;
    for (number, range) in ranges.iter().enumerate() {
        let place = record.ranges.get_mut(number).with_context(|| {
            format!(
                "more than {} ranges of ports at one address and protocol",
                limits::PORT_RANGES
            )
        })?;
        *place = *range;
    }
    Ok(record)
}

#[cfg(test)]
mod tests;
