//! The table of numbers, as Markdown: it is read on a terminal, too.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use lb_userspace::lab::Family;

use super::command::Effect;
use super::figures::Samples;
use super::network::{Line, Pair};
use super::packets::{Packets, Row, Way};
use super::tables::Build;

/// Everything that was measured.
pub struct Report {
    /// Kernel, CPU, date.
    pub machine: String,
    /// Rounds of the packet measurement.
    pub rounds: usize,
    /// Nanoseconds a packet.
    pub packets: Packets,
    /// Milliseconds a table.
    pub tables: Vec<Build>,
    /// Milliseconds a command.
    pub commands: Vec<Effect>,
    /// Real sockets.
    pub network: Vec<Line>,
}

const BEGIN: &str = "<!-- numbers:begin -->\n";
const END: &str = "<!-- numbers:end -->";

impl Report {
    /// As text.
    pub fn render(&self) -> String {
        let parts = [
            format!("{}.\n", self.machine),
            self.packets(),
            self.program(),
            self.control(),
            self.network(),
        ];
        parts.join("\n")
    }

    fn packets(&self) -> String {
        let rows = self.packets.rows.iter().map(Self::packet).collect();
        let table = table(
            &[
                "ns per packet",
                "flows",
                "MAC swap",
                "yardstick",
                "lb",
                "lb / yardstick",
            ],
            rows,
        );
        format!(
            "Least of {} rounds (in brackets the median), the driver subtracted: a small XDP program \
             that restores the headers, goes on to the next flow in shuffled order and tail-calls the \
             program, under BPF_PROG_TEST_RUN on one CPU, the programs in turn. {} × {} endpoints, {} \
             flows to a client address. The yardstick has the usual layout (LRU hash for flows, hash \
             for services, arrays), fixed next hops and no TCP phases; lb asks the kernel's routing \
             table. \"New flow\" is the first packet of a flow while as many are open.\n\n{table}",
            self.rounds,
            super::stage::BACKENDS,
            super::stage::ENDPOINTS,
            super::traffic::FLOWS_OF_A_CLIENT,
        )
    }

    fn packet(row: &Row) -> Vec<String> {
        let net = |samples: &Samples| {
            let least = samples.min() - row.driver.min();
            let median = samples.median() - row.driver.median();
            format!("{least:.0} ({median:.0})")
        };
        let [yardstick, lb] =
            [&row.yardstick, &row.balancer].map(|samples| samples.min() - row.driver.min());
        let way = match row.way {
            Way::Request => "client → endpoint",
            Way::Reply => "endpoint → client",
            Way::First => "new flow",
        };
        vec![
            format!("{}, {way}", name(row.family)),
            thousands(row.flows),
            net(&row.swap),
            net(&row.yardstick),
            net(&row.balancer),
            format!("{:.2}", lb / yardstick),
        ]
    }

    fn program(&self) -> String {
        let program = &self.packets.program;
        let driver = self.packets.rows.iter().map(|row| row.driver.min());
        format!(
            "The program: {} instructions verified, {} bytes of BPF, {} bytes of machine code. The \
             driver: {:.0} ns.\n",
            program
                .verified_instruction_count()
                .map_or("unknown".to_owned(), thousands),
            program
                .size_translated()
                .map_or("unknown".to_owned(), thousands),
            thousands(program.size_jitted()),
            driver.fold(f64::INFINITY, f64::min),
        )
    }

    fn control(&self) -> String {
        let ms = |samples: &Samples| format!("{:.2} ({:.2})", samples.min(), samples.median());
        let builds = self.tables.iter().flat_map(|build| {
            let size = format!("2 × {} endpoints", build.endpoints);
            [
                vec![format!("table of a new service, {size}"), ms(&build.cold)],
                vec![format!("table after new weights, {size}"), ms(&build.warm)],
            ]
        });
        let commands = self.commands.iter().flat_map(|it| {
            let size = format!("2 × {} endpoints", it.endpoints);
            [
                vec![format!("new weights in force, {size}"), ms(&it.effect)],
                vec![format!("`lbd` answers, {size}"), ms(&it.answer)],
                vec![format!("`lbctl set-weight`, {size}"), ms(&it.command)],
            ]
        });
        table(
            &["65 536 slots", "ms, least (median)"],
            builds.chain(commands).collect(),
        )
    }

    fn network(&self) -> String {
        let row = |what: &str, line: &Line, pair: &Pair| {
            let [balanced, routed] =
                [&pair.balanced, &pair.routed].map(|it| format!("{:.1}", it.median()));
            vec![
                format!("{}, {what}", name(line.family)),
                balanced,
                routed,
                format!("{:.2}", pair.balanced.median() / pair.routed.median()),
            ]
        };
        let rows = self.network.iter().flat_map(|line| {
            [
                row("connections/s", line, &line.connections),
                row("Gbit/s, one connection", line, &line.gigabits),
            ]
        });
        let table = table(
            &[
                "client, node and server in namespaces",
                "through lb",
                "routed",
                "ratio",
            ],
            rows.collect(),
        );
        format!(
            "Medians of rounds in turn; all share the machine's CPUs, so the ratio counts and not the \
             figures.\n\n{table}"
        )
    }
}

/// Puts the text between the markers of a README.
pub fn write(readme: &Path, text: &str) -> Result<()> {
    let file = || readme.display().to_string();
    let whole = fs::read_to_string(readme).with_context(|| format!("read {}", file()))?;
    let markers = || format!("{} has no `{}` … `{END}`", file(), BEGIN.trim_end());
    let (before, rest) = whole.split_once(BEGIN).with_context(markers)?;
    let (_, after) = rest.split_once(END).with_context(markers)?;
    let whole = [before, BEGIN, text, END, after].concat();
    fs::write(readme, whole).with_context(|| format!("write {}", file()))
}

const fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// A Markdown table whose columns stand below each other.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<_> = head.iter().map(ToString::to_string).collect();
    let widths: Vec<_> = (0..head.len())
        .map(|at| {
            let cells = rows
                .iter()
                .chain([&head])
                .map(|row| row[at].chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    let line = |row: &[String]| {
        let mut text = String::from("|");
        for (at, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = match at {
                0 => write!(text, " {cell:<width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            };
        }
        text + "\n"
    };
    let rule: String = widths
        .iter()
        .enumerate()
        .map(|(at, &width)| match at {
            0 => format!("|{}", "-".repeat(width + 2)),
            _ => format!("|{}:", "-".repeat(width + 1)),
        })
        .collect();
    let body: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{rule}|\n{body}", line(&head))
}

/// With a space between thousands.
fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
