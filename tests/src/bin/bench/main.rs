//! Measures lb and prints the table of numbers: `cargo xtask bench`.
//!
//! | module | measures |
//! |---|---|
//! | [`packets`] | nanoseconds a packet: [`rig`] runs the programs, [`stage`] is the node they run on, [`yardstick`] what is compared with, [`traffic`] the packets |
//! | [`tables`] | table build time |
//! | [`command`] | time from a command to its effect |
//! | [`scale`] | the same, and memory, with ten thousand endpoints, a thousand services, a million flows |
//! | [`network`] | connections, requests and throughput of real sockets, side by side with other balancers |
//!
//! [`report`] makes a text of it.

mod command;
mod figures;
mod katran;
mod machine;
mod network;
mod packets;
mod report;
mod rig;
mod scale;
mod shuffle;
mod stage;
mod tables;
mod traffic;
mod yardstick;

#[path = "../../../../lb-ebpf/src/bench/course.rs"]
mod course;
#[path = "../../../../lb-ebpf/src/bench/katran_maps.rs"]
#[expect(
    dead_code,
    reason = "the benchmark does not read Katran's flows and counters"
)]
mod katran_maps;
#[path = "../../../../lb-ebpf/src/bench/ledger.rs"]
#[expect(
    dead_code,
    reason = "the benchmark does not read the yardstick's flows"
)]
mod ledger;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use lb_userspace::lab;

use report::Report;

/// Measures lb on this machine: packets, tables, commands, sockets. Takes about ten minutes; nothing
/// else should run meanwhile.
#[derive(Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench")]
struct Cli {
    /// Fewer rounds and no million of flows: under a minute, rough figures.
    #[arg(long)]
    quick: bool,
    /// Measure only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Put the table into README.md.
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Where `lbd` and `lbctl` lie.
    #[arg(long, env = "LB_BIN_DIR", hide = true)]
    programs: PathBuf,
    /// Where the objects of `lb-ebpf` lie.
    #[arg(long, env = "LB_BPF_DIR", hide = true)]
    objects: PathBuf,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Nanoseconds a packet.
    Packets,
    /// Time of a table's build.
    Tables,
    /// Time from a command to its effect.
    Commands,
    /// Commands and memory with many endpoints, services and flows.
    Scale,
    /// Real sockets.
    Sockets,
}

fn main() -> Result<()> {
    lab::serve_if_asked();
    let cli = Cli::parse();
    lab::remove_on_signal(|_| ())?;
    let text = measure(&cli)?.render();
    println!("{text}");
    if cli.write {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        report::write(&readme, &text)?;
    }
    Ok(())
}

fn measure(cli: &Cli) -> Result<Report> {
    let mut machine = machine::describe()?;
    if cli.quick {
        machine += ", a quick run: rough figures";
    }
    let (packets, network, rounds) = if cli.quick { quick() } else { full() };
    let part = |part: Part| (cli.only.is_empty() || cli.only.contains(&part)).then_some(());
    Ok(Report {
        machine,
        rounds: packets.rounds,
        // First: what follows is pinned to one CPU, and the builder asks only once how many there are.
        tables: part(Part::Tables)
            .map(|()| tables::measure(rounds))
            .transpose()?
            .unwrap_or_default(),
        packets: part(Part::Packets)
            .map(|()| packets::measure(&cli.objects, &packets))
            .transpose()?,
        commands: part(Part::Commands)
            .map(|()| command::measure(&cli.programs, rounds))
            .transpose()?
            .unwrap_or_default(),
        scale: part(Part::Scale)
            .map(|()| scale::measure(&cli.objects, &cli.programs, rounds))
            .transpose()?,
        network: part(Part::Sockets)
            .map(|()| network::measure(&cli.programs, &network))
            .transpose()?,
    })
}

/// Plans of the packets and the sockets, and rounds of the rest.
type Plans = (packets::Plan, network::Plan, usize);

fn full() -> Plans {
    let packets = packets::Plan {
        flows: vec![1, 65_536, 1_048_576],
        rounds: 12,
        packets: 1 << 20,
    };
    let network = network::Plan {
        rounds: 9,
        connections: 10_000,
        asking: Duration::from_secs(1),
        transfer: Duration::from_secs(1),
    };
    (packets, network, 12)
}

fn quick() -> Plans {
    let packets = packets::Plan {
        flows: vec![1, 65_536],
        rounds: 4,
        packets: 1 << 19,
    };
    let network = network::Plan {
        rounds: 3,
        connections: 3000,
        asking: Duration::from_millis(300),
        transfer: Duration::from_millis(500),
    };
    (packets, network, 4)
}
