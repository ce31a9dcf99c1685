//! Third act: connections stay where they are while the weights go there and back.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::promise::Promises;
use super::screen::{Screen, Step, indented};
use super::stage::{SERVICES, Stage, command};
use crate::lab::{Held, Hold, LongLived};
use crate::render::{Column, table};

/// Connections that are held open.
const CONNECTIONS: usize = 200;
/// New connections at each step.
const NEW: usize = 500;
/// Each held connection says a line so often.
const INTERVAL: Duration = Duration::from_millis(50);
/// The shortest a step takes: long enough for every connection to have said a dozen lines.
const STEP: Duration = Duration::from_secs(1);
/// The longest the connections may take to open.
const OPEN_LIMIT: Duration = Duration::from_secs(15);
/// How often the progress is told.
const POLL: Duration = Duration::from_millis(50);

/// Weights of `old` and `new`, in percent.
const STEPS: [(u32, u32); 5] = [(100, 0), (90, 10), (50, 50), (0, 100), (100, 0)];

pub(super) fn play(screen: &Screen, stage: &Stage, promises: &mut Promises) -> Result<()> {
    let [echo, ..] = SERVICES;
    let style = screen.style();
    screen.say(&style.bold("3  200 connections stay open while the weights go there and back"))?;
    let mut rows = Vec::new();
    let (outcome, home) = {
        let step = screen.begin("opening 200 connections");
        stage.set_weights(echo, &changes(STEPS[0]))?;
        let hold = Hold::new(echo.transport, echo.address(), CONNECTIONS, INTERVAL);
        let held = LongLived::open(stage.lab().client(), hold)?;
        held.wait_open(OPEN_LIMIT)?;
        for weights in STEPS {
            rows.push(row(stage, promises, &step, &held, weights)?);
        }
        let home = held.by_name();
        (held.stop()?, home)
    };
    promises.note_held(outcome.held);
    screen.say(&format!(
        "   $ {}   and so on",
        command(echo, &changes(STEPS[1]))
    ))?;
    let columns = [
        Column::Number("OLD/NEW"),
        Column::Number("IN EFFECT"),
        Column::Number("ANSWERED"),
        Column::Number("NEW FLOWS"),
        Column::Number("→ OLD"),
        Column::Number("→ NEW"),
        Column::Number("HELD OPEN"),
        Column::Number("ECHOES"),
        Column::Number("MOVED"),
        Column::Number("BROKEN"),
        Column::Text(""),
    ];
    screen.say(&indented(&table(&columns, rows, "", style), style))?;
    let home: Vec<_> = home
        .iter()
        .map(|(name, count)| format!("{count} on {name}"))
        .collect();
    let reasons: Vec<_> = outcome
        .reasons
        .iter()
        .map(|(why, count)| format!("   broken: {count} × {why}\n"))
        .collect();
    screen.say(&format!(
        "   opened and held to the end: {}\n{}",
        home.join(", "),
        reasons.concat()
    ))?;
    Ok(())
}

fn changes((old, new): (u32, u32)) -> [String; 2] {
    [format!("old={old}"), format!("new={new}")]
}

/// One change of weights, new connections after it, and the held ones meanwhile.
fn row(
    stage: &Stage,
    promises: &mut Promises,
    step: &Step<'_>,
    held: &LongLived,
    weights: (u32, u32),
) -> Result<Vec<String>> {
    let [echo, ..] = SERVICES;
    let (old, new) = weights;
    let name = format!("{old}/{new}");
    let (start, before) = (Instant::now(), held.held());
    let changed = stage.set_weights(echo, &changes(weights))?;
    promises.note_change(changed.effect_ms());
    let counts = stage.ask(echo, NEW)?;
    let likely = promises.judge_share(&name, &counts, "two", f64::from(new) / 100.0);
    let now = watch(step, held, &name, before, start);
    let talked = now.echoed >= before.echoed + now.live;
    if !talked {
        promises.note_silence(&format!("no echo from all at {name}"));
    }
    let well = likely && talked && counts.failed() == 0 && (now.broken, now.moved) == (0, 0);
    Ok(vec![
        name,
        format!("{:.1} ms", changed.effect_ms()),
        format!("{:.1} ms", changed.command.as_secs_f64() * 1e3),
        counts.answered().to_string(),
        counts.of("one").to_string(),
        counts.of("two").to_string(),
        now.live.to_string(),
        (now.echoed - before.echoed).to_string(),
        now.moved.to_string(),
        now.broken.to_string(),
        if well { "✔" } else { "✘" }.to_owned(),
    ])
}

/// Lets the held connections talk until the step is over.
fn watch(step: &Step<'_>, held: &LongLived, name: &str, before: Held, start: Instant) -> Held {
    loop {
        let now = held.held();
        step.tell(format!(
            "{name}: {} held open, {} echoes, {} broken",
            now.live,
            now.echoed - before.echoed,
            now.broken
        ));
        if start.elapsed() >= STEP {
            return now;
        }
        thread::sleep(POLL);
    }
}
