//! The flow table as the daemon reads it: without locks, while the kernel program writes it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use lb_common::address::{Address as _, IPV4, IPV6, V4, V6, standard};
use lb_common::flow::{Client as _, State};
use lb_common::limits::{ENDPOINTS, TICK_SHIFT, WAYS};
use lb_common::phase::{Phase, Side};
use nix::time::{ClockId, clock_gettime};

use super::LiveFlows;
use super::mapped::Mapped;

/// Words of an entry: key and state.
const WORDS4: usize = 2;
const WORDS6: usize = 4;

/// A live flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The client.
    pub client: IpAddr,
    /// Its port.
    pub client_port: u16,
    /// The port of the service that it talks to.
    pub port: u16,
    /// Endpoint, node port, progress.
    pub state: State,
}

/// The flow tables of both families.
pub struct FlowTables<'a> {
    /// `FLOWS4`.
    pub v4: &'a Mapped,
    /// `FLOWS6`.
    pub v6: &'a Mapped,
}

impl FlowTables<'_> {
    /// Every live flow, once.
    pub fn live(&self, now: u32) -> impl Iterator<Item = Flow> + '_ {
        self.v4_entries()
            .chain(self.v6_entries())
            .filter(move |flow| {
                flow.state.is_live(now) && flow.state.progress().phase() != Phase::Closed
            })
    }

    /// Live flows of each endpoint by phase, of the families in use; index = endpoint id.
    pub fn count(&self, (v4, v6): (bool, bool), now: u32) -> Vec<LiveFlows> {
        let mut counts = vec![LiveFlows::default(); ENDPOINTS as usize];
        let families = [(v4, self.v4, WORDS4), (v6, self.v6, WORDS6)];
        for (_, map, words) in families.into_iter().filter(|family| family.0) {
            for entry in map.words().chunks_exact(words) {
                let state = State::from_word(entry[words - 1].load(Ordering::Relaxed));
                if state.endpoint() == 0 || state.side() != Side::Client || !state.is_live(now) {
                    continue;
                }
                let Some(count) = counts.get_mut(usize::from(state.endpoint())) else {
                    continue;
                };
                match state.progress().phase() {
                    Phase::Opening => count.opening += 1,
                    Phase::Open => count.open += 1,
                    Phase::Closing => count.closing += 1,
                    Phase::Closed => {}
                }
            }
        }
        counts
    }

    /// The endpoints that any entry names whose packets would still be forwarded.
    pub fn endpoints(&self, now: u32) -> BTreeSet<u16> {
        self.v4_entries()
            .chain(self.v6_entries())
            .filter(|flow| flow.state.is_live(now))
            .map(|flow| flow.state.endpoint())
            .collect()
    }

    /// Empties entries of flows that are over, so that none seems alive again when the 24 bits of
    /// their end have wrapped.
    pub fn sweep(&self, now: u32) {
        for (map, words) in [(self.v4, WORDS4), (self.v6, WORDS6)] {
            for bucket in 0..map.len() {
                for way in 0..WAYS {
                    let word = way * words + words - 1;
                    let found = map.load(bucket, word);
                    let state = State::from_word(found);
                    if state.endpoint() != 0 && !state.is_live(now) {
                        map.clear(bucket, word, found);
                    }
                }
            }
        }
    }

    fn v4_entries(&self) -> impl Iterator<Item = Flow> + '_ {
        client_entries(self.v4, WORDS4).filter_map(|(bucket, first, state)| {
            let (client, client_port, port) = V4::from_key([self.v4.load(bucket, first)]);
            let client = standard(IPV4, client.wide())?;
            Some(Flow {
                client,
                client_port,
                port,
                state,
            })
        })
    }

    fn v6_entries(&self) -> impl Iterator<Item = Flow> + '_ {
        client_entries(self.v6, WORDS6).filter_map(|(bucket, first, state)| {
            let word = |i| self.v6.load(bucket, first + i);
            let (client, client_port, port) = V6::from_key([word(0), word(1), word(2)]);
            let client = standard(IPV6, client.wide())?;
            Some(Flow {
                client,
                client_port,
                port,
                state,
            })
        })
    }
}

/// Bucket, first word and state of every entry that a client's packets find.
fn client_entries(map: &Mapped, words: usize) -> impl Iterator<Item = (usize, usize, State)> + '_ {
    (0..map.len()).flat_map(move |bucket| {
        (0..WAYS).filter_map(move |way| {
            let first = way * words;
            let state = State::from_word(map.load(bucket, first + words - 1));
            let is_client = state.endpoint() != 0 && state.side() == Side::Client;
            is_client.then_some((bucket, first, state))
        })
    })
}

/// The tick it is now. The kernel program's may begin a timer interrupt earlier or later.
pub fn now() -> u32 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .expect("every kernel since 2.6.32 has this clock");
    let nanoseconds = time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64;
    (nanoseconds >> TICK_SHIFT) as u32
}
