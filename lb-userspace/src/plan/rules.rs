//! Rules: which clients have which table, and the way from one set of rules to the next.
//!
//! A rule keeps its number as long as it keeps a prefix, so that new weights for it are one store, as
//! those of a service: all its clients have the old table or the new one. Where prefixes come, go or
//! change their rule, each is seen whole, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use lb_common::limits;
use lb_common::record::TableRef;

use super::shape::{Groups, Shape};
use super::tables::{Content, Tables};
use super::{Planner, Write};
use crate::desired::{Prefix, Rule, Service};
use crate::weights::Weight;

/// Which prefixes of a service have which rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// Prefix and number of the rule, by prefix; each prefix once.
    sorted: Vec<(Prefix, u32)>,
    /// Numbers of all rules.
    rules: BTreeSet<u32>,
}

/// What changes of a service's prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixChange {
    /// Those that come, or get another rule.
    pub put: Vec<(Prefix, u32)>,
    /// Those that go.
    pub take: Vec<Prefix>,
    /// All there are afterwards.
    pub after: Arc<Prefixes>,
}

impl Prefixes {
    /// Of prefixes in any order, each once.
    pub fn of(mut all: Vec<(Prefix, u32)>) -> Self {
        all.sort_unstable();
        let rules = all.iter().map(|&(_, rule)| rule).collect();
        Self { sorted: all, rules }
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Numbers of the rules, each once.
    pub fn rules(&self) -> impl Iterator<Item = u32> {
        self.rules.iter().copied()
    }

    fn rule_of(&self, prefix: &Prefix) -> Option<u32> {
        let place = self
            .sorted
            .binary_search_by(|(it, _)| it.cmp(prefix))
            .ok()?;
        Some(self.sorted[place].1)
    }

    /// The way to `after`.
    fn change(&self, after: Arc<Self>) -> PrefixChange {
        let (mut put, mut take) = (Vec::new(), Vec::new());
        let mut old = self.sorted.iter().peekable();
        for &(prefix, rule) in &after.sorted {
            while let Some((gone, _)) = old.next_if(|(it, _)| *it < prefix) {
                take.push(*gone);
            }
            let before = old.next_if(|(it, _)| *it == prefix);
            if before.is_none_or(|&(_, it)| it != rule) {
                put.push((prefix, rule));
            }
        }
        take.extend(old.map(|&(prefix, _)| prefix));
        PrefixChange { put, take, after }
    }
}

/// What [`Prefixes`] were last made of. They are not made again for a change of weights.
#[derive(Debug, Default)]
pub(super) struct Known {
    from: Arc<[Rule]>,
    numbers: Vec<u32>,
    prefixes: Arc<Prefixes>,
    /// The tables of the last plan: as long as they are here they are not built again.
    pub(super) tables: Vec<Arc<Content>>,
}

impl Known {
    /// The prefixes of rules that have these numbers.
    pub(super) fn prefixes(&mut self, rules: &Arc<[Rule]>, numbers: &[u32]) -> Arc<Prefixes> {
        if !Arc::ptr_eq(rules, &self.from) || numbers != self.numbers {
            let numbered = rules.iter().zip(numbers);
            let all =
                numbered.flat_map(|(rule, &number)| rule.from.iter().map(move |&it| (it, number)));
            self.prefixes = Arc::new(Prefixes::of(all.collect()));
            self.from = rules.clone();
            self.numbers = numbers.to_vec();
        }
        self.prefixes.clone()
    }
}

impl Planner {
    /// Writes the tables of a service's rules, and returns the writes that put them in force.
    pub(super) fn rules(
        &mut self,
        id: u16,
        service: &Service,
        seed: u64,
        endpoints: (&Shape, &Groups),
        tables: &mut Tables,
    ) -> Result<Vec<Write>> {
        let rules = &service.selection.rules;
        let before = self.image.prefixes.get(&id).cloned().unwrap_or_default();
        let numbers = self.numbers(&before, rules)?;
        let mut visible = Vec::new();
        let groups = by_weights(rules);
        let firsts = groups.values().map(|rules_of| &rules[rules_of[0]]);
        let built = tables.build_rules(seed, service, endpoints, firsts)?;
        for ((weights, of_these), slots) in groups.into_iter().zip(built) {
            for rule in of_these {
                let number = numbers[rule];
                let before = self.image.rule_tables.get(&number).copied();
                let table = self
                    .lay(before.unwrap_or(TableRef::NONE), &slots, endpoints.1.base)
                    .with_context(|| format!("rule with weights {weights:?}"))?
                    .word();
                if before != Some(table) {
                    visible.push(Write::Rule(number, table));
                }
            }
        }
        let after = tables.prefixes(service, rules, &numbers);
        visible.extend(self.change_prefixes(id, &before, after));
        Ok(visible)
    }

    /// Takes all rules of a service back.
    pub(super) fn no_rules(&self, id: u16) -> Vec<Write> {
        let before = self.image.prefixes.get(&id).cloned().unwrap_or_default();
        self.change_prefixes(id, &before, Arc::default())
    }

    fn change_prefixes(&self, id: u16, before: &Prefixes, after: Arc<Prefixes>) -> Vec<Write> {
        let mut writes = Vec::new();
        let gone: Vec<u32> = before.rules.difference(&after.rules).copied().collect();
        if !std::ptr::eq(before, &raw const *after) && *before != *after {
            writes.push(Write::Prefixes(id, Arc::new(before.change(after))));
        }
        writes.extend(gone.into_iter().map(Write::FreeRule));
        writes
    }

    /// The number of each rule: that which one of its prefixes has, or a free one.
    fn numbers(&mut self, before: &Prefixes, rules: &[Rule]) -> Result<Vec<u32>> {
        let mut taken = BTreeSet::new();
        let mut numbers: Vec<Option<u32>> = Vec::new();
        for rule in rules {
            let mut known = rule.from.iter().filter_map(|it| before.rule_of(it));
            numbers.push(known.find(|&number| taken.insert(number)));
        }
        let mut all = Vec::new();
        for number in numbers {
            all.push(match number {
                Some(number) => number,
                None => self.free_rule()?,
            });
        }
        Ok(all)
    }

    /// A number no rule has, and which no packet under way can still mean another rule by.
    fn free_rule(&mut self) -> Result<u32> {
        let is_free = |planner: &Self, number: &u32| {
            !planner.image.rule_tables.contains_key(number) && !planner.taken_rules.contains(number)
        };
        let settled = |planner: &Self| {
            (0..limits::RULES)
                .filter(|it| !planner.image.unsettled_rules.contains(it))
                .find(|it| is_free(planner, it))
        };
        let number = match settled(self) {
            Some(number) => number,
            None => {
                self.write(Write::Barrier);
                let Some(number) = settled(self) else {
                    bail!("all {} rules are taken; remove rules", limits::RULES)
                };
                number
            }
        };
        self.taken_rules.insert(number);
        Ok(number)
    }
}

/// Rules of equal weights have one table: their indices.
fn by_weights(rules: &[Rule]) -> BTreeMap<&[Weight], Vec<usize>> {
    let mut groups: BTreeMap<&[Weight], Vec<usize>> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        groups.entry(&rule.weights).or_default().push(index);
    }
    groups
}

#[cfg(test)]
mod tests;
