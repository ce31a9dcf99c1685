//! How the clock of the kernel program goes: it counts timer interrupts (`jiffies`), because reading that count
//! costs it one load, and a helper's clock a call for each packet.

use anyhow::{Context as _, Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use nix::time::{ClockId, clock_getres};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/clock.bpf.o"));

/// What makes nanoseconds of CLOCK_MONOTONIC of the count of timer interrupts, to within one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds between two.
    pub interval: u64,
    /// Nanoseconds to add, modulo 2^64.
    pub offset: u64,
}

impl Clock {
    /// Asks the kernel.
    ///
    /// # Errors
    /// If it refuses.
    pub fn read() -> Result<Self> {
        // The coarse clocks are as old as the latest timer interrupt: that is their resolution.
        let interval = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
            .context("ask how long timer interrupts are apart")?;
        let interval = interval.tv_sec() as u64 * 1_000_000_000 + interval.tv_nsec() as u64;
        ensure!(
            (1..=100_000_000).contains(&interval),
            "timer interrupts {interval} ns apart"
        );
        let (interrupts, nanoseconds) = both()?;
        Ok(Self {
            interval,
            offset: nanoseconds.wrapping_sub(interrupts.wrapping_mul(interval)),
        })
    }
}

/// The count of timer interrupts and CLOCK_MONOTONIC, at one instant.
fn both() -> Result<(u64, u64)> {
    let mut ebpf: Ebpf = EbpfLoader::new()
        .load(OBJECT)
        .context("load the program that reads the clocks")?;
    let program: &mut Xdp = ebpf
        .program_mut("clock")
        .context("the object has no program `clock`")?
        .try_into()?;
    program
        .load()
        .context("load the program that reads the clocks")?;
    let mut frame = [0; 64];
    let asked = [0; 64];
    program
        .test_run(TestRunOptions {
            data_in: Some(&asked),
            data_out: Some(&mut frame),
            ..TestRunOptions::default()
        })
        .context("run the program that reads the clocks")?;
    let word = |at: usize| {
        let bytes = frame.get(at..at + 8).and_then(|it| it.try_into().ok());
        u64::from_ne_bytes(bytes.unwrap_or_default())
    };
    Ok((word(0), word(8)))
}
