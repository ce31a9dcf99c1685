//! First act: ten connections at 80/20.

use anyhow::Result;

use super::promise::Promises;
use super::screen::Screen;
use super::stage::{SERVICES, Stage, command};
use crate::lab::Counts;

const CONNECTIONS: usize = 10;

pub(super) fn play(screen: &Screen, stage: &Stage, promises: &mut Promises) -> Result<()> {
    let [echo, ..] = SERVICES;
    let changes = ["old=80".to_owned(), "new=20".to_owned()];
    let style = screen.style();
    screen.say(&format!(
        "{}\n   $ {}",
        style.bold("1  Ten connections at 80/20"),
        command(echo, &changes)
    ))?;
    let changed = stage.set_weights(echo, &changes)?;
    promises.note_change(changed.effect_ms());
    let mut all = Counts::default();
    let mut order = Vec::new();
    {
        let _step = screen.begin("connecting ten times");
        for _ in 0..CONNECTIONS {
            let counts = stage.ask(echo, 1)?;
            order.extend(counts.by_name.keys().cloned());
            all.add(counts);
        }
    }
    let likely = promises.judge_share("80/20", &all, "two", 0.2);
    let verdict = if likely { "" } else { "  that is no chance" };
    let order: Vec<_> = order
        .iter()
        .map(|name| match name.as_str() {
            "two" => style.good(name),
            _ => name.clone(),
        })
        .collect();
    screen.say(&format!("   {}   {all}{verdict}\n", order.join(" ")))?;
    Ok(())
}
