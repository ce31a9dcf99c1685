//! `lbctl demo`: a service moves from `old` to `new` by weight, on this machine and before your eyes.
//!
//! Real servers, real connections, the real `lbd`, in network namespaces that are gone afterwards.
//! What is shown is judged too: a [`Verdict`] says which promise was not kept.

mod held;
mod promise;
mod screen;
mod stage;
mod ten;
mod thousand;

use std::io;

use anyhow::{Context as _, Result};

pub use promise::Verdict;

use promise::Promises;
use screen::Screen;
use stage::Stage;

use crate::lab;
use crate::render::Style;

/// Runs the demo and prints it on standard output; takes less than a minute. Blocks.
///
/// # Errors
/// When it cannot be shown here: without root, without `ip`, `ethtool` or an `lbd` beside this
/// program, or when the kernel refuses a part; also when nobody reads the output any more. A promise
/// that was not kept is no error but a [`Verdict`].
pub fn run(style: Style) -> Result<Verdict> {
    stage::check()?;
    let screen = Screen::new(style);
    let curtain = screen.clone();
    lab::remove_on_signal(move |_| curtain.clear())?;
    play(&screen)
}

/// Whether an error of [`run`] is that nobody reads the output any more.
#[must_use]
pub fn is_unread(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn play(screen: &Screen) -> Result<Verdict> {
    let mut promises = Promises::default();
    let mut stage = {
        let _step = screen.begin("building the network and starting lbd");
        Stage::build().context("set the stage")?
    };
    screen.say(&stage.describe(screen.style())?)?;
    let acts = ten::play(screen, &stage, &mut promises)
        .and_then(|()| thousand::play(screen, &stage, &mut promises))
        .and_then(|()| held::play(screen, &stage, &mut promises));
    acts.with_context(|| format!("lbd said:\n{}", stage.log()))?;
    {
        let _step = screen.begin("removing the network");
        stage.balancer_must_run(&mut promises)?;
        drop(stage);
    }
    let verdict = promises.judge();
    screen.say(&verdict.describe(screen.style()))?;
    Ok(verdict)
}
