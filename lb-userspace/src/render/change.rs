//! What a change did, or would do.

use super::number::{count, maybe_percent, milliseconds, percent};
use super::table::{Column, table};
use super::{Style, notes};
use crate::api::{BackendShift, ConfigAnswer, DetachAnswer, ServiceShift, WeightsAnswer};
use crate::desired::Scheduling;
use crate::state::ChangeKind;

/// Shares, slots and live flows of each backend, before → after.
pub fn weights(answer: &WeightsAnswer, style: Style) -> String {
    let service = &answer.service;
    let mut text = moved(service, answer.effect_ms, style);
    text += &shifts(service, style);
    text + &ending(answer.dry_run, answer.generation, style)
}

/// The same for every service that changed, and what to know.
pub fn config(answer: &ConfigAnswer, style: Style) -> String {
    let mut text = String::new();
    let (same, different): (Vec<_>, Vec<_>) = answer
        .services
        .iter()
        .partition(|it| it.change == ChangeKind::Unchanged);
    for service in different {
        text += &match service.change {
            ChangeKind::Removed => {
                let live = service.backends.iter().map(|it| it.live_flows).sum();
                let name = style.bold(&service.service);
                format!("{name}: removed; {} on it\n", count(live, "live flow"))
            }
            ChangeKind::Added => {
                let head = format!("{}: added\n", style.bold(&service.service));
                head + &shifts(service, style)
            }
            _ => moved(service, None, style) + &shifts(service, style),
        };
        text.push('\n');
    }
    if !same.is_empty() {
        text += &format!("unchanged: {}\n", same.len());
    }
    text += &notes(&answer.notes, style);
    if let Some(time) = answer.effect_ms {
        text += &format!("in effect in {}\n", milliseconds(time));
    }
    text + &ending(answer.dry_run, answer.generation, style)
}

/// What was cut.
pub fn detach(answer: &DetachAnswer) -> String {
    let flows = count(answer.live_flows, "live flow");
    format!(
        "detached from {}; {flows} cut; lbd has stopped\n",
        answer.interfaces.join(", ")
    )
}

fn moved(service: &ServiceShift, effect_ms: Option<f64>, style: Style) -> String {
    let effect = effect_ms.map(|it| format!(", in effect in {}", milliseconds(it)));
    let what = match service.scheduling {
        Scheduling::Hash => {
            let slots = count(service.slots.into(), "slot");
            format!("{} of {slots} moved", service.moved)
        }
        Scheduling::Exact => format!("dealt out in {}", count(service.slots.into(), "turn")),
    };
    format!(
        "{}: {what}{}\n",
        style.bold(&service.service),
        effect.unwrap_or_default()
    )
}

fn shifts(service: &ServiceShift, style: Style) -> String {
    let columns = [
        Column::Text("BACKEND"),
        Column::Number("BEFORE"),
        Column::Text(""),
        Column::Number("AFTER"),
        Column::Number("SLOTS"),
        Column::Text(""),
        Column::Number("NOW"),
        Column::Number("REALISED"),
        Column::Number("LIVE FLOWS"),
    ];
    let row = |it: &BackendShift| {
        let stay = if it.live_flows > 0 { " stay" } else { "" };
        vec![
            it.name.clone(),
            maybe_percent(it.before_percent),
            "→".to_owned(),
            maybe_percent(it.after_percent),
            it.slots_before.to_string(),
            "→".to_owned(),
            it.slots_after.to_string(),
            percent(it.realised_percent),
            format!("{}{stay}", it.live_flows),
        ]
    };
    table(
        &columns,
        service.backends.iter().map(row).collect(),
        "no backends",
        style,
    )
}

fn ending(dry_run: bool, generation: u64, style: Style) -> String {
    if dry_run {
        format!("{} nothing was changed\n", style.warn("dry run:"))
    } else {
        format!("{} generation {generation}\n", style.good("ok:"))
    }
}
