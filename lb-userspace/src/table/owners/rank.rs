//! Which backends have the most noise in a slot: those that are looked at first.

use super::super::crew;

/// The backends with the most noise in each slot.
#[derive(Debug, Clone)]
pub(in crate::table) struct Rank {
    /// Names of the backends that were ranked.
    members: Vec<String>,
    /// [`PLACES`] of each slot, the most noise first.
    levels: Vec<i32>,
    /// Indices into `members`.
    who: Vec<u8>,
}

/// As many of a slot's as are ever looked at, but for weights of very different sizes.
const PLACES: usize = 16;
/// Places that are enough for most slots.
pub(super) const FRONT: usize = 4;
/// Of fewer backends all are looked at.
const WORTH_IT: usize = PLACES + 1;

/// The ranking as indices into the contenders.
pub(in crate::table) struct Ranked<'a> {
    rank: &'a Rank,
    /// Of each member, if it contends.
    contender: Vec<Option<u8>>,
}

impl Rank {
    /// Ranks these contenders: anew, or what was there with those that are missing. Nothing if they are few.
    pub(in crate::table) fn bring_up_to_date(
        before: Option<Self>,
        contenders: &[(&str, &[i32])],
        threads: usize,
    ) -> Option<Self> {
        if contenders.len() < WORTH_IT {
            return None;
        }
        let mut rank = match before {
            // Those that contend no more take places from those that do.
            Some(rank) if rank.members.len() <= 2 * contenders.len() => rank,
            _ => return Some(Self::of(contenders, threads)),
        };
        for (name, levels) in contenders {
            if !rank.members.iter().any(|member| member == name) {
                if rank.members.len() > usize::from(u8::MAX) {
                    return Some(Self::of(contenders, threads));
                }
                rank.add(name, levels);
            }
        }
        Some(rank)
    }

    fn of(contenders: &[(&str, &[i32])], threads: usize) -> Self {
        /// Slots at a time: what is read of all backends stays in L2.
        const BLOCK: usize = 1024;
        let slots = contenders[0].1.len();
        let blocks = (0..slots.div_ceil(BLOCK)).collect();
        let mut ranked = crew::make(threads, blocks, |block: usize| {
            let first = block * BLOCK;
            let all: Vec<&[i32]> = contenders
                .iter()
                .map(|(_, levels)| &levels[first..slots.min(first + BLOCK)])
                .collect();
            (block, of_block(&all))
        });
        ranked.sort_unstable_by_key(|&(block, _)| block);
        let (mut levels, mut who) = (Vec::new(), Vec::new());
        for (_, (block_levels, block_who)) in ranked {
            levels.extend(block_levels);
            who.extend(block_who);
        }
        let names = contenders.iter().map(|(name, _)| (*name).to_owned());
        Self {
            members: names.collect(),
            levels,
            who,
        }
    }

    fn add(&mut self, name: &str, levels: &[i32]) {
        let number = self.members.len() as u8; // Below 256, as the caller sees to.
        self.members.push(name.to_owned());
        let places = self.levels.chunks_exact_mut(PLACES);
        for ((ranked, who), &level) in places.zip(self.who.chunks_exact_mut(PLACES)).zip(levels) {
            let at = ranked.partition_point(|&other| other >= level);
            if at < PLACES {
                ranked.copy_within(at..PLACES - 1, at + 1);
                who.copy_within(at..PLACES - 1, at + 1);
                (ranked[at], who[at]) = (level, number);
            }
        }
    }

    /// The ranking among the contenders of these names, in their order.
    pub(in crate::table) fn among(&self, names: &[&str]) -> Ranked<'_> {
        let index = |member: &String| names.iter().position(|name| name == member);
        let contender = self
            .members
            .iter()
            .map(|member| index(member).map(|index| index as u8));
        Ranked {
            rank: self,
            contender: contender.collect(),
        }
    }
}

/// Levels and places of a block's slots.
fn of_block(all: &[&[i32]]) -> (Vec<i32>, Vec<u8>) {
    let (mut levels, mut who) = (Vec::new(), Vec::new());
    let mut of_slot: Vec<(i32, u8)> = Vec::with_capacity(all.len());
    for slot in 0..all[0].len() {
        of_slot.clear();
        of_slot.extend(
            all.iter()
                .zip(0..=u8::MAX)
                .map(|(levels, k)| (levels[slot], k)),
        );
        of_slot.select_nth_unstable_by(PLACES - 1, |a, b| b.cmp(a));
        of_slot[..PLACES].sort_unstable_by(|a, b| b.cmp(a));
        levels.extend(of_slot[..PLACES].iter().map(|it| it.0));
        who.extend(of_slot[..PLACES].iter().map(|it| it.1));
    }
    (levels, who)
}

impl Ranked<'_> {
    /// Which contender each member is.
    pub(super) fn members(&self) -> impl Iterator<Item = Option<u8>> + '_ {
        self.contender.iter().copied()
    }

    /// Levels and members of the slot's first places.
    pub(super) fn front(&self, slot: usize) -> (&[i32; FRONT], &[u8; FRONT]) {
        let first = slot * PLACES;
        let front = self.rank.levels[first..].first_chunk();
        let who = self.rank.who[first..].first_chunk();
        front.zip(who).expect("a slot has more places")
    }

    /// Level and contender of the slot's places, the highest first; the contender is none where a backend
    /// does not contend. All others have no higher level than the last.
    pub(super) fn of(&self, slot: usize) -> impl Iterator<Item = (i32, Option<u8>)> + '_ {
        let places = slot * PLACES..(slot + 1) * PLACES;
        let levels = self.rank.levels[places.clone()].iter().copied();
        let who = self.rank.who[places].iter();
        levels.zip(who.map(|&member| self.contender[usize::from(member)]))
    }
}
