//! The parts of a table that do not depend on weights, kept from one build to the next.

use std::collections::BTreeMap;

use super::check::Checked;
use super::fill::Fill;
use super::noise::Noise;
use super::owners::PairOrder;
use super::{SlotCount, crew};

/// What all parts of a service's tables are drawn from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) seed: u64,
    pub(super) service: Vec<u8>,
    pub(super) slots: SlotCount,
}

/// From how many slots on a part takes several times as long as to start a thread: 0.1 ms.
const WORTH_THREADS: SlotCount = SlotCount(1 << 14);

/// The parts for the backends of the last build.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    /// The second level, by backend.
    pub(super) fills: BTreeMap<String, Fill>,
    /// What more than two backends contend with.
    pub(super) noise: BTreeMap<String, Noise>,
    /// What two backends contend with.
    pub(super) order: Option<PairOrder>,
}

/// A part to be made.
enum Missing<'a> {
    Order([&'a str; 2]),
    Noise(&'a str),
    Fill(&'a Checked<'a>),
}

/// A part that was made.
enum Part {
    Order(PairOrder),
    Noise(String, Noise),
    Fill(String, Fill),
}

impl Parts {
    /// Makes the parts these backends lack, and drops those they have no use for. `contenders`
    /// are the names of those to which slots may go.
    pub(super) fn bring_up_to_date(
        &mut self,
        source: &Source,
        backends: &[Checked<'_>],
        contenders: &[&str],
    ) {
        self.keep_only(backends, contenders);
        let missing = self.missing(backends, contenders);
        let threads = if source.slots < WORTH_THREADS {
            1
        } else {
            crew::processors()
        };
        for part in crew::make(threads, missing, |part| part.make(source)) {
            match part {
                Part::Order(order) => self.order = Some(order),
                Part::Noise(name, noise) => drop(self.noise.insert(name, noise)),
                Part::Fill(name, fill) => drop(self.fills.insert(name, fill)),
            }
        }
    }

    fn keep_only(&mut self, backends: &[Checked<'_>], contenders: &[&str]) {
        self.fills.retain(|name, fill| {
            let of = |backend: &Checked<'_>| backend.name.cmp(name);
            let found = backends.binary_search_by(of);
            found.is_ok_and(|n| fill.is_of(&backends[n].endpoints))
        });
        match *contenders {
            [_] => {}
            [first, second] => {
                self.noise.clear();
                self.order.take_if(|order| !order.is_of(first, second));
            }
            _ => {
                self.noise.retain(|name, _| contenders.contains(&&**name));
                self.order = None;
            }
        }
    }

    /// The longest first, so that threads end together.
    fn missing<'a>(&self, backends: &'a [Checked<'_>], contenders: &[&'a str]) -> Vec<Missing<'a>> {
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
        let missing_fills = backends.iter().filter(unfilled).map(Missing::Fill);
        missing_order
            .into_iter()
            .chain(missing_fills)
            .chain(missing_noise)
            .collect()
    }
}

impl Missing<'_> {
    fn make(self, source: &Source) -> Part {
        let Source {
            seed,
            ref service,
            slots,
        } = *source;
        let noise = |name: &str| Noise::draw(seed, service, name, slots);
        match self {
            Self::Order([first, second]) => Part::Order(PairOrder::of(
                (first, &noise(first)),
                (second, &noise(second)),
            )),
            Self::Noise(name) => Part::Noise(name.to_owned(), noise(name)),
            Self::Fill(backend) => Part::Fill(
                backend.name.to_owned(),
                Fill::of(seed, service, slots, &backend.endpoints),
            ),
        }
    }
}
