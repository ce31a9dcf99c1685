//! The last few slots: from nearly to exactly the asked counts, by least regret.
//!
//! Choosing the largest sum gives an assignment that no exchange of slots can better (in total
//! noise) at the counts it has. Each step here moves one slot's worth from a backend with too many
//! to one with too few along the cheapest chain of moves, which keeps that so (successive shortest
//! paths). The final assignment is hence the best one for the quotas, however it was reached.

use super::count;

/// Moves slots until the counts are the quotas.
pub(super) fn settle(levels: &[&[i32]], quotas: &[u32], owners: &mut [u8]) {
    let mut counts = count(owners, quotas.len());
    if counts == quotas {
        return;
    }
    let mut moves = Moves::of(levels, owners);
    while let Some(chain) = moves.cheapest_chain(&counts, quotas) {
        counts[chain[0]] -= 1;
        counts[chain[chain.len() - 1]] += 1;
        moves.make(&chain, levels, owners);
    }
}

/// The cheapest single move from each backend to each other.
struct Moves {
    backends: usize,
    /// By `from * backends + to`.
    cheapest: Vec<Option<Move>>,
}

/// Giving one slot to another backend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    /// Noise lost; first, because it decides.
    regret: i64,
    slot: usize,
}

impl Moves {
    fn of(levels: &[&[i32]], owners: &[u8]) -> Self {
        let backends = levels.len();
        let mut moves = Self {
            backends,
            cheapest: vec![None; backends * backends],
        };
        for (slot, &owner) in owners.iter().enumerate() {
            moves.offer(slot, usize::from(owner), levels);
        }
        moves
    }

    /// Takes into account that `owner` may give away `slot`.
    fn offer(&mut self, slot: usize, owner: usize, levels: &[&[i32]]) {
        let own = i64::from(levels[owner][slot]);
        let row = &mut self.cheapest[owner * self.backends..][..self.backends];
        for (to, (cheapest, levels)) in row.iter_mut().zip(levels).enumerate() {
            let regret = own - i64::from(levels[slot]);
            let offered = Move { regret, slot };
            if to != owner && cheapest.is_none_or(|cheapest| offered < cheapest) {
                *cheapest = Some(offered);
            }
        }
    }

    /// The backends along the cheapest chain from one with too many slots to one with too few;
    /// `None` when there is neither. Bellman and Ford's search: regrets may be negative, cycles of
    /// them may not.
    fn cheapest_chain(&self, counts: &[u32], quotas: &[u32]) -> Option<Vec<usize>> {
        let mut regrets: Vec<Option<i64>> = counts
            .iter()
            .zip(quotas)
            .map(|(count, quota)| (count > quota).then_some(0))
            .collect();
        let mut before = vec![None; self.backends];
        for _ in 0..self.backends {
            if !self.relax(&mut regrets, &mut before) {
                break;
            }
        }
        let (_, end) = (0..self.backends)
            .filter(|&backend| counts[backend] < quotas[backend])
            .filter_map(|backend| Some((regrets[backend]?, backend)))
            .min()?;
        let mut chain = vec![end];
        while let Some(previous) = before[chain[chain.len() - 1]] {
            chain.push(previous);
        }
        chain.reverse();
        Some(chain)
    }

    /// Extends chains by one move where that is cheaper; whether any was.
    fn relax(&self, regrets: &mut [Option<i64>], before: &mut [Option<usize>]) -> bool {
        let mut changed = false;
        for from in 0..self.backends {
            let Some(so_far) = regrets[from] else {
                continue;
            };
            let row = &self.cheapest[from * self.backends..][..self.backends];
            for (to, cheapest) in row.iter().enumerate() {
                let Some(cheapest) = cheapest else { continue };
                let regret = so_far + cheapest.regret;
                if regrets[to].is_none_or(|known| regret < known) {
                    regrets[to] = Some(regret);
                    before[to] = Some(from);
                    changed = true;
                }
            }
        }
        changed
    }

    /// Makes the moves of a chain.
    fn make(&mut self, chain: &[usize], levels: &[&[i32]], owners: &mut [u8]) {
        let moved: Vec<(usize, usize, usize)> = chain
            .windows(2)
            .filter_map(|hop| {
                let slot = self.cheapest[hop[0] * self.backends + hop[1]]?.slot;
                Some((hop[0], hop[1], slot))
            })
            .collect();
        for &(_, to, slot) in &moved {
            owners[slot] = to as u8; // At most 256 backends.
        }
        for &(from, _, slot) in &moved {
            self.withdraw(from, slot, levels, owners);
        }
        for &(_, to, slot) in &moved {
            self.offer(slot, to, levels);
        }
    }

    /// Finds the next cheapest where `from` offered `slot`, which it has no more.
    fn withdraw(&mut self, from: usize, slot: usize, levels: &[&[i32]], owners: &[u8]) {
        let row = &mut self.cheapest[from * self.backends..][..self.backends];
        let offers_it = |cheapest: &Option<Move>| cheapest.is_some_and(|found| found.slot == slot);
        if !row.iter().any(offers_it) {
            return;
        }
        let left: Vec<usize> = (0..owners.len())
            .filter(|&slot| usize::from(owners[slot]) == from)
            .collect();
        let own = levels[from];
        for (cheapest, levels) in row.iter_mut().zip(levels) {
            if offers_it(cheapest) {
                let regret = |slot: usize| i64::from(own[slot]) - i64::from(levels[slot]);
                let moves = left.iter().map(|&slot| Move {
                    regret: regret(slot),
                    slot,
                });
                *cheapest = moves.min();
            }
        }
    }
}
