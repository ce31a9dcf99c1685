//! The last few slots: from nearly to exactly the asked counts, by least regret.
//!
//! Choosing the largest sum gives an assignment that no exchange of slots can better (in total
//! noise) at the counts it has. Each step here moves one slot's worth from a backend with too many
//! to one with too few along the cheapest chain of moves, and moves the biases such that this stays
//! so (successive shortest paths with Dijkstra's search: reckoned with biases, no move is a gain). The
//! final assignment is hence the best one for the quotas, however it was reached.

use super::contest::Contest;

/// Moves slots until the counts are the quotas; the biases by which each slot's owner has the largest sum
/// then. Nothing if that cannot be among the candidates.
pub(super) fn settle(contest: &mut Contest, biases: &[i32], quotas: &[u32]) -> Option<Vec<i32>> {
    let mut counts = contest.counts();
    let mut biases: Vec<i64> = biases.iter().copied().map(i64::from).collect();
    if counts != quotas {
        let mut moves = Moves::of(contest);
        while counts != quotas {
            let chain = moves.cheapest_chain(&counts, quotas, &mut biases)?;
            counts[chain[0]] -= 1;
            counts[chain[chain.len() - 1]] += 1;
            moves.make(&chain, contest);
        }
    }
    biases
        .into_iter()
        .map(|bias| i32::try_from(bias).ok())
        .collect()
}

/// The cheapest single move from each backend to each other.
struct Moves {
    backends: usize,
    /// By `from * backends + to`.
    cheapest: Vec<Move>,
    /// Of each backend the contested slots it has or had, as indices.
    had: Vec<Vec<u32>>,
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
        let mut moves = Self {
            backends,
            cheapest: vec![Move::NONE; backends * backends],
            had: vec![Vec::new(); backends],
        };
        for slot in 0..contest.contested.len() as u32 {
            moves.offer(slot, contest);
        }
        moves
    }

    /// Takes into account that the owner of a slot may give it away.
    fn offer(&mut self, slot: u32, contest: &Contest) {
        let owner = contest.owner(slot);
        self.had[owner].push(slot);
        let row = &mut self.cheapest[owner * self.backends..][..self.backends];
        offer(row, slot, owner, contest);
    }

    /// The backends along the cheapest chain from one with too many slots to the nearest one with too few.
    /// Biases are moved such that every move of it costs nothing.
    fn cheapest_chain(
        &self,
        counts: &[u32],
        quotas: &[u32],
        biases: &mut [i64],
    ) -> Option<Vec<usize>> {
        let start = |(count, quota): (&u32, &u32)| if count > quota { 0 } else { FAR };
        let mut distances: Vec<i64> = counts.iter().zip(quotas).map(start).collect();
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
        let mut chain = vec![end];
        while let Some(previous) = before[chain[chain.len() - 1]] {
            chain.push(previous);
        }
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
            self.withdraw(from, slot, contest);
        }
        for &(_, _, slot) in &moved {
            self.offer(slot, contest);
        }
    }

    /// Finds the next cheapest where `from` offered `slot`, which it has no more.
    fn withdraw(&mut self, from: usize, slot: u32, contest: &Contest) {
        let row = &mut self.cheapest[from * self.backends..][..self.backends];
        if !row.iter().any(|cheapest| cheapest.slot == slot) {
            return;
        }
        self.had[from].retain(|&slot| contest.owner(slot) == from);
        row.fill(Move::NONE);
        for &slot in &self.had[from] {
            offer(row, slot, from, contest);
        }
    }
}

fn offer(row: &mut [Move], slot: u32, owner: usize, contest: &Contest) {
    let all = contest.candidates(contest.contested[slot as usize]);
    let own = all.iter().find(|(who, _)| usize::from(*who) == owner);
    let own = own.map_or(0, |&(_, level)| i64::from(level));
    for &(to, level) in all {
        let offered = Move {
            regret: own - i64::from(level),
            slot,
        };
        let cheapest = &mut row[usize::from(to)];
        if usize::from(to) != owner && offered < *cheapest {
            *cheapest = offered;
        }
    }
}
