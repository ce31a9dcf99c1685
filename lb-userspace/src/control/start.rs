//! From the command line of `lbd` to a running dataplane.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::fixed::Fixed;
use super::{Control, fingerprint, follow, not_kept, refused, report};
use crate::api::{Code, Failure};
use crate::config::Config;
use crate::dataplane::{Dataplane, Options};
use crate::persist::{Carried, Kept, Pending, Store};
use crate::state::State;
use crate::{source, sysctl};

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Start {
    /// The configuration file.
    pub config: PathBuf,
    /// The state file.
    pub state: PathBuf,
    /// Directory of the pins.
    pub pin_dir: PathBuf,
    /// Log every refused packet.
    pub log_packets: bool,
    /// What to do about switches of the node that are off.
    pub sysctl: sysctl::Policy,
}

/// Reads the configuration and what was kept, opens the dataplane, and puts both in force.
///
/// # Errors
/// If the configuration has a mistake, the state cannot be read or written, or the kernel refuses.
/// What was forwarding before still does.
pub fn start(asked: &Start) -> Result<Control, Failure> {
    let store = Store::open(&asked.state).map_err(|cause| unusable(&asked.state, &cause))?;
    let (mut kept, broken) = store
        .load()
        .map_err(|cause| unusable(&asked.state, &cause))?;
    let (config, over) = choose(&asked.config, &mut kept)?;
    let mut notes: Vec<String> = [broken, over].into_iter().flatten().collect();

    let mut settings = settle(&config, &mut kept)?;
    let (mut state, layered) = State::start(
        kept.generation + 1,
        settings.seed,
        config.services,
        &kept.weights,
    );
    notes.extend(layered);
    kept.generation = state.generation;
    kept.weights.clone_from(&state.overrides);
    store
        .prepare(&kept)
        .and_then(Pending::keep)
        .map_err(|cause| not_kept(&cause))?;

    notes.extend(settings.prepare(&state, asked.sysctl));
    notes.extend(sysctl::ephemeral_overlap(
        Path::new(sysctl::ROOT),
        settings.ports,
    ));
    let options = Options {
        pin_dir: asked.pin_dir.clone(),
        interfaces: settings.interfaces.clone(),
        endpoint_interfaces: settings.endpoint_interfaces.clone(),
        flows: settings.flows,
        ports: (settings.ports.first, settings.ports.last),
        log_packets: asked.log_packets,
    };
    let (mut dataplane, opened) =
        Dataplane::open(&options, settings.seed).map_err(|cause| refused(&cause))?;
    if opened.seed != settings.seed {
        notes.push(
            "The live flows were hashed with another seed: it stays in force until `lbctl detach`."
                .to_owned(),
        );
        settings.seed = opened.seed;
        state.desired.seed = opened.seed;
    }
    let on_disk = kept.carried.clone();
    if !opened.adopted {
        kept.carried = Carried::default();
    }
    let applied = follow::follow(&mut dataplane, &state.desired, &mut kept.carried)
        .map_err(|cause| refused(&cause))?;
    kept.carried.keep_only(&state.desired.services);
    if kept.carried != on_disk {
        follow::keep(&store, &kept);
    }
    let tables = Arc::new(report::tables(&state.desired, &applied.services));
    let mut control = Control {
        config_file: asked.config.clone(),
        settings,
        sysctl: asked.sysctl,
        store,
        kept,
        state,
        tables,
        opened,
        notes,
        started: Instant::now(),
        dataplane: Some(dataplane),
    };
    let heard = control.hear();
    control.notes.extend(heard);
    Ok(control)
}

/// The file, or the configuration applied over it if the file is still the same: the later word
/// counts.
fn choose(file: &Path, kept: &mut Kept) -> Result<(Config, Option<String>), Failure> {
    let (config, text) = Config::read(file, &source::towards)?;
    let directory = file.parent().unwrap_or_else(|| Path::new(""));
    let Some(applied) = &kept.applied else {
        return Ok((config, None));
    };
    let file = file.display();
    if applied.over != fingerprint(&text) {
        kept.applied = None;
        let note = format!(
            "{file} has changed since a configuration was applied over it: the file is in force."
        );
        return Ok((config, Some(note)));
    }
    let name = format!("configuration applied over {file}");
    let applied = Config::parse_in(directory, &applied.text, &name, &source::towards)?;
    let note = format!("A configuration applied over {file} is in force: SIGHUP goes back to it.");
    Ok((applied, Some(note)))
}

/// The settings with a seed: the file's, the kept one, or a new one.
fn settle(config: &Config, kept: &mut Kept) -> Result<Fixed, Failure> {
    let settings = &config.settings;
    let seed = match settings.seed.or(kept.seed) {
        Some(seed) => seed,
        None => *kept.seed.insert(getrandom::u64().map_err(|cause| {
            Failure::new(
                Code::Internal,
                format!("the kernel gives no random number: {cause}"),
            )
        })?),
    };
    Ok(Fixed {
        interfaces: settings.interfaces.clone(),
        endpoint_interfaces: settings.endpoint_interfaces.clone(),
        seed,
        flows: settings.flows,
        ports: settings.ports,
    })
}

fn unusable(path: &Path, cause: &io::Error) -> Failure {
    Failure::new(
        Code::NotPersisted,
        format!("cannot use {}: {cause}", path.display()),
    )
    .try_this("run as root, or name another file with --state")
}
