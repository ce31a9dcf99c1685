//! How many flows are live on each endpoint: counted now where that is soon done, else in the background, so
//! that a change of weights is answered as fast with a million flows as with none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::LiveFlows;
use super::flows::{self, FlowTables};
use super::mapped::Mapped;

/// Buckets that are counted at once in a millisecond or two: those of the default size of the table.
const FEW: usize = 1 << 18;
/// The background counts again after this time, or after so many times what it took: it has 2 % of a
/// processor at most.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSES: u32 = 50;

/// The flow tables, and how they were last counted.
pub struct Census {
    v4: Mapped,
    v6: Mapped,
    is_v4_used: AtomicBool,
    is_v6_used: AtomicBool,
    last: Mutex<Option<Arc<[LiveFlows]>>>,
}

impl Census {
    /// A census of these tables.
    ///
    /// # Errors
    /// If they are large, and no thread can be started to count them.
    pub fn of(v4: Mapped, v6: Mapped) -> Result<Arc<Self>> {
        let census = Arc::new(Self {
            v4,
            v6,
            is_v4_used: AtomicBool::new(false),
            is_v6_used: AtomicBool::new(false),
            last: Mutex::new(None),
        });
        if census.is_large() {
            let counted = Arc::downgrade(&census);
            thread::Builder::new()
                .name("census".to_owned())
                .spawn(move || count_again_and_again(&counted))
                .context("start counting flows")?;
        }
        Ok(census)
    }

    /// Whether counting takes longer than a command should.
    pub fn is_large(&self) -> bool {
        self.v4.len() > FEW
    }

    /// The flow tables.
    pub fn flows(&self) -> FlowTables<'_> {
        FlowTables {
            v4: &self.v4,
            v6: &self.v6,
        }
    }

    /// Of which families there are services: only those have flows.
    pub fn expect(&self, v4: bool, v6: bool) {
        self.is_v4_used.store(v4, Ordering::Relaxed);
        self.is_v6_used.store(v6, Ordering::Relaxed);
    }

    /// Live flows of each endpoint now; index = endpoint id.
    pub fn now(&self) -> Arc<[LiveFlows]> {
        let used = (
            self.is_v4_used.load(Ordering::Relaxed),
            self.is_v6_used.load(Ordering::Relaxed),
        );
        self.flows().count(used, flows::now()).into()
    }

    /// The same, of a large table as it was a few seconds ago.
    pub fn lately(&self) -> Arc<[LiveFlows]> {
        if self.is_large()
            && let Some(last) = &*self.last.lock().unwrap_or_else(PoisonError::into_inner)
        {
            return last.clone();
        }
        self.now()
    }
}

fn count_again_and_again(census: &Weak<Census>) {
    while let Some(census) = census.upgrade() {
        let began = Instant::now();
        let counted = census.now();
        *census.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(counted);
        drop(census);
        thread::sleep(PAUSE.max(PAUSES * began.elapsed()));
    }
}
