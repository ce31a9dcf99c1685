//! Who could get which slot, and who does at which biases.

use std::cmp::max;
use std::ops::Range;

use super::super::crew;
use super::rank::{FRONT, Ranked};
use super::{log, noise};

/// Rounds of calibration. Each about squares the relative miss, so what is left after a few is
/// the grain of single slots, which `settle` puts right.
const ROUNDS: usize = 6;

/// Bound of β, so that sums with noise fit 32 bits. Reached in no real case: the logarithm of
/// 65 536 slots is 16.
const LARGEST_BIAS: i32 = 30 << noise::BITS;

/// Biases with the room each has to move in.
pub(super) struct Windows {
    centers: Vec<i32>,
    widths: Vec<i32>,
}

/// Slots, and the backends with a prospect of each while all biases stay within their windows.
pub(super) struct Contest {
    /// Who has each slot.
    pub(super) owners: Vec<u8>,
    /// The slots that more than one has a prospect of.
    pub(super) contested: Vec<Contested>,
    /// Backend and level of noise.
    candidates: Vec<(u8, i32)>,
    /// Slots of each backend that nobody else has a prospect of.
    certain: Vec<u32>,
    backends: usize,
}

/// A slot, and where its candidates are.
#[derive(Clone, Copy)]
pub(super) struct Contested {
    pub(super) slot: u16,
    first: u32,
    count: u8,
}

impl Windows {
    /// Of backends that win as many slots as their quotas are, but for chance: four standard deviations.
    pub(super) fn around(quotas: &[u32]) -> Self {
        let width = |&quota: &u32| log(quota + 4 * quota.isqrt() + 4) - log(quota);
        Self {
            centers: quotas.iter().map(|&quota| log(quota)).collect(),
            widths: quotas.iter().map(width).collect(),
        }
    }

    pub(super) fn widen(&mut self) {
        for width in &mut self.widths {
            *width = width.saturating_mul(2).min(LARGEST_BIAS);
        }
    }

    /// Whether biases are within, all moved by the same if need be: only differences count.
    pub(super) fn hold(&self, biases: &[i32]) -> bool {
        let moved = || {
            biases
                .iter()
                .zip(&self.centers)
                .map(|(bias, center)| bias - center)
        };
        let least = moved()
            .zip(&self.widths)
            .map(|(moved, width)| moved - width);
        let most = moved()
            .zip(&self.widths)
            .map(|(moved, width)| moved + width);
        least.max() <= most.min()
    }
}

impl Contest {
    pub(super) fn of(levels: &[&[i32]], ranked: Option<&Ranked<'_>>, windows: &Windows) -> Self {
        let looked = Looked::of(levels, ranked, windows);
        let slots = levels[0].len();
        let threads = crew::for_slots(slots);
        let length = slots.div_ceil(threads);
        let parts = (0..threads).map(|part| part * length..slots.min((part + 1) * length));
        let mut parts = crew::make(threads, parts.collect(), |slots: Range<usize>| {
            let start = slots.start;
            (start, Self::of_slots(slots, &looked))
        });
        parts.sort_unstable_by_key(|&(start, _)| start);
        let mut parts = parts.into_iter().map(|(_, part)| part);
        let mut contest = parts.next().expect("at least one thread");
        parts.for_each(|part| contest.append(part));
        contest
    }

    fn of_slots(slots: Range<usize>, looked: &Looked<'_>) -> Self {
        let mut contest = Self {
            owners: Vec::with_capacity(slots.len()),
            contested: Vec::new(),
            candidates: Vec::new(),
            certain: vec![0; looked.levels.len()],
            backends: looked.levels.len(),
        };
        let mut candidates = Vec::new();
        for slot in slots {
            if let Some(owner) = looked.certain(slot) {
                contest.add_certain(owner);
                continue;
            }
            looked.at(slot, &mut candidates);
            contest.add(slot as u16, &candidates);
        }
        contest
    }

    /// Adds what is of the next slots.
    fn append(&mut self, next: Self) {
        let first = self.candidates.len() as u32;
        self.owners.extend(next.owners);
        self.candidates.extend(next.candidates);
        let moved = |contested: Contested| Contested {
            first: contested.first + first,
            ..contested
        };
        self.contested.extend(next.contested.into_iter().map(moved));
        for (certain, more) in self.certain.iter_mut().zip(next.certain) {
            *certain += more;
        }
    }

    fn add(&mut self, slot: u16, candidates: &[(u8, i32)]) {
        let [(first, _), ..] = *candidates else {
            return;
        };
        if candidates.len() == 1 {
            self.add_certain(first);
            return;
        }
        self.owners.push(first);
        self.contested.push(Contested {
            slot,
            first: self.candidates.len() as u32,
            count: (candidates.len() - 1) as u8,
        });
        self.candidates.extend(candidates);
    }

    fn add_certain(&mut self, owner: u8) {
        self.owners.push(owner);
        self.certain[usize::from(owner)] += 1;
    }

    /// Whether every backend has a prospect of every slot.
    pub(super) fn is_whole(&self) -> bool {
        self.candidates.len() == self.owners.len() * self.backends
    }

    /// Backends with a prospect of a slot, and their levels of noise.
    pub(super) fn candidates(&self, of: Contested) -> &[(u8, i32)] {
        &self.candidates[of.first as usize..][..usize::from(of.count) + 1]
    }

    /// Those of one of the contested slots.
    pub(super) fn candidates_of(&self, contested: u32) -> &[(u8, i32)] {
        self.candidates(self.contested[contested as usize])
    }

    pub(super) fn backends(&self) -> usize {
        self.backends
    }

    /// Who has one of the contested slots.
    pub(super) fn owner(&self, contested: u32) -> usize {
        self.owners[usize::from(self.contested[contested as usize].slot)].into()
    }

    /// Gives one of the contested slots to a backend.
    pub(super) fn give(&mut self, contested: u32, to: usize) {
        // At most 256 backends.
        self.owners[usize::from(self.contested[contested as usize].slot)] = to as u8;
    }

    /// Slots of each backend.
    pub(super) fn counts(&self) -> Vec<u32> {
        let mut counts = self.certain.clone();
        for contested in &self.contested {
            counts[usize::from(self.owners[usize::from(contested.slot)])] += 1;
        }
        counts
    }

    /// Moves biases until the counts nearly are the quotas; the biases by which the owners are the owners
    /// now.
    pub(super) fn calibrate(&mut self, windows: &Windows, quotas: &[u32]) -> Vec<i32> {
        let mut biases = windows.centers.clone();
        for round in 1.. {
            let counts = self.choose(&biases);
            if counts == quotas || round == ROUNDS {
                break;
            }
            let mut next = biases.clone();
            for ((bias, &quota), &count) in next.iter_mut().zip(quotas).zip(&counts) {
                // Half slots, so that a count of 0 has a logarithm.
                let step = log(2 * quota) - log((2 * count).max(1));
                *bias = (*bias + step).clamp(-LARGEST_BIAS, LARGEST_BIAS);
            }
            if !windows.hold(&next) && !self.is_whole() {
                break;
            }
            biases = next;
        }
        biases
    }

    /// Gives each slot to the backend of the largest sum of noise and bias, equals to the first; the slots of
    /// each backend then.
    fn choose(&mut self, biases: &[i32]) -> Vec<u32> {
        let mut counts = self.certain.clone();
        for at in 0..self.contested.len() {
            let contested = self.contested[at];
            // The sum above the number, so that the larger of two is told without a branch.
            let rank = |&(who, level): &(u8, i32)| {
                let sum = level + biases[usize::from(who)];
                i64::from(sum) << u8::BITS | i64::from(!who)
            };
            let best = self.candidates(contested).iter().map(rank).max();
            let owner = best.map_or(0, |rank| !(rank as u8));
            counts[usize::from(owner)] += 1;
            self.owners[usize::from(contested.slot)] = owner;
        }
        counts
    }
}

/// How candidates are found.
struct Looked<'a> {
    levels: &'a [&'a [i32]],
    ranked: Option<&'a Ranked<'a>>,
    /// Least and greatest bias of each backend.
    least: Vec<i32>,
    most: Vec<i32>,
    /// Backends that are always looked at: the heaviest, whose noise may be low.
    always: Vec<u8>,
    is_always: Vec<bool>,
    /// The greatest bias of all others.
    most_of_others: i32,
    /// Of each of those that are ranked: its number, its least and its greatest bias. Biases that win nothing for
    /// those that do not contend or are always looked at.
    members: Vec<(u8, i32, i32)>,
}

/// What was seen of a slot: who has the largest least sum, and what the others may have at most.
struct Glance {
    who: u8,
    least: i32,
    most: i32,
    others: i32,
}

/// A bias that wins nothing, and noise can be added to.
const NO_PROSPECT: i32 = i32::MIN / 2;

impl Glance {
    const NOTHING: Self = Self {
        who: 0,
        least: NO_PROSPECT,
        most: NO_PROSPECT,
        others: NO_PROSPECT,
    };

    /// No branch: whether one more is ahead is chance.
    fn see(&mut self, who: u8, least: i32, most: i32) {
        let is_ahead = least > self.least;
        self.others = max(self.others, if is_ahead { self.most } else { most });
        self.most = if is_ahead { most } else { self.most };
        self.who = if is_ahead { who } else { self.who };
        self.least = max(self.least, least);
    }
}

impl<'a> Looked<'a> {
    fn of(levels: &'a [&'a [i32]], ranked: Option<&'a Ranked<'a>>, windows: &Windows) -> Self {
        /// As many of the heaviest are looked at by themselves.
        const HEAVIEST: usize = 8;
        let ends = |sign: i32| {
            let both = windows.centers.iter().zip(&windows.widths);
            both.map(|(center, width)| center + sign * width)
                .collect::<Vec<i32>>()
        };
        let (least, most) = (ends(-1), ends(1));
        let mut by_weight: Vec<u8> = (0..=u8::MAX).take(most.len()).collect();
        if ranked.is_some() {
            by_weight.sort_by_key(|&k| -most[usize::from(k)]);
            let median = most[usize::from(by_weight[most.len() / 2])];
            let is_heavy = |k: &u8| most[usize::from(*k)] > median + (1 << noise::BITS) / 4;
            by_weight.retain(is_heavy);
            by_weight.truncate(HEAVIEST);
        }
        let mut is_always = vec![false; most.len()];
        for &k in &by_weight {
            is_always[usize::from(k)] = true;
        }
        let others = most.iter().zip(&is_always).filter(|it| !it.1);
        let member = |k: Option<u8>| match k {
            Some(k) if !is_always[usize::from(k)] => {
                (k, least[usize::from(k)], most[usize::from(k)])
            }
            _ => (0, NO_PROSPECT, NO_PROSPECT),
        };
        let members = ranked.map(|it| it.members().map(member).collect());
        Self {
            levels,
            ranked,
            most_of_others: others.map(|it| *it.0).max().unwrap_or(NO_PROSPECT),
            always: by_weight,
            members: members.unwrap_or_default(),
            is_always,
            least,
            most,
        }
    }

    /// Who alone has a prospect of a slot, where few looks tell: of most slots of many backends.
    fn certain(&self, slot: usize) -> Option<u8> {
        let (levels, who) = self.ranked?.front(slot);
        let mut glance = Glance::NOTHING;
        for &k in &self.always {
            let (at, level) = (usize::from(k), self.levels[usize::from(k)][slot]);
            glance.see(k, level + self.least[at], level + self.most[at]);
        }
        for (level, &member) in levels.iter().zip(who) {
            let (k, least, most) = self.members[usize::from(member)];
            glance.see(k, level + least, level + most);
        }
        let of_others = levels[FRONT - 1] + self.most_of_others;
        (max(of_others, glance.others) < glance.least).then_some(glance.who)
    }

    /// The candidates of a slot.
    fn at(&self, slot: usize, found: &mut Vec<(u8, i32)>) {
        found.clear();
        let of = |k: u8| (k, self.levels[usize::from(k)][slot]);
        found.extend(self.always.iter().map(|&k| of(k)));
        let surely = |&(k, level): &(u8, i32)| level + self.least[usize::from(k)];
        let mut best = found.iter().map(surely).max().unwrap_or(i32::MIN);
        if let Some(ranked) = self.ranked {
            let mut is_over = false;
            for (level, k) in ranked.of(slot) {
                if level + self.most_of_others < best {
                    is_over = true;
                    break;
                }
                if let Some(k) = k.filter(|&k| !self.is_always[usize::from(k)]) {
                    found.push((k, level));
                    best = best.max(surely(&(k, level)));
                }
            }
            if !is_over {
                found.clear();
                found.extend((0..=u8::MAX).take(self.levels.len()).map(of));
                best = found.iter().map(surely).max().unwrap_or(i32::MIN);
            }
        }
        found.retain(|&(k, level)| level + self.most[usize::from(k)] >= best);
    }
}
