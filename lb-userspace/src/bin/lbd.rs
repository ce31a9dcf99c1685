//! `lbd`, the daemon: loads the balancer into the kernel and controls it.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use lb_userspace::daemon::Daemon;
use lb_userspace::exit::Exit;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let daemon = Daemon::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Also takes what the kernel program logs: aya-log speaks through `log`.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match daemon.run().await {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "lbd: {failure}");
            failure.exit().into()
        }
    }
}
