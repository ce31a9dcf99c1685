//! `lbctl`, the command that talks to `lbd`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use lb_userspace::cli;
use lb_userspace::exit::Exit;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(cli::run(cli)).into(),
        Err(cause) => {
            let _ = writeln!(std::io::stderr(), "lbctl: cannot start: {cause}");
            Exit::Failure.into()
        }
    }
}
