//! `lbctl`: what can be typed.

mod apply;
mod ask;
mod decap;
mod output;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use ask::run;

use crate::api::DEFAULT_FLOWS;
use crate::client::DEFAULT_SOCKET;
use crate::desired::Mode;
use crate::exit;

const EXAMPLES: &str = "\
Examples:
  lbctl set-weight new=1              1 % of the new flows to `new`, the rest to the others
  lbctl set-weight new=+10% -s echo   ten points more; name the service if there are several
  lbctl set-weight old=3 new=1        every backend named: relative weights, 75 % and 25 %
  lbctl set-weight new=50 --dry-run   what would move
  lbctl get flows -b old --limit 20   flows still on `old`
  lbctl status -o json                for programs";

/// Moves new flows between the backends of TCP and UDP services, in the kernel. Talks to lbd.
#[derive(Debug, Parser)]
#[command(name = "lbctl", version, after_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub struct Cli {
    /// Where lbd listens.
    #[arg(long, global = true, env = "LB_SOCKET", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// How answers are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs: the answer of lbd as it is.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    SetWeight(SetWeight),
    /// Everything at a glance
    Status,
    /// List services, backends, flows or reasons
    #[command(subcommand)]
    Get(Get),
    /// Put a configuration in force over lbd's file, until that file changes or lbd gets SIGHUP
    Apply(Apply),
    /// Take the program off all interfaces and stop lbd; live flows are cut
    Detach {
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
    Decap(Decap),
    /// Print the completion script of a shell: source <(lbctl completion bash)
    Completion {
        shell: Shell,
    },
    /// Show it on this machine, in namespaces of its own: takes a minute at most, needs root
    Demo,
}

/// Change which share of the new flows each backend gets; live flows stay where they are
#[derive(Debug, Args)]
#[command(after_help = "\
NAME=VALUE:
  new=30      30 % to `new` (also new=30%, new=0.1%); the others share the rest in proportion
  new=+5%     five points more; new=-5% five points less
  old=3 new=1 every backend with a plain number: relative weights, 75 % and 25 %")]
struct SetWeight {
    /// Backend and its weight.
    #[arg(required = true, value_name = "NAME=VALUE")]
    changes: Vec<String>,
    /// The service; may be left out if there is one.
    #[arg(short, long)]
    service: Option<String>,
    /// Tell what would move and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
enum Get {
    /// Services: address, table, shares, live flows
    Services,
    /// Backends and endpoints: weight, slots, live flows, counters since the program was loaded
    Backends,
    /// Live flows
    Flows(Flows),
    /// Why packets were forwarded, passed or dropped, and how many
    Reasons,
}

#[derive(Debug, Args)]
struct Flows {
    /// At most so many.
    #[arg(long, default_value_t = DEFAULT_FLOWS)]
    limit: usize,
    /// Only flows of this service.
    #[arg(short, long)]
    service: Option<String>,
    /// Only flows on this backend.
    #[arg(short, long)]
    backend: Option<String>,
    /// Only flows of this client: an address, with or without port.
    #[arg(long)]
    client: Option<String>,
}

/// On an endpoint's host, for services in mode `ipip` or `gue`: unpack what comes in tunnels, without
/// tunnel devices of the kernel. Stays attached until --off; does not need lbd
#[derive(Debug, Args)]
struct Decap {
    /// Where tunnels come in.
    #[arg(short, long)]
    interface: String,
    /// UDP port of the tunnels of mode `gue`.
    #[arg(short, long, default_value_t = Mode::GUE_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// A virtual address that this host holds; may be given again. When left out: every global address
    /// of the loopback interface.
    #[arg(short, long = "address", value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// Take it off.
    #[arg(long, conflicts_with_all = ["port", "addresses"])]
    off: bool,
    /// Where it is pinned: a directory on a BPF file system.
    #[arg(long, default_value = "/sys/fs/bpf/lb-decap")]
    pin_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Apply {
    /// The configuration, TOML; `-` reads standard input.
    #[arg(short, long)]
    file: PathBuf,
    /// Tell what would change and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_step_down_is_a_value_and_no_option() {
        let cli = Cli::try_parse_from(["lbctl", "set-weight", "new=-5%", "-s", "echo"]).unwrap();
        let Command::SetWeight(asked) = cli.command else {
            panic!("set-weight")
        };
        assert_eq!(asked.changes, ["new=-5%"]);
        assert_eq!(asked.service.as_deref(), Some("echo"));
    }

    #[test]
    fn global_options_stand_anywhere() {
        let cli = Cli::try_parse_from(["lbctl", "get", "flows", "-o", "json"]).unwrap();
        assert_eq!(cli.output, Output::Json);
    }

    #[test]
    fn set_weight_needs_a_change() {
        let error = Cli::try_parse_from(["lbctl", "set-weight"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn help_lists_examples_and_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("lbctl set-weight new=1 "), "{help}");
        assert!(help.contains("3  lbctl: lbd cannot be reached"), "{help}");
    }
}
