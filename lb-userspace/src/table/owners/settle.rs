//! The last few slots: from nearly to exactly the asked counts, by least regret.
//!
//! Choosing the largest sum gives an assignment that no exchange of slots can better (in total
//! noise) at the counts it has. Each step here moves one slot's worth from a backend with too many
//! to one with too few along the cheapest chain of moves, and moves the biases such that this stays
//! so (successive shortest paths with Dijkstra's search: reckoned with biases, no move is a gain). The
//! final assignment is hence the best one for the quotas, however it was reached.

use std::iter::successors;

use super::contest::Contest;

/// Moves slots until the counts are the quotas; the biases by which each slot's owner has the largest sum
/// then. Nothing if that cannot be among the candidates.
pub(super) fn settle(contest: &mut Contest, biases: &[i32], quotas: &[u32]) -> Option<Vec<i32>> {
    let mut counts = contest.counts();
    let mut biases: Vec<i64> = biases.iter().copied().map(i64::from).collect();
    if counts != quotas {
        let mut moves = Moves::of(contest);
        while let Some(start) = counts
            .iter()
            .zip(quotas)
            .position(|(have, quota)| have > quota)
        {
            let chain = moves.cheapest_chain(start, &counts, quotas, &mut biases)?;
            counts[start] -= 1;
            counts[chain[chain.len() - 1]] += 1;
            moves.make(&chain, contest);
        }
    }
    biases
        .into_iter()
        .map(|bias| i32::try_from(bias).ok())
        .collect()
}

/// The single moves from each backend to each other; a pair of them is `from * backends + to`.
struct Moves {
    backends: usize,
    /// By pair.
    cheapest: Vec<Move>,
    /// Of the slots each backend had at first, by pair; some it has no more.
    offers: Vec<Move>,
    /// By pair, where its offers start; one more, where the last ones end.
    first: Vec<u32>,
    /// Contested slots that each backend was given; some it has no more.
    given: Vec<Vec<u32>>,
}

/// Giving one slot to another backend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    /// Noise lost; first, because it decides.
    regret: i64,
    /// Which of the contested.
    slot: u32,
}

impl Move {
    /// No slot can be given. Dearer than any chain of moves, and small enough to add to.
    const NONE: Self = Self {
        regret: FAR,
        slot: u32::MAX,
    };
}

/// Farther than any chain of moves: 256 of them lose below 2^38.
const FAR: i64 = i64::MAX / 4;

impl Moves {
    fn of(contest: &Contest) -> Self {
        let backends = contest.backends();
        let slots = 0..contest.contested.len() as u32;
        let all = || slots.clone().flat_map(|slot| offered(slot, contest));
        // Counted, then put where the counts say.
        let mut first = vec![0; backends * backends + 1];
        for (from, to, _) in all() {
            first[from * backends + to + 1] += 1;
        }
        for pair in 1..first.len() {
            first[pair] += first[pair - 1];
        }
        let mut next = first.clone();
        let mut moves = Self {
            backends,
            cheapest: vec![Move::NONE; backends * backends],
            offers: vec![Move::NONE; first[backends * backends] as usize],
            first,
            given: vec![Vec::new(); backends],
        };
        for (from, to, offer) in all() {
            let pair = from * backends + to;
            moves.offers[next[pair] as usize] = offer;
            next[pair] += 1;
            moves.cheapest[pair] = moves.cheapest[pair].min(offer);
        }
        moves
    }

    /// The backends along the cheapest chain from `start` to the nearest one with too few slots. Biases are moved
    /// such that every move of it costs nothing.
    fn cheapest_chain(
        &self,
        start: usize,
        counts: &[u32],
        quotas: &[u32],
        biases: &mut [i64],
    ) -> Option<Vec<usize>> {
        let mut distances = vec![FAR; self.backends];
        distances[start] = 0;
        // Of those whose distance is final, none; what is far is never chosen.
        let mut near = distances.clone();
        let mut before = vec![None; self.backends];
        let (end, most) = loop {
            let (&distance, from) = near.iter().zip(0..).min()?;
            if distance >= FAR / 2 {
                return None;
            }
            if counts[from] < quotas[from] {
                break (from, distance);
            }
            let row = &self.cheapest[from * self.backends..][..self.backends];
            let from_here = distance + biases[from];
            for (to, (cheapest, bias)) in row.iter().zip(&*biases).enumerate() {
                let there = from_here + cheapest.regret - bias;
                if there < distances[to] {
                    (distances[to], near[to], before[to]) = (there, there, Some(from));
                }
            }
            near[from] = i64::MAX;
        };
        for (bias, &distance) in biases.iter_mut().zip(&distances) {
            *bias += distance.min(most);
        }
        let mut chain: Vec<usize> = successors(Some(end), |&at| before[at]).collect();
        chain.reverse();
        Some(chain)
    }

    /// Makes the moves of a chain.
    fn make(&mut self, chain: &[usize], contest: &mut Contest) {
        let moved: Vec<(usize, usize, u32)> = chain
            .windows(2)
            .map(|hop| {
                let slot = self.cheapest[hop[0] * self.backends + hop[1]].slot;
                (hop[0], hop[1], slot)
            })
            .collect();
        for &(_, to, slot) in &moved {
            contest.give(slot, to);
        }
        for &(from, _, slot) in &moved {
            for &(to, _) in contest.candidates_of(slot) {
                self.replace(from, to.into(), slot, contest);
            }
        }
        for &(_, owner, slot) in &moved {
            self.given[owner].push(slot);
            for (from, to, offer) in offered(slot, contest) {
                let cheapest = &mut self.cheapest[from * self.backends + to];
                *cheapest = offer.min(*cheapest);
            }
        }
    }

    /// Finds the next cheapest where `from` offered `slot` to `to`, which it has no more.
    fn replace(&mut self, from: usize, to: usize, slot: u32, contest: &Contest) {
        let pair = from * self.backends + to;
        if self.cheapest[pair].slot != slot {
            return;
        }
        let has = |offer: &&Move| contest.owner(offer.slot) == from;
        let offers = &self.offers[self.first[pair] as usize..self.first[pair + 1] as usize];
        let first = offers.iter().filter(has).min().copied();
        self.given[from].retain(|&slot| contest.owner(slot) == from);
        let given = self.given[from].iter();
        let given = given.flat_map(|&slot| offered(slot, contest));
        let given = given.filter(|it| it.1 == to).map(|it| it.2).min();
        self.cheapest[pair] = first.into_iter().chain(given).min().unwrap_or(Move::NONE);
    }
}

/// The moves that a contested slot's owner can make of it: from, to, and which.
fn offered(slot: u32, contest: &Contest) -> impl Iterator<Item = (usize, usize, Move)> {
    let owner = contest.owner(slot);
    let all = contest.candidates_of(slot);
    let own = all.iter().find(|(who, _)| usize::from(*who) == owner);
    let own = own.map_or(0, |&(_, level)| i64::from(level));
    let others = all.iter().filter(move |(to, _)| usize::from(*to) != owner);
    others.map(move |&(to, level)| {
        let regret = own - i64::from(level);
        (owner, usize::from(to), Move { regret, slot })
    })
}
