//! `cargo xtask setup | check | test | demo | bench`.
//!
//! | module | holds |
//! |---|---|
//! | [`setup`] | makes this machine able to build and test: what is there, what to install |
//! | [`check`] | format, clippy, documentation, layering |
//! | [`test`] | pure tests as you, kernel and system tests as root, one summary; other kernels |
//! | [`run`] | demo and benchmark |
//! | [`cargo`] | the cargo that runs us, and where it puts things |
//! | [`elevate`] | a command as root |

mod cargo;
mod check;
mod elevate;
#[cfg(test)]
mod readme;
mod run;
mod setup;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, checks, tests and shows lb.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make this machine able to build and test: find what is there, install what is missing
    Setup,
    /// Check format, lints, documentation and layering
    Check,
    /// Run every test: the pure ones as you, the kernel and system ones as root
    Test {
        /// Instead run the packet catalogue and the model in other kernels, each in a virtual
        /// machine: all there are, or those named (6.1,6.12)
        #[arg(long, value_name = "VERSIONS", num_args = 0.., value_delimiter = ',')]
        kernels: Option<Vec<test::Release>>,
        /// Flags for the kernel and system tests: a name to select by, --seed, …
        #[arg(last = true)]
        flags: Vec<OsString>,
    },
    /// Show weighted traffic on this machine, in namespaces of its own
    Demo {
        /// Flags for `lbctl demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
    },
    /// Measure, and print the table of numbers
    Bench {
        /// Flags for the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match carry_out(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(task: Task) -> Result<()> {
    match task {
        Task::Setup => setup::setup(),
        Task::Check => check::check(),
        Task::Test { kernels, flags } => match kernels {
            None => test::test(&flags),
            Some(named) if named.is_empty() => test::kernels(&test::Release::all(), &flags),
            Some(named) => test::kernels(&named, &flags),
        },
        Task::Demo { flags } => run::demo(&flags),
        Task::Bench { flags } => run::bench(&flags),
    }
}
