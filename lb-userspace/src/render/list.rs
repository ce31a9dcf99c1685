//! Lists: services, backends, flows, reasons.

use super::Style;
use super::number::{bytes, percent, total};
use super::overview::shares;
use super::table::{Column, table};
use crate::api::{
    BackendView, Backends, EndpointView, Flows, Origin, Reasons, ServiceView, Services,
};
use crate::dataplane::{FlowReport, ReasonCount};
use crate::desired::Protocol;

/// One line a service.
pub fn services(services: &Services, style: Style) -> String {
    let columns = [
        Column::Text("SERVICE"),
        Column::Text("ADDRESS"),
        Column::Text("PROTOCOL"),
        Column::Text("MODE"),
        Column::Text("SOURCE"),
        Column::Text("SCHEDULING"),
        Column::Text("AFFINITY"),
        Column::Number("RULES"),
        Column::Number("SLOTS"),
        Column::Text("DIGEST"),
        Column::Text("SHARES"),
        Column::Number("LIVE"),
    ];
    let row = |it: &ServiceView| {
        vec![
            it.name.clone(),
            it.address.clone(),
            protocol(it.protocol).to_owned(),
            it.mode.clone(),
            origin(it.source).to_owned(),
            it.scheduling.name().to_owned(),
            it.affinity.clone(),
            it.rules.to_string(),
            it.slots.to_string(),
            it.digest.clone(),
            shares(it),
            total(it.live).to_string(),
        ]
    };
    table(
        &columns,
        services.services.iter().map(row).collect(),
        "no services",
        style,
    )
}

/// One line a backend, and one an endpoint below it.
pub fn backends(backends: &Backends, style: Style) -> String {
    let columns = [
        Column::Text("SERVICE"),
        Column::Text("BACKEND"),
        Column::Text("SOURCE"),
        Column::Number("WEIGHT"),
        Column::Number("SLOTS"),
        Column::Number("REALISED"),
        Column::Number("LIVE"),
        Column::Number("OPENED"),
        Column::Number("CLOSED"),
        Column::Number("RESET"),
        Column::Number("REFUSED"),
        Column::Number("IN"),
        Column::Number("OUT"),
    ];
    let rows = backends.backends.iter().flat_map(|it| {
        std::iter::once(backend(it)).chain(it.endpoints.iter().map(|one| endpoint(it, one)))
    });
    table(&columns, rows.collect(), "no backends", style)
}

fn backend(it: &BackendView) -> Vec<String> {
    let c = &it.counters;
    vec![
        it.service.clone(),
        it.name.clone(),
        if it.configured {
            origin(it.source)
        } else {
            "left"
        }
        .to_owned(),
        percent(it.percent),
        it.slots.to_string(),
        percent(it.slot_percent),
        total(it.live).to_string(),
        c.opened.to_string(),
        c.closed.to_string(),
        (c.reset_by_endpoint + c.reset_by_client).to_string(),
        c.refused.to_string(),
        bytes(c.bytes_in),
        bytes(c.bytes_out),
    ]
}

fn endpoint(backend: &BackendView, it: &EndpointView) -> Vec<String> {
    let c = &it.counters;
    // What was "left" as a whole need not say it again for each endpoint.
    let left = if backend.configured && !it.configured {
        "left"
    } else {
        ""
    };
    vec![
        String::new(),
        format!("└ {}", it.address),
        left.to_owned(),
        String::new(),
        it.slots.to_string(),
        String::new(),
        total(it.live).to_string(),
        c.opened.to_string(),
        c.closed.to_string(),
        (c.reset_by_endpoint + c.reset_by_client).to_string(),
        c.refused.to_string(),
        bytes(c.bytes_in),
        bytes(c.bytes_out),
    ]
}

/// One line a flow.
pub fn flows(flows: &Flows, style: Style) -> String {
    let columns = [
        Column::Text("PROTOCOL"),
        Column::Text("CLIENT"),
        Column::Text("SERVICE"),
        Column::Number("PORT"),
        Column::Text("BACKEND"),
        Column::Text("ENDPOINT"),
        Column::Number("NODE PORT"),
        Column::Text("PHASE"),
        Column::Number("IDLE"),
    ];
    let row = |it: &FlowReport| {
        vec![
            protocol(it.protocol).to_owned(),
            it.client.to_string(),
            it.service.clone(),
            it.port.to_string(),
            it.backend.clone(),
            it.endpoint.to_string(),
            it.node_port
                .map_or_else(|| "-".to_owned(), |port| port.to_string()),
            it.phase.clone(),
            format!("{} s", it.idle_seconds),
        ]
    };
    let mut text = table(
        &columns,
        flows.flows.iter().map(row).collect(),
        "no live flows",
        style,
    );
    if flows.more {
        text += &format!(
            "there are more than these {}: see --limit\n",
            flows.flows.len()
        );
    }
    text
}

/// One line a reason, with its meaning.
pub fn reasons(reasons: &Reasons, style: Style) -> String {
    reason_table(&reasons.reasons, style)
}

pub(super) fn reason_table(reasons: &[ReasonCount], style: Style) -> String {
    let columns = [
        Column::Text("VERDICT"),
        Column::Text("REASON"),
        Column::Number("PACKETS"),
        Column::Text("MEANING"),
    ];
    let row = |it: &ReasonCount| {
        vec![
            it.verdict.clone(),
            it.reason.clone(),
            it.packets.to_string(),
            it.meaning.clone(),
        ]
    };
    table(
        &columns,
        reasons.iter().map(row).collect(),
        "no reasons",
        style,
    )
}

pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

pub(super) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Config => "config",
        Origin::Runtime => "runtime",
    }
}
