//! The flags of our own, taken out before libtest's are read.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Flags {
    /// Random frames to compare.
    pub packets: u64,
    /// What they are made from.
    pub seed: u64,
    /// The other arguments, the program's name first.
    pub rest: Vec<String>,
}

impl Flags {
    /// Reads arguments and environment; arguments win.
    pub fn read() -> Result<Self> {
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        let mut flags = Self {
            packets: from_environment("LB_MODEL_PACKETS")?.unwrap_or(100_000),
            seed: from_environment("LB_MODEL_SEED")?.unwrap_or(clock),
            rest: Vec::new(),
        };
        let mut arguments = env::args();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--packets" => flags.packets = number("--packets", arguments.next())?,
                "--seed" => flags.seed = number("--seed", arguments.next())?,
                _ => flags.rest.push(argument),
            }
        }
        Ok(flags)
    }
}

fn from_environment(name: &str) -> Result<Option<u64>> {
    env::var(name)
        .ok()
        .map(|value| number(name, Some(value)))
        .transpose()
}

fn number(name: &str, value: Option<String>) -> Result<u64> {
    let value = value.with_context(|| format!("{name} needs a number"))?;
    value
        .parse()
        .with_context(|| format!("{name} {value}: not a number"))
}
