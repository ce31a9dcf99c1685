//! From what the kernel reports to what people ask for. Pure.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Add;

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
    scheduling: Scheduling,
    slots: u32,
    moved: u32,
    digest: u64,
    /// Slots by backend name: a later configuration may list the backends in another order.
    backends: Vec<(String, u32)>,
}

/// Tables by the names of their services.
pub(super) type Tables = HashMap<String, Table>;

/// What was applied of `desired`, in its order.
pub(super) fn tables(desired: &Desired, applied: &[AppliedService]) -> Tables {
    let named = |(service, it): (&Service, &AppliedService)| {
        let names = service.backends.iter().map(|it| it.name.clone());
        let table = Table {
            scheduling: service.selection.scheduling,
            slots: it.slots,
            moved: it.moved,
            digest: it.digest,
            backends: names.zip(it.backend_slots.iter().copied()).collect(),
        };
        (service.name.clone(), table)
    };
    desired.services.iter().zip(applied).map(named).collect()
}

/// What is reported of endpoints, by service and backend.
pub(super) struct Reports<'a> {
    all: &'a [EndpointReport],
    of_backends: HashMap<(&'a str, &'a str), Vec<&'a EndpointReport>>,
    of_services: HashMap<&'a str, (LiveFlows, u32)>,
}

impl<'a> Reports<'a> {
    pub(super) fn of(all: &'a [EndpointReport]) -> Self {
        let mut reports = Self {
            all,
            of_backends: HashMap::new(),
            of_services: HashMap::new(),
        };
        for it in all {
            let names = (&*it.service, &*it.backend);
            reports.of_backends.entry(names).or_default().push(it);
            let (live, slots) = reports.of_services.entry(names.0).or_default();
            *live = *live + it.live;
            *slots += it.slots;
        }
        reports
    }

    fn of_backend<'b>(&'b self, service: &'b str, backend: &'b str) -> &'b [&'b EndpointReport] {
        self.of_backends
            .get(&(service, backend))
            .map_or(&[], |all| all)
    }

    /// Live flows and slots.
    fn of_service(&self, service: &str) -> (LiveFlows, u32) {
        self.of_services.get(service).copied().unwrap_or_default()
    }
}

pub(super) fn live(endpoints: &[EndpointReport]) -> LiveFlows {
    let live = endpoints.iter().map(|it| it.live);
    live.fold(LiveFlows::default(), Add::add)
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
    tables: &Tables,
    endpoints: &Reports<'_>,
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
        slots: tables.get(&service.name).map_or(0, |it| it.slots),
        digest: tables.get(&service.name).map(digest).unwrap_or_default(),
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
        live: endpoints.of_service(&service.name).0,
    };
    state.desired.services.iter().map(view).collect()
}

pub(super) fn backends(
    state: &State,
    endpoints: &Reports<'_>,
    carried: &Carried,
) -> Vec<BackendView> {
    let mut views = Vec::new();
    let mut known = HashSet::new();
    for service in &state.desired.services {
        for backend in &service.backends {
            known.insert((&*service.name, &*backend.name));
            views.push(configured(state, service, backend, endpoints, carried));
        }
    }
    for report in endpoints.all {
        if known.insert((&report.service, &report.backend)) {
            views.push(left_over(state, report, endpoints, carried));
        }
    }
    views
}

fn configured(
    state: &State,
    service: &Service,
    backend: &Backend,
    endpoints: &Reports<'_>,
    carried: &Carried,
) -> BackendView {
    let gone = carried.of(service, &backend.name);
    let reports = endpoints.of_backend(&service.name, &backend.name);
    let slots = reports.iter().map(|it| it.slots).sum();
    // Every slot names an endpoint.
    let (_, total) = endpoints.of_service(&service.name);
    let sources: HashMap<SocketAddr, IpAddr> = backend
        .endpoints
        .iter()
        .map(|it| (it.address, it.source))
        .collect();
    BackendView {
        configured: true,
        source: origin(state, &service.name),
        percent: percent(backend.weight),
        slots,
        slot_percent: slot_percent(slots, total),
        ..counted(&service.name, &backend.name, reports, gone, |address| {
            sources.get(&address).copied()
        })
    }
}

/// A backend that left the configuration and is kept for its live flows.
fn left_over(
    state: &State,
    report: &EndpointReport,
    endpoints: &Reports<'_>,
    carried: &Carried,
) -> BackendView {
    let mut services = state.desired.services.iter();
    let gone = services
        .find(|it| it.name == report.service)
        .map(|it| carried.of(it, &report.backend))
        .unwrap_or_default();
    let reports = endpoints.of_backend(&report.service, &report.backend);
    counted(&report.service, &report.backend, reports, gone, |_| None)
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
        live: reports
            .iter()
            .map(|it| it.live)
            .fold(LiveFlows::default(), Add::add),
        counters: reports.iter().fold(gone, |sum, it| sum + it.counters),
        endpoints: endpoints.collect(),
    }
}

/// What a change did. `live` are the flows on a backend.
pub(super) fn shift(
    change: &ServiceChange,
    before: &Tables,
    after: &Tables,
    live: impl Fn(&str) -> LiveFlows,
) -> ServiceShift {
    let (old, new) = (before.get(&change.service), after.get(&change.service));
    let total = new.map_or(0, |it| it.slots);
    let backends = change.backends.iter().map(|it| {
        let slots_after = slots_of(new, &it.name);
        BackendShift {
            name: it.name.clone(),
            before_percent: it.before.map(percent),
            after_percent: it.after.map(percent),
            slots_before: slots_of(old, &it.name),
            slots_after,
            realised_percent: slot_percent(slots_after, total),
            live_flows: live(&it.name).all(),
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

impl Reports<'_> {
    /// Live flows of a backend.
    pub(super) fn live(&self, service: &str, backend: &str) -> LiveFlows {
        let live = self.of_backend(service, backend).iter().map(|it| it.live);
        live.fold(LiveFlows::default(), Add::add)
    }
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
