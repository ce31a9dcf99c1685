//! The parts of a table that do not depend on weights, kept from one build to the next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use super::check::Checked;
use super::fill::Fill;
use super::noise::Noise;
use super::owners::{PairOrder, Rank};
use super::{SlotCount, crew};

/// What all parts of a service's tables are drawn from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) seed: u64,
    pub(super) slots: SlotCount,
}

/// The parts for the backends of the last build.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    /// The second level, by backend.
    pub(super) fills: BTreeMap<String, Arc<Fill>>,
    /// What more than two backends contend with.
    pub(super) noise: BTreeMap<String, Arc<Noise>>,
    /// Who has much of it, of many backends.
    pub(super) rank: Option<Rank>,
    /// What two backends contend with.
    pub(super) order: Option<Arc<PairOrder>>,
}

/// The parts that builders have, to be shared by those that need the same.
#[derive(Debug, Clone, Default)]
pub struct PartsInUse {
    known: HashMap<Name, WeakPart>,
    /// Of how many the dead ones were last taken out.
    after_cleaning: usize,
}

/// What a part is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Order(u64, SlotCount, [String; 2]),
    Noise(u64, SlotCount, String),
    Fill(u64, SlotCount, Vec<String>),
}

#[derive(Debug, Clone)]
enum WeakPart {
    Order(Weak<PairOrder>),
    Noise(Weak<Noise>),
    Fill(Weak<Fill>),
}

/// A part that a table needs.
enum Missing<'a> {
    Order([&'a str; 2]),
    Noise(&'a str),
    Fill(&'a Checked<'a>),
}

/// A part that was made or found.
enum Part {
    Order(Arc<PairOrder>),
    Noise(String, Arc<Noise>),
    Fill(String, Arc<Fill>),
}

impl Parts {
    /// Makes the parts these backends lack, unless others have them, and drops those they have no use
    /// for. `backends` is nothing where they are those of the last time; `contenders` are the names of those to
    /// which slots may go.
    pub(super) fn bring_up_to_date(
        &mut self,
        source: &Source,
        backends: Option<&[Checked<'_>]>,
        contenders: &[&str],
        others: &mut PartsInUse,
    ) {
        self.keep_only(backends, contenders);
        let mut missing = Vec::new();
        for part in self.missing(backends, contenders) {
            match others.find(source, &part) {
                Some(found) => self.add(found),
                None => missing.push(part),
            }
        }
        let threads = crew::for_slots(source.slots.get());
        let made = crew::make(threads, missing, |part| {
            (part.name(source), part.make(source))
        });
        for (name, part) in made {
            others.note(name, &part);
            self.add(part);
        }
        if contenders.len() > 2 {
            let levels = contenders.iter().filter_map(|&name| {
                let noise = self.noise.get(name)?;
                Some((name, noise.levels()))
            });
            let levels: Vec<(&str, &[i32])> = levels.collect();
            self.rank = Rank::bring_up_to_date(self.rank.take(), &levels, threads);
        }
    }

    fn add(&mut self, part: Part) {
        match part {
            Part::Order(order) => self.order = Some(order),
            Part::Noise(name, noise) => drop(self.noise.insert(name, noise)),
            Part::Fill(name, fill) => drop(self.fills.insert(name, fill)),
        }
    }

    fn keep_only(&mut self, backends: Option<&[Checked<'_>]>, contenders: &[&str]) {
        if let Some(backends) = backends {
            self.fills.retain(|name, fill| {
                let of = |backend: &Checked<'_>| backend.name.cmp(name);
                let found = backends.binary_search_by(of);
                found.is_ok_and(|n| fill.is_of(&backends[n].endpoints))
            });
        }
        match *contenders {
            [_] => {}
            [first, second] => {
                self.noise.clear();
                self.rank = None;
                self.order.take_if(|order| !order.is_of(first, second));
            }
            _ => {
                self.noise.retain(|name, _| contenders.contains(&&**name));
                self.order = None;
            }
        }
    }

    /// The longest first, so that threads end together.
    fn missing<'a>(
        &self,
        backends: Option<&'a [Checked<'_>]>,
        contenders: &[&'a str],
    ) -> Vec<Missing<'a>> {
        let missing_order = match *contenders {
            [first, second] if self.order.is_none() => Some(Missing::Order([first, second])),
            _ => None,
        };
        let undrawn = |name: &&str| contenders.len() > 2 && !self.noise.contains_key(*name);
        let missing_noise = contenders
            .iter()
            .copied()
            .filter(undrawn)
            .map(Missing::Noise);
        // Backends without slots too: theirs is the next weight to be raised.
        let unfilled = |backend: &&Checked<'_>| !self.fills.contains_key(backend.name);
        let missing_fills = backends.into_iter().flatten().filter(unfilled);
        let missing_fills = missing_fills.map(Missing::Fill);
        missing_order
            .into_iter()
            .chain(missing_fills)
            .chain(missing_noise)
            .collect()
    }
}

impl Missing<'_> {
    fn name(&self, source: &Source) -> Name {
        let Source { seed, slots } = *source;
        match *self {
            Self::Order(names) => Name::Order(seed, slots, names.map(str::to_owned)),
            Self::Noise(name) => Name::Noise(seed, slots, name.to_owned()),
            Self::Fill(backend) => {
                let addresses = backend.endpoints.iter().map(|it| it.address.clone());
                Name::Fill(seed, slots, addresses.collect())
            }
        }
    }

    fn make(&self, source: &Source) -> Part {
        let Source { seed, slots } = *source;
        let noise = |name: &str| Noise::draw(seed, name, slots);
        match *self {
            Self::Order([first, second]) => Part::Order(Arc::new(PairOrder::of(
                (first, &noise(first)),
                (second, &noise(second)),
            ))),
            Self::Noise(name) => Part::Noise(name.to_owned(), Arc::new(noise(name))),
            Self::Fill(backend) => Part::Fill(
                backend.name.to_owned(),
                Arc::new(Fill::of(seed, slots, &backend.endpoints)),
            ),
        }
    }
}

impl PartsInUse {
    fn find(&self, source: &Source, part: &Missing<'_>) -> Option<Part> {
        Some(match (self.known.get(&part.name(source))?, part) {
            (WeakPart::Order(order), _) => Part::Order(order.upgrade()?),
            (WeakPart::Noise(noise), Missing::Noise(name)) => {
                Part::Noise((*name).to_owned(), noise.upgrade()?)
            }
            (WeakPart::Fill(fill), Missing::Fill(backend)) => {
                Part::Fill(backend.name.to_owned(), fill.upgrade()?)
            }
            _ => return None,
        })
    }

    fn note(&mut self, name: Name, part: &Part) {
        if self.known.len() > 2 * self.after_cleaning {
            self.known.retain(|_, part| part.is_in_use());
            self.after_cleaning = self.known.len().max(16);
        }
        let part = match part {
            Part::Order(order) => WeakPart::Order(Arc::downgrade(order)),
            Part::Noise(_, noise) => WeakPart::Noise(Arc::downgrade(noise)),
            Part::Fill(_, fill) => WeakPart::Fill(Arc::downgrade(fill)),
        };
        self.known.insert(name, part);
    }
}

impl WeakPart {
    fn is_in_use(&self) -> bool {
        match self {
            Self::Order(order) => order.strong_count() > 0,
            Self::Noise(noise) => noise.strong_count() > 0,
            Self::Fill(fill) => fill.strong_count() > 0,
        }
    }
}
