//! The loaded program against the reference model, on random and mutated frames.

mod aside;
mod mutate;
mod scene;
mod traffic;

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use lb_common::limits::TICK_SHIFT;
use lb_common::verdict::Reason;
use lb_tests::model::{Model, Prediction};
use lb_tests::node::{Load, Node, Port, SEED};
use libtest_mimic::Trial;
use nix::time::{ClockId, clock_gettime};

use crate::flags::Flags;
use scene::Scene;
use traffic::Traffic;

/// Frames between two changes of weights.
const CHANGE_EVERY: u64 = 1500;

/// Nanoseconds that running one frame stays below, unless the machine is very busy.
const MOMENT: u64 = 30_000_000;

/// First fragments are remembered for a shorter time.
const FRAGMENTS_FORGOTTEN: Duration = Duration::from_secs(6);

/// Every case.
pub fn trials(flags: &Flags) -> Vec<Trial> {
    let Flags { packets, seed, .. } = *flags;
    let name = format!("the program does what the model says with {packets} frames of seed {seed}");
    vec![
        Trial::test(name, move || {
            compare(packets, seed).map_err(|error| format!("seed {seed}: {error:#}").into())
        })
        .with_kind("model"),
    ]
}

fn compare(packets: u64, seed: u64) -> Result<()> {
    let mut node = Node::new(Load::default())?;
    node.within(|node| Comparison::new(node, seed)?.run(packets))?
}

struct Comparison<'a> {
    node: &'a mut Node,
    model: Model,
    scene: Scene,
    traffic: Traffic,
    /// Of each reason, as predicted.
    counted: Vec<u64>,
}

impl<'a> Comparison<'a> {
    fn new(node: &'a mut Node, seed: u64) -> Result<Self> {
        let (first, last) = Load::default().ports;
        let model = Model::new(SEED, first..=last, node.routes());
        let counted = node.reasons()?;
        let scene = Scene::new(seed);
        let traffic = Traffic::new(seed, [node.client, node.one, node.two]);
        Ok(Self {
            node,
            model,
            scene,
            traffic,
            counted,
        })
    }

    fn run(mut self, packets: u64) -> Result<()> {
        let start = Instant::now();
        let before = self.counted.clone();
        for index in 0..packets {
            if index.is_multiple_of(CHANGE_EVERY) {
                self.check_counts()?;
                let services = self.scene.next();
                self.node.follow(&services)?;
                self.model.apply(&services)?;
                self.traffic.follow(&services);
            }
            let is_certain = self
                .compare_one()
                .with_context(|| format!("frame {index}"))?;
            if !is_certain {
                self.begin_anew()?;
            }
        }
        self.check_counts()?;
        self.sum_up(packets, &before, start);
        Ok(())
    }

    /// Compares one frame; false if it cannot be known at which tick the program saw it, and that matters.
    fn compare_one(&mut self) -> Result<bool> {
        let (frame, from) = self.traffic.next();
        let tick = settled_tick()?;
        let run = self.node.run(&frame, from)?;
        let later = now()? >> TICK_SHIFT;
        let mut prediction = self.model.predict(&frame, from.index, tick as u32);
        let mut is_certain = true;
        if later != tick {
            let other = self.model.predict(&frame, from.index, later as u32);
            is_certain = other.is_alike(&prediction);
            if self.counted(prediction.reason)?.is_none() {
                prediction = other;
            }
        }
        let counted = self.counted(prediction.reason)?;
        let outcome = match counted {
            Some(_) => self.model.confirm(&prediction, run.action, &run.frame),
            None => Err(anyhow!("another reason")),
        };
        let unknown = outcome
            .with_context(|| story(&frame, from, &prediction, run.action, &run.frame, counted))?;
        self.counted[prediction.reason as usize] += 1;
        if let Some(tuple) = unknown {
            self.traffic.ask_again(tuple);
        }
        self.traffic.note(prediction.reason, &run.frame);
        Ok(is_certain)
    }

    /// The reason, if it was counted once since the last frame.
    fn counted(&self, reason: Reason) -> Result<Option<Reason>> {
        let count = self.node.reasons()?[reason as usize];
        Ok((count == self.counted[reason as usize] + 1).then_some(reason))
    }

    /// No other reason was counted than those that were predicted.
    fn check_counts(&self) -> Result<()> {
        for (reason, count) in Reason::ALL.into_iter().zip(self.node.reasons()?) {
            let predicted = self.counted[*reason as usize];
            ensure!(
                count == predicted,
                "{} was counted {count} times, not {predicted}",
                reason.name()
            );
        }
        Ok(())
    }

    /// Empties the flow table, here and there, and waits until fragments do not follow their first ones: they
    /// would be the last who name endpoints whose ids may be given to others now.
    fn begin_anew(&mut self) -> Result<()> {
        self.node.forget_flows()?;
        sleep(FRAGMENTS_FORGOTTEN);
        self.model.forget_flows();
        Ok(())
    }

    fn sum_up(&self, packets: u64, before: &[u64], start: Instant) {
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{packets} frames in {seconds:.1} s ({:.0} a second), {} flows",
            packets as f64 / seconds,
            self.model.flows()
        );
        for ((reason, after), before) in Reason::ALL.iter().zip(&self.counted).zip(before) {
            println!("{:>10} {}", after - before, reason.name());
        }
    }
}

fn story(
    frame: &[u8],
    from: Port,
    prediction: &Prediction,
    action: u32,
    out: &[u8],
    counted: Option<Reason>,
) -> String {
    format!(
        "in (interface {}): {}\nmodel:   {} action {} {}\nprogram: {} action {action} {}",
        from.index,
        hex(frame),
        prediction.reason.name(),
        prediction.action,
        hex(&prediction.frame()),
        counted.map_or("no single reason", Reason::name),
        hex(out),
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tick it is, which does not end within a moment.
fn settled_tick() -> Result<u64> {
    loop {
        let now = now()?;
        let left = (1 << TICK_SHIFT) - (now & ((1 << TICK_SHIFT) - 1));
        if left > MOMENT {
            return Ok(now >> TICK_SHIFT);
        }
        sleep(Duration::from_nanos(left));
    }
}

/// Nanoseconds of the clock that the program reads.
fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).context("read the clock")?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
