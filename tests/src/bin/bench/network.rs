//! Real sockets: the same work through lb, through other balancers, and on the same path with none.
//!
//! Each [`Contestant`] has a lab of its own, all alike; [`entry`] sets it up. They are measured in
//! turn, so what else the machine does meets all of them.

mod contestant;
mod direct;
mod entry;
mod haproxy;
mod nftables;
mod nginx;
mod proxy;
mod rounds;
mod service;

use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Result;
use lb_userspace::lab::Family;

pub use contestant::Contestant;
pub use entry::CONNECTIONS_KEPT;
pub use rounds::Rounds;
pub use service::BACKENDS;

use super::figures::Samples;
use entry::Entry;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds; each measures everything once.
    pub rounds: usize,
    /// Connections that are opened a round.
    pub connections: usize,
    /// Time of asking over kept connections.
    pub asking: Duration,
    /// Time of one transfer.
    pub transfer: Duration,
}

/// All contestants.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Rounds.
    pub rounds: usize,
    /// CPUs that all share.
    pub cpus: usize,
    /// Who took part, the routed path first, and what was measured of each.
    pub lines: Vec<Line>,
    /// Who could not, and why.
    pub absent: Vec<(Contestant, String)>,
}

/// One contestant and IP version.
#[derive(Clone, Debug)]
pub struct Line {
    /// Who.
    pub contestant: Contestant,
    /// IP version.
    pub family: Family,
    /// What was measured.
    pub figures: Figures,
}

/// What is measured of a contestant.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// TCP connections a second, each with one question and its answer.
    pub connections: Rounds,
    /// Questions answered a second over kept connections.
    pub requests: Rounds,
    /// Microseconds that half of the answers took at most.
    pub half: Rounds,
    /// The same of 99 in a hundred.
    pub most: Rounds,
    /// The same of 999 in a thousand.
    pub nearly_all: Rounds,
    /// Gigabits a second over one connection.
    pub gigabits: Rounds,
}

impl Comparison {
    /// Who took part, in order.
    pub fn contestants(&self) -> impl Iterator<Item = Contestant> {
        Contestant::ALL
            .into_iter()
            .filter(|who| self.lines.iter().any(|line| line.contestant == *who))
    }

    /// What was measured of one.
    pub fn line(&self, contestant: Contestant, family: Family) -> Option<&Line> {
        self.lines
            .iter()
            .find(|line| line.contestant == contestant && line.family == family)
    }
}

/// One kind of work.
type Work = fn(&Entry, Family, &Plan, &mut Figures) -> Result<()>;

/// Every kind, in the order of a round.
const WORKS: [Work; 3] = [
    |entry, family, plan, figures| {
        let rate = entry.connections(family, plan.connections)?;
        figures.connections.add(rate);
        Ok(())
    },
    |entry, family, plan, figures| {
        let latencies = entry.round_trips(family, plan.asking)?;
        let micros = |part| latencies.per_mille(part).as_secs_f64() * 1e6;
        figures.requests.add(latencies.rate());
        figures.half.add(micros(500));
        figures.most.add(micros(990));
        figures.nearly_all.add(micros(999));
        Ok(())
    },
    |entry, family, plan, figures| {
        figures.gigabits.add(entry.gigabits(family, plan.transfer)?);
        Ok(())
    },
];

/// Measures everybody who can take part.
pub fn measure(programs: &Path, plan: &Plan) -> Result<Comparison> {
    let mut entries = Vec::new();
    let mut absent = Vec::new();
    for contestant in Contestant::ALL {
        match Entry::set_up(contestant, programs) {
            Ok(entry) => entries.push(entry),
            Err(error) if contestant.may_be_absent() => {
                let why = format!("{error:#}");
                eprintln!("  {contestant} is left out: {why}");
                absent.push((contestant, why));
            }
            Err(error) => return Err(error),
        }
    }
    let mut lines: [Vec<Line>; 2] =
        Family::BOTH.map(|family| entries.iter().map(|it| it.line(family)).collect());
    for round in 0..plan.rounds {
        eprintln!("  round {} of {}", round + 1, plan.rounds);
        for (family, lines) in Family::BOTH.into_iter().zip(&mut lines) {
            go_round(&entries, family, plan, round, lines)?;
        }
    }
    Ok(Comparison {
        rounds: plan.rounds,
        cpus: available_parallelism()?.get(),
        lines: lines.concat(),
        absent,
    })
}

/// Every kind of work by everybody, each round begun by another.
fn go_round(
    entries: &[Entry],
    family: Family,
    plan: &Plan,
    round: usize,
    lines: &mut [Line],
) -> Result<()> {
    for work in WORKS {
        for turn in 0..entries.len() {
            let at = (round + turn) % entries.len();
            work(&entries[at], family, plan, &mut lines[at].figures)?;
        }
    }
    Ok(())
}
