//! From the shape of the file to values without mistakes: how endpoints are selected.

use std::net::IpAddr;
use std::sync::Arc;

use toml::Spanned;

use super::error::Mistake;
use super::shape::ServiceEntry;
use crate::desired::{Affinity, Rule, Scheduling, Selection};
use crate::nearest;

pub(super) fn selection(
    entry: &ServiceEntry,
    rules: Arc<[Rule]>,
    service: IpAddr,
) -> Result<Selection, Mistake> {
    let scheduling = entry.scheduling.unwrap_or_default();
    let affinity = match &entry.affinity {
        Some(text) => affinity(text, service)?,
        None => Affinity::Flow,
    };
    if let (Some(text), Scheduling::Exact) = (&entry.affinity, scheduling)
        && affinity != Affinity::Flow
    {
        let problem = "flows that take turns cannot stay together by client";
        let hint = "choose: scheduling = \"hash\" with an affinity, or \"exact\" without";
        return Err(Mistake::new(text.span(), AFFINITY, problem, hint));
    }
    Ok(Selection {
        scheduling,
        affinity,
        rules,
    })
}

/// `flow`, `client-ip`, `client-net/24`, `client-net/24,64` (IPv4, IPv6).
fn affinity(text: &Spanned<String>, service: IpAddr) -> Result<Affinity, Mistake> {
    let typed = text.get_ref().as_str();
    let whole: u8 = if service.is_ipv4() { 32 } else { 128 };
    let wrong =
        |problem: String, hint: String| Err(Mistake::new(text.span(), AFFINITY, problem, hint));
    match typed {
        "flow" => return Ok(Affinity::Flow),
        "client-ip" => return Ok(Affinity::Client(whole)),
        _ => {}
    }
    let Some(lengths) = typed.strip_prefix("client-net/") else {
        let known = ["flow", "client-ip", "client-net/24"];
        let hint = match nearest::to(typed, known) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => "use \"flow\", \"client-ip\", or a length as in \"client-net/24\"".to_owned(),
        };
        return wrong(format!("\"{typed}\" is no affinity"), hint);
    };
    // One length is that of the service's own family; of two, the first is for IPv4.
    let (v4, v6) = match lengths.split_once(',') {
        Some((v4, v6)) => (Some(v4), Some(v6)),
        None if service.is_ipv4() => (Some(lengths), None),
        None => (None, Some(lengths)),
    };
    let mut bits = whole;
    for (length, most, is_ours) in [(v4, 32, service.is_ipv4()), (v6, 128, service.is_ipv6())] {
        let Some(length) = length else { continue };
        match length.trim().parse() {
            Ok(length) if (1..=most).contains(&length) => {
                if is_ours {
                    bits = length;
                }
            }
            _ => {
                let hint = format!("use 1 to {most} bits, as in \"client-net/24,64\"");
                return wrong(format!("\"{length}\" is no prefix length"), hint);
            }
        }
    }
    Ok(Affinity::Client(bits))
}

const AFFINITY: &str = "service.affinity";

#[cfg(test)]
mod tests;
