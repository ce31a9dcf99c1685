//! Time from a command to its effect, with the real `lbd` and `lbctl`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::api::SetWeights;
use lb_userspace::client::Client;
use lb_userspace::lab::{Balancer, Configuration, Family, Lab, Transport};

use super::figures::Samples;
use super::stage;
use super::traffic::{endpoint, vip};

/// A process that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(30);

/// Milliseconds of one size of configuration.
#[derive(Clone, Debug)]
pub struct Effect {
    /// In words.
    pub size: String,
    /// From the request's arrival at `lbd` to the new table in force.
    pub effect: Samples,
    /// From asking `lbd` to its answer, over its socket.
    pub answer: Samples,
    /// From starting `lbctl set-weight` to its end.
    pub command: Samples,
}

/// Changes weights to and fro.
pub fn measure(programs: &Path, rounds: usize) -> Result<Vec<Effect>> {
    [100, 1000]
        .into_iter()
        .map(|endpoints| effect(programs, endpoints, rounds))
        .collect()
}

fn effect(programs: &Path, endpoints: u16, rounds: usize) -> Result<Effect> {
    let lab = stage::build()?;
    let at = |backend: u16| -> Vec<_> {
        (0..endpoints)
            .map(|number| endpoint(Family::V4, backend * endpoints + number))
            .collect()
    };
    let configuration = Configuration::on(&lab.node().interfaces())
        .service("echo", Transport::Tcp, vip(Family::V4))
        .backend("old", 90, &at(0))
        .backend("new", 10, &at(1));
    let _balancer = Balancer::start(&lab, &programs.join("lbd"), configuration.text())?;
    let size = format!("2 × {endpoints} endpoints");
    change(&lab, programs, size, ("echo", "new"), rounds)
}

/// Changes the weights of a backend of a service.
pub fn change(
    lab: &Lab,
    programs: &Path,
    size: String,
    (service, backend): (&str, &str),
    rounds: usize,
) -> Result<Effect> {
    let mut times = Effect {
        size,
        effect: Samples::default(),
        answer: Samples::default(),
        command: Samples::default(),
    };
    for round in 0..rounds {
        let [first, second] = if round % 2 == 0 { [20, 30] } else { [50, 60] };
        ask(lab, service, &format!("{backend}={first}"), &mut times)?;
        let change = format!("{backend}={second}");
        let took = command(lab, programs, &["set-weight", "-s", service, &change])?;
        times.command.add(took);
    }
    Ok(times)
}

/// Asks `lbd` over its socket.
fn ask(lab: &Lab, service: &str, change: &str, times: &mut Effect) -> Result<()> {
    let client = Client::new(&lab.socket());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let start = Instant::now();
    let answer = runtime.block_on(client.set_weights(&SetWeights {
        service: Some(service.to_owned()),
        changes: vec![change.to_owned()],
        dry_run: false,
    }))?;
    times.answer.add(milliseconds(start));
    times
        .effect
        .add(answer.effect_ms.context("no change, no effect")?);
    Ok(())
}

/// Milliseconds of a whole `lbctl`.
pub fn command(lab: &Lab, programs: &Path, words: &[&str]) -> Result<f64> {
    let mut command = Command::new(programs.join("lbctl"));
    command.arg("--socket").arg(lab.socket()).args(words);
    let start = Instant::now();
    let output = lab.node().output(command, LIMIT)?;
    let took = milliseconds(start);
    ensure!(
        output.status.success(),
        "lbctl {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(took)
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
