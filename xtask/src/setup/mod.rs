//! Makes this machine able to build and test lb.
//!
//! [`survey`] looks, [`plan`] decides (pure), this file carries out. One step at a time and then
//! a new look, for an installed compiler tells better than a package list which LLVM it wants.

mod apt;
mod plan;
mod rivals;
mod survey;

use anyhow::{Context as _, Result, bail};

use self::plan::Step;
pub(crate) use self::rivals::install_rivals;
use self::survey::Machine;
use crate::cargo::run;
use crate::elevate::is_root;

/// Installs what is missing, says what it found and did. Does nothing when all is there.
///
/// # Errors
/// When something is missing that cannot be installed from here; the message holds the commands
/// to type.
pub(crate) fn setup() -> Result<()> {
    let mut machine = Machine::survey();
    let mut done: Vec<Step> = Vec::new();
    while !machine.is_complete() {
        if done.is_empty() && machine.apt && is_root() {
            apt::update();
        }
        let offers = apt::offers(&machine);
        let steps = plan::plan(&machine, &offers)?;
        let Some(step) = steps.first() else {
            bail!("something is missing and nothing would install it:\n{machine}");
        };
        if done.contains(step) {
            bail!("`{step}` succeeded, and yet:\n{machine}");
        }
        if step.needs_root() && !is_root() {
            bail!(
                "lb needs more than this machine has. Type\n{}",
                plan::to_type(&steps)
            );
        }
        run(&mut step.command()).with_context(|| format!("install what is missing: `{step}`"))?;
        done.push(step.clone());
        machine = Machine::survey();
    }
    println!("{machine}");
    Ok(())
}
