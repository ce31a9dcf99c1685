//! The machine that was measured on.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Keeps this thread on one CPU: the last, which the system uses least.
pub fn pin() -> Result<()> {
    let last = std::thread::available_parallelism()?.get() - 1;
    let mut cpus = CpuSet::new();
    cpus.set(last)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("stay on CPU {last}"))
}

/// Kernel, CPU and date, in words.
pub fn describe() -> Result<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("ask for the kernel")?;
    let cpus = std::thread::available_parallelism()?;
    let info = fs::read_to_string("/proc/cpuinfo").context("ask for the CPU")?;
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("CPU of unknown model", |model| {
            model.trim_start_matches([' ', '\t', ':'])
        });
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
    let date = String::from_utf8_lossy(&date.stdout);
    Ok(format!(
        "Linux {}, {model} ({cpus} CPUs), {}",
        kernel.trim(),
        date.trim()
    ))
}
