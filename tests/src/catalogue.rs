//! Described packets in; action, every byte out, and counters.
//!
//! | module | holds |
//! |---|---|
//! | `stage` | how a case is played and checked |
//! | `world` | addresses, services and endpoints of the cases |
//! | `carried` | packets as each mode carries them |
//! | `pass` | what is not ours, and passes untouched |
//! | `forward` | what is turned, and how it leaves |
//! | `modes` | what is carried as it is: to a neighbour, in tunnels |
//! | `ports` | services with several ports |
//! | `flow` | a flow's life |
//! | `local` | replies of endpoints on the node, as the kernel has them |
//! | `select` | which endpoint a new flow gets |
//! | `million` | a million prefixes |
//! | `fragment` | the first fragment of a packet, and the others |
//! | `message` | ICMP errors about a flow, echo requests |
//! | `jumbo` | frames in several buffers |
//! | `room` | what happens when there is no room |
//! | `exchange` | tables exchanged under load |

mod carried;
mod exchange;
mod flow;
mod forward;
mod fragment;
mod jumbo;
mod local;
mod message;
mod million;
mod modes;
mod pass;
mod ports;
mod room;
mod select;
mod stage;
mod world;

use std::sync::{Arc, Mutex, PoisonError};

use lb_tests::node::{Load, Node};
use lb_userspace::dataplane::takes_frags;
use libtest_mimic::{Failed, Trial};

use stage::Stage;

/// A case: a sentence, and what is done and expected.
type Case = (&'static str, fn(&mut Stage<'_>));

/// Every case.
pub fn trials() -> Vec<Trial> {
    let shared = Shared::default();
    let cases = [
        pass::CASES,
        forward::CASES,
        flow::CASES,
        fragment::CASES,
        message::CASES,
        local::CASES,
        select::CASES,
        modes::CASES,
        ports::CASES,
    ];
    let cases = cases.into_iter().flatten();
    let mut trials: Vec<Trial> = cases
        .map(|&(name, case)| {
            let shared = shared.clone();
            trial(name, move || shared.play(case))
        })
        .collect();
    let trial_of_million = trial(million::NAME, || {
        let mut node = Node::new(Load::default()).map_err(|error| format!("{error:#}"))?;
        play(&mut node, million::play)
    });
    trials.push(trial_of_million);
    let of_large = Shared::with(jumbo::LOAD);
    let are_taken = takes_frags().unwrap_or(false);
    trials.extend(jumbo::CASES.iter().map(|&(name, case)| {
        let shared = of_large.clone();
        trial(name, move || shared.play(case)).with_ignored_flag(!are_taken)
    }));
    let own = room::CASES.iter().chain(exchange::CASES);
    trials.extend(own.map(|&(name, load, case)| {
        trial(name, move || {
            play(
                &mut Node::new(load).map_err(|error| format!("{error:#}"))?,
                case,
            )
        })
    }));
    trials
}

fn trial(name: &str, run: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    Trial::test(name, run).with_kind("packet")
}

/// One node for all cases that need no other: each has clients of its own. It is taken down with the
/// last case.
#[derive(Clone, Default)]
struct Shared {
    node: Arc<Mutex<Option<Node>>>,
    load: Load,
}

impl Shared {
    fn with(load: Load) -> Self {
        Self {
            load,
            ..Self::default()
        }
    }

    fn play(&self, case: fn(&mut Stage<'_>)) -> Result<(), Failed> {
        // A case that failed leaves nothing behind that another one minds.
        let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        if node.is_none() {
            *node = Some(Node::new(self.load).map_err(|error| format!("{error:#}"))?);
        }
        node.as_mut().map_or(Ok(()), |node| play(node, case))
    }
}

fn play(node: &mut Node, case: fn(&mut Stage<'_>)) -> Result<(), Failed> {
    node.within(|node| case(&mut Stage::new(node)))
        .map_err(|error| format!("{error:#}").into())
}
