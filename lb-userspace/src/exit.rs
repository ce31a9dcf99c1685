//! How `lbd` and `lbctl` end: the exit codes, in one place.

use std::process::ExitCode;

/// An exit code. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something nobody expected.
    Failure = 1,
    /// What was asked for makes no sense: arguments, weights, names, configuration.
    Usage = 2,
    /// `lbctl` cannot reach `lbd`; `lbd` cannot have its socket, such as when another one runs.
    Unreachable = 3,
    /// The kernel refused, or there is no room; everything is as before.
    Refused = 4,
}

/// The codes as `--help` prints them.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  unexpected failure
  2  bad input: arguments, weights, an unknown name, a mistake in the configuration
  3  lbctl: lbd cannot be reached; lbd: another lbd is running
  4  refused by the kernel, or no room: everything is as before";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
