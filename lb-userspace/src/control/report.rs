//! From what the kernel reports to what people ask for. Pure.

use std::net::{IpAddr, SocketAddr};

use crate::api::{
    BackendShift, BackendView, EndpointView, Origin, ServiceShift, ServiceView, Share,
};
use crate::dataplane::{AppliedService, Counters, EndpointReport, Interface, LiveFlows, XdpMode};
use crate::desired::{Backend, Desired, Scheduling, Service, written_endpoint};
use crate::persist::Carried;
use crate::state::{ServiceChange, State};
use crate::weights::Weight;

pub(super) fn interface(interface: &Interface) -> String {
    let mode = match interface.mode {
        XdpMode::Auto => "auto",
        XdpMode::Native => "native",
        XdpMode::Generic => "generic: slower than native",
    };
    format!("{} ({mode})", interface.name)
}

/// What is known of the table of a service.
#[derive(Clone, Debug)]
pub(super) struct Table {
    service: String,
    scheduling: Scheduling,
    slots: u32,
    moved: u32,
    digest: u64,
    /// Slots by backend name: a later configuration may list the backends in another order.
    backends: Vec<(String, u32)>,
}

/// What was applied, with the names of `desired`.
pub(super) fn tables(desired: &Desired, applied: &[AppliedService]) -> Vec<Table> {
    let named = |it: &AppliedService| {
        let service = desired
            .services
            .iter()
            .find(|service| service.name == it.service);
        let names = service
            .into_iter()
            .flat_map(|it| &it.backends)
            .map(|it| it.name.clone());
        Table {
            service: it.service.clone(),
            scheduling: service.map_or_else(Default::default, |it| it.selection.scheduling),
            slots: it.slots,
            moved: it.moved,
            digest: it.digest,
            backends: names.zip(it.backend_slots.iter().copied()).collect(),
        }
    };
    applied.iter().map(named).collect()
}

pub(super) fn live(endpoints: &[EndpointReport]) -> LiveFlows {
    live_of(endpoints.iter())
}

/// `1 service`, `2 services`
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

pub(super) fn services(
    state: &State,
    tables: &[Table],
    endpoints: &[EndpointReport],
) -> Vec<ServiceView> {
    let view = |service: &Service| ServiceView {
        name: service.name.clone(),
        address: service.written().to_string(),
        protocol: service.protocol,
        mode: service.delivery.mode.name().to_owned(),
        scheduling: service.selection.scheduling,
        affinity: service.selection.affinity.to_string(),
        rules: service.selection.rules.len(),
        prefixes: service.selection.rules.iter().map(|it| it.from.len()).sum(),
        slots: table(tables, &service.name).map_or(0, |it| it.slots),
        digest: table(tables, &service.name).map(digest).unwrap_or_default(),
        source: origin(state, &service.name),
        idle: service.idle.into(),
        backends: service
            .backends
            .iter()
            .map(|it| Share {
                name: it.name.clone(),
                percent: percent(it.weight),
            })
            .collect(),
        live: live_of(endpoints.iter().filter(|it| it.service == service.name)),
    };
    state.desired.services.iter().map(view).collect()
}

pub(super) fn backends(
    state: &State,
    endpoints: &[EndpointReport],
    carried: &Carried,
) -> Vec<BackendView> {
    let mut views = Vec::new();
    for service in &state.desired.services {
        for backend in &service.backends {
            views.push(configured(state, service, backend, endpoints, carried));
        }
    }
    for report in endpoints {
        let known = |it: &BackendView| it.service == report.service && it.name == report.backend;
        if !views.iter().any(known) {
            views.push(left_over(state, report, endpoints, carried));
        }
    }
    views
}

fn configured(
    state: &State,
    service: &Service,
    backend: &Backend,
    endpoints: &[EndpointReport],
    carried: &Carried,
) -> BackendView {
    let gone = carried.of(service, &backend.name);
    let reports = of_backend(endpoints, &service.name, &backend.name);
    let slots = reports.iter().map(|it| it.slots).sum();
    // Every slot names an endpoint.
    let of_service = endpoints.iter().filter(|it| it.service == service.name);
    let total = of_service.map(|it| it.slots).sum();
    BackendView {
        configured: true,
        source: origin(state, &service.name),
        percent: percent(backend.weight),
        slots,
        slot_percent: slot_percent(slots, total),
        ..counted(&service.name, &backend.name, &reports, gone, |address| {
            backend
                .endpoints
                .iter()
                .find(|it| it.address == address)
                .map(|it| it.source)
        })
    }
}

/// A backend that left the configuration and is kept for its live flows.
fn left_over(
    state: &State,
    report: &EndpointReport,
    endpoints: &[EndpointReport],
    carried: &Carried,
) -> BackendView {
    let mut services = state.desired.services.iter();
    let gone = services
        .find(|it| it.name == report.service)
        .map(|it| carried.of(it, &report.backend))
        .unwrap_or_default();
    let reports = of_backend(endpoints, &report.service, &report.backend);
    counted(&report.service, &report.backend, &reports, gone, |_| None)
}

/// `gone` is what was counted of endpoints that are reported no more.
fn counted(
    service: &str,
    name: &str,
    reports: &[&EndpointReport],
    gone: Counters,
    source: impl Fn(SocketAddr) -> Option<IpAddr>,
) -> BackendView {
    let endpoints = reports.iter().map(|it| EndpointView {
        address: written_endpoint(it.address),
        source: source(it.address).filter(|_| it.configured),
        configured: it.configured,
        slots: it.slots,
        live: it.live,
        counters: it.counters,
    });
    BackendView {
        service: service.to_owned(),
        name: name.to_owned(),
        configured: false,
        source: Origin::Config,
        percent: 0.0,
        slots: 0,
        slot_percent: 0.0,
        live: live_of(reports.iter().copied()),
        counters: reports.iter().fold(gone, |sum, it| sum + it.counters),
        endpoints: endpoints.collect(),
    }
}

pub(super) fn shifts(
    changes: &[ServiceChange],
    before: &[Table],
    after: &[Table],
    endpoints: &[EndpointReport],
) -> Vec<ServiceShift> {
    changes
        .iter()
        .map(|change| shift(change, before, after, endpoints))
        .collect()
}

fn shift(
    change: &ServiceChange,
    before: &[Table],
    after: &[Table],
    endpoints: &[EndpointReport],
) -> ServiceShift {
    let (old, new) = (
        table(before, &change.service),
        table(after, &change.service),
    );
    let total = new.map_or(0, |it| it.slots);
    let backends = change.backends.iter().map(|it| {
        let slots_after = slots_of(new, &it.name);
        let live = live_of(of_backend(endpoints, &change.service, &it.name).into_iter());
        BackendShift {
            name: it.name.clone(),
            before_percent: it.before.map(percent),
            after_percent: it.after.map(percent),
            slots_before: slots_of(old, &it.name),
            slots_after,
            realised_percent: slot_percent(slots_after, total),
            live_flows: live.opening + live.open + live.closing,
        }
    });
    ServiceShift {
        service: change.service.clone(),
        change: change.kind,
        scheduling: new.map_or_else(Default::default, |it| it.scheduling),
        slots: total,
        moved: new.map_or(0, |it| it.moved),
        digest: new.map(digest).unwrap_or_default(),
        backends: backends.collect(),
    }
}

fn origin(state: &State, service: &str) -> Origin {
    if state.is_overridden(service) {
        Origin::Runtime
    } else {
        Origin::Config
    }
}

fn table<'a>(tables: &'a [Table], service: &str) -> Option<&'a Table> {
    tables.iter().find(|it| it.service == service)
}

fn digest(table: &Table) -> String {
    format!("{:016x}", table.digest)
}

fn slots_of(table: Option<&Table>, backend: &str) -> u32 {
    let shares = table.map_or(&[][..], |it| &it.backends);
    shares
        .iter()
        .find(|(name, _)| name == backend)
        .map_or(0, |&(_, slots)| slots)
}

fn of_backend<'a>(
    endpoints: &'a [EndpointReport],
    service: &str,
    backend: &str,
) -> Vec<&'a EndpointReport> {
    endpoints
        .iter()
        .filter(|it| it.service == service && it.backend == backend)
        .collect()
}

fn live_of<'a>(endpoints: impl Iterator<Item = &'a EndpointReport>) -> LiveFlows {
    endpoints.fold(LiveFlows::default(), |sum, it| LiveFlows {
        opening: sum.opening + it.live.opening,
        open: sum.open + it.live.open,
        closing: sum.closing + it.live.closing,
    })
}

fn percent(weight: Weight) -> f64 {
    f64::from(weight.parts()) * 100.0 / f64::from(Weight::TOTAL)
}

fn slot_percent(slots: u32, total: u32) -> f64 {
    if total == 0 {
        0.0
    } else {
        f64::from(slots) * 100.0 / f64::from(total)
    }
}

#[cfg(test)]
mod tests;
