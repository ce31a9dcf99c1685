//! From the shape of the file to values without mistakes: the settings.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;

use super::error::Mistake;
use super::{Config, NodePorts, Settings, SourceLookup, seed, service, shape};
use crate::dataplane::{EndpointInterfaces, Interface};

/// Flows there is room for when the file does not say.
const DEFAULT_FLOWS: u32 = 262_144;
/// What `flows` may be. The flow table costs about 64 bytes a flow.
const FLOWS: std::ops::RangeInclusive<u64> = 1_024..=16_777_216;
/// The lowest node port: below are the ports programs are given by name.
const LOWEST_NODE_PORT: u16 = 1_024;
/// Fewer node ports than this run out at once.
const FEWEST_NODE_PORTS: u16 = 64;

pub(super) fn config(
    file: shape::File,
    source: SourceLookup<'_>,
    directory: &Path,
) -> Result<Config, Mistake> {
    Ok(Config {
        settings: Settings {
            interfaces: interfaces(&file.interfaces)?,
            endpoint_interfaces: endpoint_interfaces(file.endpoint_interfaces.as_deref())?,
            seed: file.seed.as_ref().map(seed).transpose()?,
            flows: flows(file.flows.as_ref())?,
            ports: node_ports(file.node_ports.as_ref())?,
        },
        services: service::all(&file.services, source, directory)?,
    })
}

fn seed(text: &Spanned<String>) -> Result<u64, Mistake> {
    if text.get_ref().is_empty() {
        let hint = "leave the key out: a random seed is made and kept";
        return Err(Mistake::new(text.span(), "seed", "is empty", hint));
    }
    Ok(seed::parse(text.get_ref()))
}

fn interfaces(
    list: &Spanned<Vec<Spanned<shape::InterfaceEntry>>>,
) -> Result<Vec<Interface>, Mistake> {
    let key = "interfaces";
    if list.get_ref().is_empty() {
        let hint = "name the interfaces clients and endpoints are behind: see `ip link`";
        return Err(Mistake::new(list.span(), key, "is empty", hint));
    }
    let mut found: Vec<Interface> = Vec::new();
    for entry in list.get_ref() {
        let shape::InterfaceEntry { name, mode } = entry.get_ref();
        well_formed(name, entry.span(), key)?;
        if found.iter().any(|known| known.name == *name) {
            let problem = format!("\"{name}\" is named twice");
            return Err(Mistake::new(
                entry.span(),
                key,
                problem,
                "remove one of them",
            ));
        }
        found.push(Interface {
            name: name.clone(),
            mode: *mode,
        });
    }
    Ok(found)
}

fn endpoint_interfaces(asked: Option<&[Spanned<String>]>) -> Result<EndpointInterfaces, Mistake> {
    let Some(asked) = asked else {
        return Ok(EndpointInterfaces::Found);
    };
    let key = "endpoint-interfaces";
    for entry in asked {
        let name = entry.get_ref();
        let beginning = name.strip_suffix('*').unwrap_or(name);
        if beginning.contains('*') {
            let problem = format!("\"{name}\" has a `*` that is not at its end");
            let hint = "name the beginning only: \"veth*\"";
            return Err(Mistake::new(entry.span(), key, problem, hint));
        }
        if name != "*" {
            well_formed(beginning, entry.span(), key)?;
        }
    }
    let names = asked.iter().map(|it| it.get_ref().clone());
    Ok(EndpointInterfaces::Named(names.collect()))
}

/// What the kernel itself asks of an interface name.
fn well_formed(name: &str, place: Range<usize>, key: &'static str) -> Result<(), Mistake> {
    let is_well_formed = (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if is_well_formed {
        return Ok(());
    }
    let problem = format!("\"{name}\" cannot be the name of an interface");
    let hint = "see `ip link` for the names";
    Err(Mistake::new(place, key, problem, hint))
}

fn flows(asked: Option<&Spanned<u64>>) -> Result<u32, Mistake> {
    let Some(asked) = asked else {
        return Ok(DEFAULT_FLOWS);
    };
    let flows = *asked.get_ref();
    let in_range = u32::try_from(flows).ok().filter(|_| FLOWS.contains(&flows));
    in_range.ok_or_else(|| {
        let hint = format!(
            "use {} to {}; {DEFAULT_FLOWS} is usual",
            FLOWS.start(),
            FLOWS.end()
        );
        Mistake::new(
            asked.span(),
            "flows",
            format!("{flows} is out of range"),
            hint,
        )
    })
}

fn node_ports(text: Option<&Spanned<String>>) -> Result<NodePorts, Mistake> {
    let Some(text) = text else {
        return Ok(NodePorts::default());
    };
    let shown = text.get_ref();
    let wrong =
        |problem: String, hint: String| Err(Mistake::new(text.span(), "node-ports", problem, hint));
    let ports = shown.split_once('-').and_then(|(first, last)| {
        Some(NodePorts {
            first: first.trim().parse().ok()?,
            last: last.trim().parse().ok()?,
        })
    });
    let Some(ports) = ports else {
        let hint = format!("write first and last port: \"{}\"", NodePorts::default());
        return wrong(format!("\"{shown}\" is not a range of ports"), hint);
    };
    if ports.first < LOWEST_NODE_PORT {
        let hint = format!("start at {LOWEST_NODE_PORT} or above");
        return wrong(format!("\"{shown}\" takes privileged ports"), hint);
    }
    if ports.last.saturating_sub(ports.first) < FEWEST_NODE_PORTS - 1 {
        let hint =
            format!("each flow to an endpoint needs its own: give {FEWEST_NODE_PORTS} or more");
        return wrong(format!("\"{shown}\" has too few ports"), hint);
    }
    Ok(ports)
}
