//! Second act: a thousand new flows at 1:1, 1:3 and 1:99, for each kind of traffic.

use anyhow::Result;

use super::promise::Promises;
use super::screen::Screen;
use super::stage::{SERVICES, Service, Stage, command};
use crate::lab::Counts;
use crate::lab::chance::likely_range;
use crate::render::{Column, table};

const FLOWS: usize = 1000;

/// Weights of `old` and `new`.
const WEIGHTS: [(u32, u32); 3] = [(1, 1), (1, 3), (1, 99)];

pub(super) fn play(screen: &Screen, stage: &Stage, promises: &mut Promises) -> Result<()> {
    let style = screen.style();
    screen.say(&style.bold("2  A thousand new flows at 1:1, 1:3 and 1:99"))?;
    let mut rows = Vec::new();
    {
        let step = screen.begin("a thousand flows, twelve times");
        for weights in WEIGHTS {
            for service in SERVICES {
                step.tell(format!(
                    "{}   {}",
                    command(service, &changes(weights)),
                    service.traffic()
                ));
                rows.push(row(stage, promises, weights, service)?);
            }
        }
    }
    for weights in WEIGHTS {
        screen.say(&format!("   $ {}", command(SERVICES[0], &changes(weights))))?;
    }
    screen.say("     and the same for echo-v6, echo-udp and echo-udp-v6")?;
    let columns = [
        Column::Text("OLD:NEW"),
        Column::Text("TRAFFIC"),
        Column::Number("ASKED"),
        Column::Number("→ OLD"),
        Column::Number("→ NEW"),
        Column::Number("OBSERVED"),
        Column::Number("CHANCE ALLOWS"),
        Column::Text(""),
    ];
    let table = table(&columns, rows, "", style);
    screen.say(&super::screen::indented(&table, style))?;
    Ok(())
}

fn changes((old, new): (u32, u32)) -> [String; 2] {
    [format!("old={old}"), format!("new={new}")]
}

fn row(
    stage: &Stage,
    promises: &mut Promises,
    weights: (u32, u32),
    service: Service,
) -> Result<Vec<String>> {
    let changed = stage.set_weights(service, &changes(weights))?;
    promises.note_change(changed.effect_ms());
    let counts: Counts = stage.ask(service, FLOWS)?;
    let (old, new) = weights;
    let share = f64::from(new) / f64::from(old + new);
    let what = format!("{old}:{new} {}", service.traffic());
    let likely = promises.judge_share(&what, &counts, "two", share);
    let (least, most) = likely_range(counts.answered(), share);
    Ok(vec![
        format!("{old}:{new}"),
        service.traffic(),
        format!("{:.1}%", share * 100.0),
        counts.of("one").to_string(),
        counts.of("two").to_string(),
        format!("{:.1}%", counts.share("two") * 100.0),
        format!("{least} to {most}"),
        match (likely, counts.failed()) {
            (true, 0) => "✔".to_owned(),
            (_, 0) => "✘".to_owned(),
            (_, failed) => format!("✘ {failed} failed"),
        },
    ])
}
