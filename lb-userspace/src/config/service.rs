//! From the shape of the file to values without mistakes: services, backends, endpoints.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::error::Mistake;
use super::rule::rules;
use super::selection::selection;
use super::shape::{BackendEntry, IdleEntry, ServiceEntry, Span};
use super::{SourceLookup, address, delivery};
use crate::desired::{Backend, Endpoint, Idle, Mode, Ports, Service, written_endpoint};
use crate::weights::{self, Weight};

/// Slots of a service when the file does not say.
const DEFAULT_SLOTS: u32 = 65_536;
/// What an idle limit may be.
const IDLE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);

pub(super) fn all(
    entries: &[Spanned<ServiceEntry>],
    source: SourceLookup<'_>,
    directory: &Path,
) -> Result<Vec<Service>, Mistake> {
    let mut services: Vec<Service> = Vec::new();
    for entry in entries {
        let service = one(entry, source, directory)?;
        unlike_the_others(entry.get_ref(), &service, &services)?;
        services.push(service);
    }
    no_service_as_endpoint(entries, &services)?;
    Ok(services)
}

fn one(
    entry: &Spanned<ServiceEntry>,
    source: SourceLookup<'_>,
    directory: &Path,
) -> Result<Service, Mistake> {
    let shape = entry.get_ref();
    let name = name(&shape.name, "service.name")?;
    let (address, ports) = address::parse_ports(&shape.address, ADDRESS)?;
    let idle = idle(&shape.idle)?;
    let delivery = delivery::delivery(shape)?;
    let backends = backends(entry, &name, (address, ports, delivery.mode), source)?;
    delivery::one_source(shape, &delivery, &backends)?;
    let slots = slots(shape.slots.as_ref())?;
    let rules = rules(shape, &backends, address.ip(), directory)?;
    let selection = selection(shape, rules, address.ip())?;
    Ok(Service {
        name,
        address,
        ports,
        protocol: shape.protocol,
        slots,
        selection,
        idle,
        delivery,
        echo: shape.echo,
        backends,
    })
}

fn unlike_the_others(
    entry: &ServiceEntry,
    service: &Service,
    others: &[Service],
) -> Result<(), Mistake> {
    if others.iter().any(|other| other.name == service.name) {
        let problem = format!("two services are called \"{}\"", service.name);
        return Err(Mistake::new(
            entry.name.span(),
            "service.name",
            problem,
            "rename one of them",
        ));
    }
    // A service with one port has it even where another has a range around it.
    let shares = |other: &&Service| {
        let is_like = (other.ports == Ports::One) == (service.ports == Ports::One);
        is_like
            && other.protocol == service.protocol
            && (other.has(service.address) || service.has(other.address))
    };
    if let Some(other) = others.iter().find(shares) {
        let problem = if other.written().to_string() == service.written().to_string() {
            format!(
                "{} is the address of \"{}\" already",
                service.written(),
                other.name
            )
        } else {
            let (ours, theirs) = (service.written(), other.written());
            format!("{ours} shares ports with \"{}\" at {theirs}", other.name)
        };
        let hint = "give one of them another address, port or protocol";
        return Err(Mistake::new(
            entry.address.span(),
            "service.address",
            problem,
            hint,
        ));
    }
    Ok(())
}

/// A packet sent on to a service of the same node would go round for ever.
fn no_service_as_endpoint(
    entries: &[Spanned<ServiceEntry>],
    services: &[Service],
) -> Result<(), Mistake> {
    for (entry, service) in entries.iter().zip(services) {
        let texts = entry
            .get_ref()
            .backends
            .iter()
            .flat_map(|it| &it.get_ref().endpoints);
        let endpoints = service.backends.iter().flat_map(|it| &*it.endpoints);
        for (text, endpoint) in texts.zip(endpoints) {
            let loops = |other: &&Service| {
                service.reaches(endpoint, other) && other.protocol == service.protocol
            };
            if let Some(other) = services.iter().find(loops) {
                let problem = format!("{} is the service \"{}\"", endpoint.written(), other.name);
                let hint = "name the server itself, not a service of this file";
                return Err(Mistake::new(text.span(), ENDPOINTS, problem, hint));
            }
        }
    }
    Ok(())
}

fn slots(asked: Option<&Spanned<u64>>) -> Result<u32, Mistake> {
    let Some(asked) = asked else {
        return Ok(DEFAULT_SLOTS);
    };
    let slots = *asked.get_ref();
    let allowed = |it: &u32| it.is_power_of_two() && (256..=65_536).contains(it);
    u32::try_from(slots).ok().filter(allowed).ok_or_else(|| {
        let problem = format!("{slots} is not a power of two from 256 to 65536");
        Mistake::new(
            asked.span(),
            "service.slots",
            problem,
            "leave it out for 65536",
        )
    })
}

fn idle(entry: &IdleEntry) -> Result<Idle, Mistake> {
    let usual = Idle::default();
    Ok(Idle {
        opening: limit(
            entry.opening.as_ref(),
            usual.opening,
            "service.idle.opening",
        )?,
        open: limit(entry.open.as_ref(), usual.open, "service.idle.open")?,
        closing: limit(
            entry.closing.as_ref(),
            usual.closing,
            "service.idle.closing",
        )?,
        udp: limit(entry.udp.as_ref(), usual.udp, "service.idle.udp")?,
    })
}

fn limit(
    asked: Option<&Spanned<Span>>,
    usual: Duration,
    key: &'static str,
) -> Result<Duration, Mistake> {
    let Some(asked) = asked else { return Ok(usual) };
    let Span(time) = *asked.get_ref();
    if !IDLE.contains(&time) {
        let problem = format!("{} is out of range", humantime::format_duration(time));
        return Err(Mistake::new(
            asked.span(),
            key,
            problem,
            "use \"1s\" to \"7d\"",
        ));
    }
    Ok(time)
}

fn backends(
    service: &Spanned<ServiceEntry>,
    service_name: &str,
    of: (SocketAddr, Ports, Mode),
    source: SourceLookup<'_>,
) -> Result<Vec<Backend>, Mistake> {
    let entries = &service.get_ref().backends;
    if entries.is_empty() {
        let problem = format!("the service \"{service_name}\" has no backend");
        let hint = "add a [[service.backend]] with name, weight and endpoints";
        return Err(Mistake::new(
            service.get_ref().name.span(),
            "service.backend",
            problem,
            hint,
        ));
    }
    let mut backends: Vec<Backend> = Vec::new();
    for (entry, weight) in entries.iter().zip(weights(entries)?) {
        let entry = entry.get_ref();
        let name = name(&entry.name, "service.backend.name")?;
        if backends.iter().any(|other| other.name == name) {
            let problem = format!("two backends of \"{service_name}\" are called \"{name}\"");
            let hint = "rename one of them";
            return Err(Mistake::new(
                entry.name.span(),
                "service.backend.name",
                problem,
                hint,
            ));
        }
        let mut endpoints = Vec::new();
        for text in &entry.endpoints {
            let endpoint = endpoint(text, entry, of, source)?;
            only_here(text, &endpoint, &endpoints, &backends)?;
            endpoints.push(endpoint);
        }
        backends.push(Backend {
            name,
            weight,
            endpoints: endpoints.into(),
        });
    }
    Ok(backends)
}

fn weights(entries: &[Spanned<BackendEntry>]) -> Result<Vec<Weight>, Mistake> {
    for entry in entries {
        let entry = entry.get_ref();
        if *entry.weight.get_ref() > 0 && entry.endpoints.is_empty() {
            let problem = format!("\"{}\" has a weight and no endpoint", entry.name.get_ref());
            let hint = "give it endpoints, or weight 0";
            return Err(Mistake::new(entry.weight.span(), WEIGHT, problem, hint));
        }
    }
    let relative: Vec<u64> = entries
        .iter()
        .map(|it| *it.get_ref().weight.get_ref())
        .collect();
    weights::from_relative(&relative).map_err(|cause| {
        let first = entries
            .first()
            .map_or(0..0, |it| it.get_ref().weight.span());
        Mistake::new(
            first,
            WEIGHT,
            cause.to_string(),
            "for all new flows to it: weight = 1",
        )
    })
}

fn endpoint(
    text: &Spanned<String>,
    backend: &BackendEntry,
    of: (SocketAddr, Ports, Mode),
    source: SourceLookup<'_>,
) -> Result<Endpoint, Mistake> {
    let address = delivery::endpoint(text, of)?;
    let written = written_endpoint(address);
    let source = match &backend.source {
        Some(given) => given_source(given, address)?,
        None => source(address).map_err(|cause| {
            let problem = format!("no route to {written}: {cause}");
            let hint = "add a route, or name the node's address with `source`";
            Mistake::new(text.span(), ENDPOINTS, problem, hint)
        })?,
    };
    if source == address.ip() {
        let problem = format!("{written} is an address of this node");
        let hint = "an endpoint must be on another host, container or namespace";
        return Err(Mistake::new(text.span(), ENDPOINTS, problem, hint));
    }
    Ok(Endpoint { address, source })
}

fn given_source(text: &Spanned<String>, endpoint: SocketAddr) -> Result<std::net::IpAddr, Mistake> {
    let key = "service.backend.source";
    let source = address::parse_source(text, key)?;
    if source.is_ipv4() != endpoint.is_ipv4() {
        let (ours, theirs) = (address::family(source), address::family(endpoint.ip()));
        let endpoint = written_endpoint(endpoint);
        let problem = format!("{source} is {ours}, the endpoint {endpoint} {theirs}");
        return Err(Mistake::new(
            text.span(),
            key,
            problem,
            "use an address of the same family",
        ));
    }
    Ok(source)
}

/// An endpoint of two backends would make a flow's backend a matter of opinion.
fn only_here(
    text: &Spanned<String>,
    endpoint: &Endpoint,
    siblings: &[Endpoint],
    others: &[Backend],
) -> Result<(), Mistake> {
    let names_it = |list: &[Endpoint]| list.iter().any(|it| it.address == endpoint.address);
    if names_it(siblings) {
        let problem = format!("{} is named twice", endpoint.written());
        return Err(Mistake::new(
            text.span(),
            ENDPOINTS,
            problem,
            "remove one of them",
        ));
    }
    if let Some(other) = others.iter().find(|it| names_it(&it.endpoints)) {
        let problem = format!(
            "{} is in the backend \"{}\" already",
            endpoint.written(),
            other.name
        );
        let hint = "an endpoint belongs to one backend of a service";
        return Err(Mistake::new(text.span(), ENDPOINTS, problem, hint));
    }
    Ok(())
}

/// A name that needs no quoting anywhere.
fn name(text: &Spanned<String>, key: &'static str) -> Result<String, Mistake> {
    let name = text.get_ref();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !(1..=63).contains(&name.len()) || !name.chars().all(plain) {
        let hint = "use 1 to 63 of A-Z a-z 0-9 . _ -";
        return Err(Mistake::new(
            text.span(),
            key,
            format!("\"{name}\" is not a name"),
            hint,
        ));
    }
    Ok(name.clone())
}

const ENDPOINTS: &str = "service.backend.endpoints";
const ADDRESS: &str = "service.address";
const WEIGHT: &str = "service.backend.weight";
