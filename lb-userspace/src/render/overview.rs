//! Everything at a glance.

use super::number::{count, percent, seconds, total};
use super::table::{Column, table};
use super::{Style, list, notes};
use crate::api::{ServiceView, Status};
use crate::dataplane::{EndpointInterface, Hook, Interface, XdpMode};
use crate::desired::Scheduling;

/// The daemon, its interfaces, its services, and what went wrong.
pub fn status(status: &Status, style: Style) -> String {
    let mut text = format!(
        "{} {}, pid {}, up {}, generation {}\n",
        style.bold("lbd"),
        status.version,
        status.pid,
        seconds(status.uptime_seconds),
        status.generation
    );
    let applied = if status.config_applied {
        " (another one applied over it)"
    } else {
        ""
    };
    text += &format!("config      {}{applied}\n", status.config_file);
    text += &format!("interfaces  {}\n", interfaces(&status.interfaces));
    if !status.endpoint_interfaces.is_empty() {
        let all: Vec<String> = status
            .endpoint_interfaces
            .iter()
            .map(endpoint_interface)
            .collect();
        text += &format!("endpoints   {}\n", all.join(", "));
    }
    let live = status.live;
    text += &format!(
        "flows       {} of {} ({} opening, {} open, {} closing)\n\n",
        total(live),
        status.flow_capacity,
        live.opening,
        live.open,
        live.closing
    );
    text += &services(&status.services, style);
    if !status.drops.is_empty() {
        text += &format!("\n{}", list::reason_table(&status.drops, style));
    }
    if !status.notes.is_empty() {
        text += &format!("\n{}", notes(&status.notes, style));
    }
    text
}

fn services(services: &[ServiceView], style: Style) -> String {
    let columns = [
        Column::Text("SERVICE"),
        Column::Text("ADDRESS"),
        Column::Text("PROTOCOL"),
        Column::Text("SOURCE"),
        Column::Text("SHARES"),
        Column::Number("LIVE"),
    ];
    let row = |it: &ServiceView| {
        vec![
            it.name.clone(),
            it.address.clone(),
            list::protocol(it.protocol).to_owned(),
            list::origin(it.source).to_owned(),
            shares(it) + &selected(it),
            total(it.live).to_string(),
        ]
    };
    table(
        &columns,
        services.iter().map(row).collect(),
        "no services",
        style,
    )
}

/// What is unusual about how endpoints are selected.
fn selected(service: &ServiceView) -> String {
    let mut text = String::new();
    if service.scheduling == Scheduling::Exact {
        text += ", in turn";
    }
    if service.affinity != "flow" {
        text += &format!(", by {}", service.affinity);
    }
    if service.rules > 0 {
        text += &format!(", {}", count(service.rules as u64, "rule"));
    }
    text
}

pub(super) fn shares(service: &ServiceView) -> String {
    let shares = service
        .backends
        .iter()
        .map(|it| format!("{} {}", it.name, percent(it.percent)));
    shares.collect::<Vec<_>>().join(", ")
}

/// Each interface with how XDP runs there.
pub(crate) fn interfaces(all: &[Interface]) -> String {
    let all: Vec<String> = all.iter().map(interface).collect();
    all.join(", ")
}

fn interface(interface: &Interface) -> String {
    let mode = match interface.mode {
        XdpMode::Auto => "auto",
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    };
    format!("{} {mode}", interface.name)
}

fn endpoint_interface(interface: &EndpointInterface) -> String {
    let hook = match interface.hook {
        Hook::Tcx => "tcx",
        Hook::Clsact => "clsact",
        Hook::Refused => "REFUSED: replies are lost",
    };
    format!("{} {hook}", interface.name)
}
