//! `lbd`: from its command line to its end.

use std::future::Future;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::api::{Code, Failure};
use crate::client::DEFAULT_SOCKET;
use crate::config::Config;
use crate::control::{self, Control, Start};
use crate::exit;
use crate::server::{self, Claim, Shared, Socket};
use crate::{source, sysctl};

const SIGNALS: &str = "\
Signals:
  SIGTERM, SIGINT  stop; forwarding goes on without lbd, and the next start takes it over
  SIGHUP           read the configuration again; with a mistake in it, keep the one in force";

/// Loads the balancer into the kernel and controls it. Forwarding goes on when lbd stops.
#[derive(Debug, Parser)]
#[command(
    name = "lbd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = format!("{SIGNALS}\n\n{}", exit::HELP)
)]
pub struct Daemon {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Options {
    /// The configuration.
    #[arg(short, long, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Where to listen for lbctl.
    #[arg(long, env = "LB_SOCKET", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Directory on a BPF file system for program, links and maps: what outlives lbd.
    #[arg(long, default_value = "/sys/fs/bpf/lb")]
    pin_dir: PathBuf,
    /// File for weights set at run time.
    #[arg(long, default_value = "/var/lib/lb/state.json")]
    state: PathBuf,
    /// Log every refused packet. Slow: for debugging.
    #[arg(long)]
    log_packets: bool,
    /// Only say which switches of the node forwarding needs, do not turn them on.
    #[arg(long)]
    no_sysctl: bool,
    /// Check the configuration on the node it is for, and end.
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration on the node it is for, and end
    Check {
        /// The configuration.
        #[arg(short, long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
}

/// How often interfaces are looked at: a new one is sent to by XDP that much later, by the kernel till
/// then.
const TEND_EVERY: Duration = Duration::from_secs(2);
/// The flow table is swept every so many times: once an hour.
const SWEEP_EVERY: u32 = 1800;
const DEFAULT_CONFIG: &str = "/etc/lb/lb.toml";

impl Daemon {
    /// Runs until a signal or `lbctl detach` ends it, or checks a configuration.
    ///
    /// # Errors
    /// If it cannot start; what was forwarding before still does.
    pub async fn run(self) -> Result<(), Failure> {
        match self.command {
            Some(Command::Check { config }) => check(&config),
            None if self.options.check => check(&self.options.config),
            None => run(self.options).await,
        }
    }
}

fn check(file: &Path) -> Result<(), Failure> {
    let (config, _) = Config::read(file, &source::towards)?;
    say(&format!(
        "{}: ok, {} services",
        file.display(),
        config.services.len()
    ));
    Ok(())
}

async fn run(options: Options) -> Result<(), Failure> {
    let claim = Claim::socket(&options.socket)?;
    let pins = Claim::pins(&options.pin_dir)?;
    let control = start(&options).await?;
    // Pins that were not there before are there now.
    let _pins = match pins {
        Some(pins) => Some(pins),
        None => Claim::pins(&options.pin_dir)?,
    };
    let (socket, listener) = Socket::listen(&options.socket, claim).map_err(|cause| {
        let error = format!("cannot listen on {}: {cause}", options.socket.display());
        Failure::new(Code::Internal, error).try_this("name another socket with --socket")
    })?;
    let stop = stop_signal().map_err(|cause| signals(&cause))?;
    let shared = Shared::new(control);
    let reload = reload_on_hangup(shared.clone()).map_err(|cause| signals(&cause))?;
    let reload = tokio::spawn(reload);
    let tending = tokio::spawn(tend(shared.clone()));
    announce(&shared, &options.socket).await?;
    let ending = shared.clone();
    let until = async move {
        tokio::select! {
            name = stop => say(&format!("lbd: {name}: stopping; forwarding goes on")),
            () = ending.detached() => say("lbd: detached: stopping"),
        }
    };
    let served = server::serve(listener, shared, until).await;
    reload.abort();
    tending.abort();
    drop(socket);
    served.map_err(|cause| Failure::new(Code::Internal, format!("cannot serve: {cause}")))
}

/// Follows interfaces as they come and go, and keeps the flow table clean.
async fn tend(shared: Shared) {
    let mut tick = tokio::time::interval(TEND_EVERY);
    for round in 1_u32.. {
        tick.tick().await;
        let asked = shared.ask(move |control| control.tend(round.is_multiple_of(SWEEP_EVERY)));
        if let Err(failure) = asked.await {
            tracing::warn!("{failure}");
        }
    }
}

async fn start(options: &Options) -> Result<Control, Failure> {
    let asked = Start {
        config: options.config.clone(),
        state: options.state.clone(),
        pin_dir: options.pin_dir.clone(),
        log_packets: options.log_packets,
        sysctl: if options.no_sysctl {
            sysctl::Policy::Report
        } else {
            sysctl::Policy::Set
        },
    };
    tokio::task::spawn_blocking(move || control::start(&asked))
        .await
        .unwrap_or_else(|cause| {
            Err(Failure::new(
                Code::Internal,
                format!("the start was not finished: {cause}"),
            ))
        })
}

async fn announce(shared: &Shared, socket: &Path) -> Result<(), Failure> {
    let (summary, notes) = shared
        .ask(|control| {
            Ok((
                control.summary(),
                control.notes().cloned().collect::<Vec<_>>(),
            ))
        })
        .await?;
    for note in notes {
        say(&format!("lbd: note: {note}"));
    }
    say(&format!(
        "lbd: running on {summary}; socket {}",
        socket.display()
    ));
    Ok(())
}

/// Ends with the name of the signal that asks to stop.
fn stop_signal() -> io::Result<impl Future<Output = &'static str>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

fn reload_on_hangup(shared: Shared) -> io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            match shared.ask(|control| control.reload()).await {
                Ok(answer) => {
                    for note in &answer.notes {
                        say(&format!("lbd: note: {note}"));
                    }
                    let generation = answer.generation;
                    say(&format!(
                        "lbd: SIGHUP: configuration in force, generation {generation}"
                    ));
                }
                Err(failure) => {
                    say(&format!(
                        "lbd: SIGHUP: not reloaded, running as before: {failure}"
                    ));
                }
            }
        }
    })
}

fn signals(cause: &io::Error) -> Failure {
    Failure::new(
        Code::Internal,
        format!("cannot listen for signals: {cause}"),
    )
}

/// A line on standard output. A daemon goes on if nobody reads it.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Daemon::command().debug_assert();
    }

    #[test]
    fn a_check_is_an_option_or_a_command() {
        let option = Daemon::try_parse_from(["lbd", "--check", "-c", "a.toml"]).unwrap();
        assert!(option.options.check && option.command.is_none());
        let command = Daemon::try_parse_from(["lbd", "check", "-c", "a.toml"]).unwrap();
        assert!(
            matches!(command.command, Some(Command::Check { config }) if config == Path::new("a.toml"))
        );
    }

    #[test]
    fn help_lists_signals_and_exit_codes() {
        let help = Daemon::command().render_long_help().to_string();
        assert!(
            help.contains("SIGHUP") && help.contains("Exit codes:"),
            "{help}"
        );
    }
}
