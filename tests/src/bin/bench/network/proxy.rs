//! A proxy of the system, run on the node of a lab.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lb_userspace::lab::{Ask, Family, Lab, Process, Transport};

use super::service::{ECHO, vip};

/// The longest a proxy may take to answer.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often it is tried.
const POLL: Duration = Duration::from_millis(20);

/// Gives the node the virtual addresses, starts the program there, and waits until it answers.
///
/// # Errors
/// With what it said, when it ends or does not answer within 10 s.
pub fn start(lab: &Lab, mut command: Command) -> Result<Process> {
    for family in Family::BOTH {
        let address = match family {
            Family::V4 => format!("{}/32", family.vip()),
            Family::V6 => format!("{}/128", family.vip()),
        };
        lab.node().ip(&["address", "add", &address, "dev", "lo"])?;
    }
    let log = lab.directory().join("proxy.log");
    let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let same = file.try_clone().context("share the log")?;
    command.stdin(Stdio::null()).stdout(file).stderr(same);
    let mut process = lab.node().spawn(command)?;
    let deadline = Instant::now() + START_LIMIT;
    while !answers(lab)? {
        let status = process.wait(Duration::ZERO)?;
        if status.is_some() || Instant::now() > deadline {
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("it does not answer: {}", said.trim());
        }
        thread::sleep(POLL);
    }
    Ok(process)
}

fn answers(lab: &Lab) -> Result<bool> {
    for family in Family::BOTH {
        let ask = Ask::new(Transport::Tcp, vip(family, ECHO), 1);
        if lab.client().ask(ask)?.answered() == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
