//! From the shape of the file to values without mistakes: rules, also those of a file of their own.

use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;

use super::error::Mistake;
use super::shape::{RuleEntry, ServiceEntry};
use crate::desired::{Backend, Prefix, Rule};
use crate::nearest;
use crate::weights::{self, Weight};

/// The rules of a service. `directory` is where names of files begin.
pub(super) fn rules(
    entry: &ServiceEntry,
    backends: &[Backend],
    service: IpAddr,
    directory: &Path,
) -> Result<Arc<[Rule]>, Mistake> {
    let mut all = Vec::new();
    let mut rules = Vec::new();
    for entry in &entry.rules {
        let weights = weights(entry, backends)?;
        let mut named = prefixes(entry, directory)?;
        // A rule may serve services of both families.
        named.retain(|(prefix, _)| prefix.address.is_ipv4() == service.is_ipv4());
        let from = named.iter().map(|&(prefix, _)| prefix).collect();
        rules.push(Rule { from, weights });
        all.extend(named);
    }
    each_once(&entry.rules, all)?;
    // One that can never apply is no rule.
    rules.retain(|rule| !rule.from.is_empty());
    Ok(rules.into())
}

/// Where a prefix stands.
#[derive(Clone, Debug)]
enum Place {
    /// In this text.
    Here(Range<usize>),
    /// In a line of the file that is named here.
    File(Range<usize>, u32),
}

/// A prefix in two rules, or twice in one, would make a client's rule a matter of opinion.
fn each_once(entries: &[Spanned<RuleEntry>], mut all: Vec<(Prefix, Place)>) -> Result<(), Mistake> {
    // Stable: of two, the first is the one that was named first.
    all.sort_by_key(|&(prefix, _)| prefix);
    let Some([(_, first), (prefix, again)]) = all.array_windows().find(|[a, b]| a.0 == b.0) else {
        return Ok(());
    };
    let file_of = |span: &Range<usize>| {
        let mut files = entries
            .iter()
            .filter_map(|it| it.get_ref().from_file.as_ref());
        let named = files.find(|it| it.span() == *span);
        named.map_or("", |it| it.get_ref().as_str())
    };
    let (span, key, line) = match again {
        Place::Here(span) => (span.clone(), FROM, String::new()),
        Place::File(span, line) => {
            let line = format!("line {line} of {}: ", file_of(span));
            (span.clone(), FROM_FILE, line)
        }
    };
    let mistake = |problem| Mistake::new(span, key, problem, "remove one of them");
    Err(match first {
        Place::Here(first) => {
            mistake(format!("{line}{prefix} is in a rule already")).after(first.clone())
        }
        Place::File(first, number) => {
            let file = file_of(first);
            mistake(format!(
                "{line}{prefix} is in a rule already: line {number} of {file}"
            ))
        }
    })
}

fn prefixes(entry: &Spanned<RuleEntry>, directory: &Path) -> Result<Vec<(Prefix, Place)>, Mistake> {
    let rule = entry.get_ref();
    if rule.from.is_empty() && rule.from_file.is_none() {
        let hint = "add from = [\"10.0.0.0/8\"], or from-file";
        let problem = "the rule names no clients";
        return Err(Mistake::new(entry.span(), "service.rule", problem, hint));
    }
    let mut all = Vec::new();
    for text in &rule.from {
        let prefix = prefix(text.get_ref())
            .map_err(|(problem, hint)| Mistake::new(text.span(), FROM, problem, hint))?;
        all.push((prefix, Place::Here(text.span())));
    }
    if let Some(name) = &rule.from_file {
        all.extend(of_file(name, directory)?);
    }
    Ok(all)
}

/// One prefix a line; `#` begins a comment.
fn of_file(name: &Spanned<String>, directory: &Path) -> Result<Vec<(Prefix, Place)>, Mistake> {
    let path = directory.join(name.get_ref());
    let text = std::fs::read_to_string(&path).map_err(|cause| {
        let problem = format!("cannot read {}: {cause}", path.display());
        let hint = "name a text file with a prefix a line, from the configuration's directory on";
        Mistake::new(name.span(), FROM_FILE, problem, hint)
    })?;
    let mut all = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let prefix = prefix(line).map_err(|(problem, hint)| {
            let problem = format!("line {number} of {}: {problem}", name.get_ref());
            Mistake::new(name.span(), FROM_FILE, problem, hint)
        })?;
        all.push((prefix, Place::File(name.span(), number)));
    }
    Ok(all)
}

/// `10.0.0.0/8`, or an address, which is a network of one.
fn prefix(text: &str) -> Result<Prefix, (String, String)> {
    let usual = || "write \"10.0.0.0/8\" or \"2001:db8::/32\"".to_owned();
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| (format!("\"{text}\" is not a prefix"), usual()))?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length: u8 = match length.map(str::parse) {
        None => most,
        Some(Ok(length)) if length <= most => length,
        Some(_) => {
            let problem = format!("\"{text}\" has no length from 0 to {most}");
            return Err((problem, usual()));
        }
    };
    Prefix::new(address, length).ok_or_else(|| {
        let meant = Prefix { address, length }.without_host();
        let problem = format!("\"{text}\" has bits set after the first {length}");
        let hint = meant.map_or_else(usual, |it| format!("write \"{it}\", or \"{address}\""));
        (problem, hint)
    })
}

/// The share of each backend.
fn weights(entry: &Spanned<RuleEntry>, backends: &[Backend]) -> Result<Vec<Weight>, Mistake> {
    let rule = entry.get_ref();
    let mut numbers = vec![0; backends.len()];
    let (span, key) = match (&rule.backend, &rule.weights) {
        (Some(name), None) => {
            numbers[place(name.get_ref(), name.span(), BACKEND, backends)?] = 1;
            (name.span(), BACKEND)
        }
        (None, Some(weights)) => {
            for (name, weight) in weights.get_ref() {
                let place = place(name, weight.span(), WEIGHTS, backends)?;
                numbers[place] = *weight.get_ref();
            }
            (weights.span(), WEIGHTS)
        }
        (Some(name), Some(_)) => {
            let problem = "the rule has a backend and weights";
            let hint = "choose: one backend, or weights for several";
            return Err(Mistake::new(name.span(), BACKEND, problem, hint));
        }
        (None, None) => {
            let problem = "the rule says not where to";
            let hint = "add backend = \"new\", or weights = { new = 1, old = 1 }";
            return Err(Mistake::new(entry.span(), "service.rule", problem, hint));
        }
    };
    let shares = numbers.iter().zip(backends);
    let mut without = shares.filter(|(share, it)| **share > 0 && it.endpoints.is_empty());
    if let Some((_, backend)) = without.next() {
        let problem = format!("\"{}\" has no endpoint", backend.name);
        return Err(Mistake::new(span, key, problem, "give it endpoints"));
    }
    weights::from_relative(&numbers).map_err(|cause| {
        let hint = "give one of them a number above 0";
        Mistake::new(span, key, cause.to_string(), hint)
    })
}

/// Which backend is meant.
fn place(
    name: &str,
    span: Range<usize>,
    key: &'static str,
    backends: &[Backend],
) -> Result<usize, Mistake> {
    let names = || backends.iter().map(|it| it.name.as_str());
    names().position(|it| it == name).ok_or_else(|| {
        let hint = match nearest::to(name, names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("use one of {}", names().collect::<Vec<_>>().join(", ")),
        };
        let problem = format!("the service has no backend \"{name}\"");
        Mistake::new(span, key, problem, hint)
    })
}

const FROM: &str = "service.rule.from";
const FROM_FILE: &str = "service.rule.from-file";
const BACKEND: &str = "service.rule.backend";
const WEIGHTS: &str = "service.rule.weights";

#[cfg(test)]
mod tests;
