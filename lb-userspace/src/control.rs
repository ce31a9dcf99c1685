//! The one writer: what is decided, kept and in the kernel changes together or not at all.

mod filter;
mod fixed;
mod follow;
mod read;
mod report;
mod start;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use start::{Start, start};

use crate::api::{Code, ConfigAnswer, DetachAnswer, Failure, SetWeights, WeightsAnswer};
use crate::config::Config;
use crate::dataplane::{Dataplane, EndpointReport, News, Opened};
use crate::persist::{AppliedText, Kept, Store};
use crate::state::{Request, ServiceChange, State};
use crate::{source, sysctl, weights};

/// A running dataplane with everything that is known about it. Its calls block.
pub struct Control {
    config_file: PathBuf,
    settings: fixed::Fixed,
    sysctl: sysctl::Policy,
    store: Store,
    kept: Kept,
    state: State,
    tables: Arc<report::Tables>,
    opened: Opened,
    notes: Vec<String>,
    started: Instant,
    /// `None` once the program was taken off the interfaces.
    dataplane: Option<Dataplane>,
}

/// Where a configuration comes from.
enum Origin {
    File,
    Applied(String),
}

impl Control {
    /// Gives the backends of a service new weights, or tells what that would do.
    ///
    /// # Errors
    /// If the weights make no sense, cannot be kept, or the kernel refuses; nothing has changed then.
    pub fn set_weights(&mut self, asked: SetWeights) -> Result<WeightsAnswer, Failure> {
        let began = Instant::now();
        let changes = weights::parse(&asked.changes)?;
        let request = Request::SetWeights {
            service: asked.service,
            changes,
        };
        let (next, change) = self.state.apply(request)?;
        let before = self.tables.clone();
        let (tables, effect_ms) = if asked.dry_run {
            (self.preview(&next)?, None)
        } else {
            let applied = self.kept.applied.clone();
            let (tables, in_effect) = self.commit(next.clone(), applied)?;
            (tables, Some(milliseconds(in_effect - began)))
        };
        let change = change
            .services
            .first()
            .ok_or_else(|| Failure::new(Code::Internal, "the change names no service"))?;
        let live = attached(&mut self.dataplane)?.live_lately(&change.service);
        let service = report::shift(change, &before, &tables, |backend| {
            live.get(backend).copied().unwrap_or_default()
        });
        Ok(WeightsAnswer {
            dry_run: asked.dry_run,
            generation: next.generation,
            effect_ms,
            service,
        })
    }

    /// Puts a configuration in force over the file, or tells what that would do. `name` is what
    /// errors call it.
    ///
    /// # Errors
    /// As [`Control::set_weights`]; also if it changes what only a restart can change.
    pub fn configure(
        &mut self,
        text: String,
        name: &str,
        dry_run: bool,
    ) -> Result<ConfigAnswer, Failure> {
        let began = Instant::now();
        let directory = self.config_file.parent().unwrap_or_else(|| Path::new(""));
        let config = Config::parse_in(directory, &text, name, &source::towards)?;
        self.adopt(config, Origin::Applied(text), began, dry_run)
    }

    /// Reads the configuration file again.
    ///
    /// # Errors
    /// As [`Control::configure`].
    pub fn reload(&mut self) -> Result<ConfigAnswer, Failure> {
        let began = Instant::now();
        let (config, _) = Config::read(&self.config_file, &source::towards)?;
        self.adopt(config, Origin::File, began, false)
    }

    fn adopt(
        &mut self,
        config: Config,
        origin: Origin,
        began: Instant,
        dry_run: bool,
    ) -> Result<ConfigAnswer, Failure> {
        self.settings.allow(&config)?;
        let (next, change) = self.state.apply(Request::Configure(config.services))?;
        let generation = next.generation;
        let before = self.tables.clone();
        let mut notes = change.notes;
        let (tables, effect_ms) = if dry_run {
            (self.preview(&next)?, None)
        } else {
            let (tables, in_effect) = self.commit(next, self.over_file(origin))?;
            notes.extend(self.settings.prepare(&self.state, self.sysctl));
            notes.extend(self.hear());
            self.notes.clone_from(&notes);
            (tables, Some(milliseconds(in_effect - began)))
        };
        let endpoints = self.endpoints()?;
        let reports = report::Reports::of(&endpoints);
        let shift = |change: &ServiceChange| {
            let live = |backend: &str| reports.live(&change.service, backend);
            report::shift(change, &before, &tables, live)
        };
        let services = change.services.iter().map(shift).collect();
        Ok(ConfigAnswer {
            dry_run,
            generation,
            effect_ms,
            services,
            notes,
        })
    }

    /// The applied text to keep: none if it is what the file says anyway.
    fn over_file(&self, origin: Origin) -> Option<AppliedText> {
        let Origin::Applied(text) = origin else {
            return None;
        };
        let file = std::fs::read_to_string(&self.config_file).unwrap_or_default();
        (text != file).then(|| AppliedText {
            text,
            over: fingerprint(&file),
        })
    }

    /// Prepares, applies, keeps. Whoever refuses, everything is as before. Tells when the kernel
    /// followed.
    fn commit(
        &mut self,
        next: State,
        applied: Option<AppliedText>,
    ) -> Result<(Arc<report::Tables>, Instant), Failure> {
        let kept = Kept {
            generation: next.generation,
            seed: self.kept.seed,
            weights: next.overrides.clone(),
            applied,
            carried: self.kept.carried.clone(),
        };
        let dataplane = attached(&mut self.dataplane)?;
        let pending = self
            .store
            .prepare(&kept)
            .map_err(|cause| not_kept(&cause))?;
        let carried = &mut self.kept.carried;
        let applied = match follow::follow(dataplane, &next.desired, carried) {
            Ok(applied) => applied,
            Err(cause) => {
                pending.cancel();
                return Err(refused(&cause));
            }
        };
        if let Err(cause) = pending.keep() {
            if let Err(again) = follow::follow(dataplane, &self.state.desired, carried) {
                tracing::error!("a change that could not be kept stays in force: {again:#}");
            }
            return Err(not_kept(&cause));
        }
        self.tables = Arc::new(report::tables(&next.desired, &applied.services));
        self.state = next;
        self.keep(kept);
        Ok((self.tables.clone(), applied.in_effect))
    }

    /// Remembers what is on disk, and brings the counters there up to date. A change stands without
    /// them.
    fn keep(&mut self, on_disk: Kept) {
        let mut carried = std::mem::take(&mut self.kept.carried);
        carried.keep_only(&self.state.desired.services);
        let is_new = carried != on_disk.carried;
        self.kept = Kept { carried, ..on_disk };
        if is_new {
            follow::keep(&self.store, &self.kept);
        }
    }

    fn preview(&mut self, next: &State) -> Result<Arc<report::Tables>, Failure> {
        let applied = attached(&mut self.dataplane)?
            .preview(&next.desired)
            .map_err(|cause| refused(&cause))?;
        Ok(Arc::new(report::tables(&next.desired, &applied)))
    }

    /// Takes the program off the interfaces. There is nothing to control after it.
    ///
    /// # Errors
    /// If something of it stays behind; the error names it.
    pub fn detach(&mut self) -> Result<DetachAnswer, Failure> {
        let live = report::live(&self.endpoints()?).all();
        let dataplane = self.dataplane.take().ok_or_else(detached)?;
        dataplane.detach().map_err(|cause| refused(&cause))?;
        Ok(DetachAnswer {
            interfaces: self
                .opened
                .interfaces
                .iter()
                .map(|it| it.name.clone())
                .collect(),
            live_flows: live,
        })
    }

    /// What the dataplane wants done every few seconds; `sweep` now and then.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn tend(&mut self, sweep: bool) -> Result<(), Failure> {
        let Some(dataplane) = &mut self.dataplane else {
            return Ok(());
        };
        if sweep {
            dataplane.sweep();
        }
        let tended = dataplane.tend();
        for note in self.hear() {
            tracing::info!("{note}");
        }
        tended.map_err(|cause| Failure::new(Code::Internal, format!("{cause:#}")))
    }

    /// What has happened in the dataplane by itself, a sentence each. Sees to the switches of interfaces that
    /// it found.
    fn hear(&mut self) -> Vec<String> {
        let Some(dataplane) = &mut self.dataplane else {
            return Vec::new();
        };
        let News { mut notes, arrived } = dataplane.take_news();
        let names: Vec<&str> = arrived.iter().map(String::as_str).collect();
        notes.extend(fixed::prepare(&names, &self.state, self.sysctl));
        notes
    }

    /// True until the program was taken off the interfaces.
    pub fn is_attached(&self) -> bool {
        self.dataplane.is_some()
    }

    /// One line on what runs.
    pub fn summary(&self) -> String {
        let interfaces: Vec<String> = self
            .opened
            .interfaces
            .iter()
            .map(report::interface)
            .collect();
        let how = if self.opened.adopted {
            "adopted with its live flows"
        } else {
            "fresh"
        };
        format!(
            "{}; {how}; {}, generation {}",
            interfaces.join(", "),
            report::count(self.state.desired.services.len(), "service"),
            self.state.generation
        )
    }

    /// What an operator should know, each a full sentence.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        self.opened.notes.iter().chain(&self.notes)
    }

    fn endpoints(&mut self) -> Result<Vec<EndpointReport>, Failure> {
        attached(&mut self.dataplane)?
            .endpoints()
            .map_err(|cause| unreadable(&cause))
    }
}

fn attached(dataplane: &mut Option<Dataplane>) -> Result<&mut Dataplane, Failure> {
    dataplane.as_mut().ok_or_else(detached)
}

fn detached() -> Failure {
    Failure::new(Code::Detached, "the program was taken off the interfaces")
        .try_this("start lbd again")
}

fn refused(cause: &anyhow::Error) -> Failure {
    Failure::new(Code::KernelRefused, format!("{cause:#}"))
}

fn unreadable(cause: &anyhow::Error) -> Failure {
    Failure::new(Code::Internal, format!("cannot read the maps: {cause:#}"))
}

fn not_kept(cause: &std::io::Error) -> Failure {
    Failure::new(
        Code::NotPersisted,
        format!("cannot keep the change on disk: {cause}"),
    )
    .try_this("make room or another place for --state; nothing has changed")
}

fn fingerprint(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn milliseconds(time: Duration) -> f64 {
    // Microseconds are as fine as it gets.
    time.as_micros() as f64 / 1e3
}
