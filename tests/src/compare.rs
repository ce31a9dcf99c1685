//! The loaded program against the reference model, on random and mutated frames.

mod aside;
mod mutate;
mod scene;
mod traffic;

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use lb_common::limits::TICK_SHIFT;
use lb_common::verdict::Reason;
use lb_tests::model::{MOST_LATER, Model, Prediction};
use lb_tests::node::{LARGE_MTU, Load, Node, Port, SEED};
use lb_userspace::dataplane::takes_frags;
use libtest_mimic::Trial;

use crate::flags::Flags;
use scene::Scene;
use traffic::Traffic;

/// Frames between two changes of weights.
const CHANGE_EVERY: u64 = 1500;

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
    let mtu = if takes_frags()? {
        LARGE_MTU
    } else {
        Load::default().mtu
    };
    let mut node = Node::new(Load {
        mtu,
        // In four places of a bucket there is room for five flows too few: with fewer buckets a flow that opens
        // gives way to another once in a million frames, which the model does not foresee.
        flows: 1 << 18,
        ..Load::default()
    })?;
    node.within(|node| Comparison::new(node, seed)?.run(packets))?
}

struct Comparison<'a> {
    node: &'a mut Node,
    model: Model,
    scene: Scene,
    traffic: Traffic,
    counted: Vec<u64>,
}

impl<'a> Comparison<'a> {
    fn new(node: &'a mut Node, seed: u64) -> Result<Self> {
        let (first, last) = Load::default().ports;
        let model = Model::new(SEED, first..=last, node.routes());
        let counted = node.reasons()?;
        let scene = Scene::new(seed);
        let ports = [node.client, node.one, node.two];
        let traffic = Traffic::new(seed, ports, node.mtu());
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
                let services = self.scene.next();
                self.node.follow(&services)?;
                self.model.apply(&services)?;
                self.traffic.follow(&services);
            }
            while !self
                .compare_one()
                .with_context(|| format!("frame {index}"))?
            {
                self.begin_anew()?;
            }
        }
        self.sum_up(packets, &before, start);
        Ok(())
    }

    /// Compares one frame; false if it cannot be known what the program saw.
    fn compare_one(&mut self) -> Result<bool> {
        let (frame, from) = self.traffic.next();
        let (before, mut prediction) = loop {
            let tick = self.node.tick()?;
            match self.model.predict(&frame, from.index, tick) {
                Some(prediction) => break (tick, prediction),
                // Soon it can.
                None => sleep(Duration::from_nanos(1 << TICK_SHIFT)),
            }
        };
        let run = self.node.run(&frame, from)?;
        let later = self.node.tick()? - before;
        let counts = self.node.reasons()?;
        let counted = which(&self.counted, &counts);
        self.counted = counts;
        if later > 0 {
            // The program saw one tick of these.
            let last = self.model.predict(&frame, from.index, before + later);
            let either = last.and_then(|last| prediction.or(&last));
            match either {
                Some(either) if later <= MOST_LATER => prediction = either,
                _ => return Ok(false),
            }
        }
        let outcome = match counted {
            Some(reason) if reason == prediction.reason => {
                self.model.confirm(&prediction, run.action, &run.frame)
            }
            _ => Err(anyhow!("another reason")),
        };
        let unknown = outcome
            .with_context(|| story(&frame, from, &prediction, run.action, &run.frame, counted))?;
        if let Some(tuple) = unknown {
            self.traffic.ask_again(tuple);
        }
        self.traffic.note(prediction.reason, &run.frame);
        Ok(true)
    }

    /// Empties the flow table, here and there, and waits until fragments do not follow their first ones: they
    /// would be the last who name endpoints whose ids may be given to others now.
    fn begin_anew(&mut self) -> Result<()> {
        self.node.forget_flows()?;
        sleep(FRAGMENTS_FORGOTTEN);
        self.model.forget_flows();
        self.counted = self.node.reasons()?;
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

/// The one reason that was counted once; nothing if it was not like that.
fn which(before: &[u64], after: &[u64]) -> Option<Reason> {
    let mut gone_up = before
        .iter()
        .zip(after)
        .enumerate()
        .filter(|(_, (a, b))| a != b);
    match (gone_up.next(), gone_up.next()) {
        (Some((index, (before, after))), None) if before + 1 == *after => {
            Reason::ALL.get(index).copied()
        }
        _ => None,
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
