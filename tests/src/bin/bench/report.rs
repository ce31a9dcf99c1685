//! The table of numbers, as Markdown: it is read on a terminal, too.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use lb_userspace::lab::Family;

use super::command::Effect;
use super::figures::Samples;
use super::network::{BACKENDS, CONNECTIONS_KEPT, Comparison, Contestant, Figures, Rounds};
use super::packets::{Packets, Row, Way};
use super::scale::Scale;
use super::tables::Build;
use super::traffic::Service;

/// Everything that was measured.
pub struct Report {
    /// Kernel, CPU, date.
    pub machine: String,
    /// Rounds of the packet measurement.
    pub rounds: usize,
    /// Nanoseconds a packet.
    pub packets: Option<Packets>,
    /// Milliseconds a table.
    pub tables: Vec<Build>,
    /// Milliseconds a command.
    pub commands: Vec<Effect>,
    /// With ten thousand endpoints.
    pub scale: Option<Scale>,
    /// Real sockets.
    pub network: Option<Comparison>,
}

const BEGIN: &str = "<!-- numbers:begin -->\n";
const END: &str = "<!-- numbers:end -->";

impl Report {
    /// As text.
    pub fn render(&self) -> String {
        let mut parts = vec![format!("{}.\n", self.machine)];
        if let Some(packets) = &self.packets {
            parts.extend([self.packets(packets), Self::program(packets)]);
        }
        if !(self.tables.is_empty() && self.commands.is_empty()) {
            parts.push(self.control());
        }
        if let Some(scale) = &self.scale {
            parts.push(Self::scale(scale));
        }
        if let Some(comparison) = &self.network {
            parts.push(Self::network(comparison));
        }
        parts.join("\n")
    }

    fn packets(&self, packets: &Packets) -> String {
        let table = |service: Service, compared: &str| {
            let rows = packets.rows.iter();
            let rows = rows.filter(|row| row.way.service() == service);
            let ratio = format!("lb / {compared}");
            table(
                &["ns per packet", "flows", "MAC swap", compared, "lb", &ratio],
                rows.map(Self::packet).collect(),
            )
        };
        format!(
            "Least of {} rounds (in brackets the median), the driver subtracted: a small XDP program \
             that restores the packet, goes on to the next flow in shuffled order and tail-calls the \
             program, under BPF_PROG_TEST_RUN on one CPU, the programs in turn. {} × {} endpoints, {} \
             flows to a client address. \"New flow\" is the first packet of a flow while as many are \
             open. lb follows TCP phases and asks the kernel's routing table; what it is compared with \
             does neither.\n\n\
             Mode `nat`. The yardstick has the usual layout: LRU hash for flows, hash for services, \
             arrays.\n\n{}\n\
             Mode `ipip`. Katran's layout is a program of ours with Katran's maps and steps, not Katran \
             itself. Its LRU has room for four times the flows; \"full LRU\": 2^20 entries for as \
             many flows.\n\n{}",
            self.rounds,
            super::stage::BACKENDS,
            super::stage::ENDPOINTS,
            super::traffic::FLOWS_OF_A_CLIENT,
            table(Service::Nat, "yardstick"),
            table(Service::Tunnel, "Katran's layout"),
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
            Way::Request | Way::Tunnel => "client → endpoint",
            Way::CrowdedTunnel => "client → endpoint, full LRU",
            Way::Reply => "endpoint → client",
            Way::First | Way::FirstTunnel => "new flow",
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

    fn program(packets: &Packets) -> String {
        let program = &packets.program;
        let driver = packets.rows.iter().map(|row| row.driver.min());
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
        let ms = milliseconds;
        let builds = self.tables.iter().flat_map(|build| {
            let size = format!("2 × {} endpoints", build.endpoints);
            [
                vec![format!("table of a new service, {size}"), ms(&build.cold)],
                vec![format!("table after new weights, {size}"), ms(&build.warm)],
            ]
        });
        let commands = self.commands.iter().flat_map(Self::change);
        table(
            &["65 536 slots", "ms, least (median)"],
            builds.chain(commands).collect(),
        )
    }

    fn scale(scale: &Scale) -> String {
        let others = scale.others.iter();
        let others = others.map(|(name, samples)| vec![name.clone(), milliseconds(samples)]);
        let changes = scale.changes.iter().flat_map(Self::change);
        let memory = scale.memory.iter().map(|(name, bytes)| {
            let mebibytes = *bytes as f64 / f64::from(1 << 20);
            vec![name.clone(), format!("{mebibytes:.1}")]
        });
        format!(
            "65 536 slots a service. The thousand services have the same hosts behind them, each on a port \
             of its own: they share one table until weights are set.\n\n{}\n{}\n\
             A flow is an entry of 16 bytes in `dsr`, `ipip` and `gue`, and two in `nat`; over IPv6 32 and \
             64 bytes.\n",
            table(
                &["many endpoints", "ms, least (median)"],
                changes.chain(others).collect(),
            ),
            table(&["kernel memory", "MiB"], memory.collect()),
        )
    }

    fn change(it: &Effect) -> [Vec<String>; 3] {
        let (ms, size) = (milliseconds, &it.size);
        [
            vec![format!("new weights in force, {size}"), ms(&it.effect)],
            vec![format!("`lbd` answers, {size}"), ms(&it.answer)],
            vec![format!("`lbctl set-weight`, {size}"), ms(&it.command)],
        ]
    }

    fn network(comparison: &Comparison) -> String {
        let rows = Family::BOTH
            .into_iter()
            .flat_map(|family| QUANTITIES.map(|quantity| quantity.row(family, comparison)));
        let contestants: Vec<_> = comparison.contestants().map(|it| it.to_string()).collect();
        let mut head = vec!["sockets in namespaces"];
        head.extend(contestants.iter().map(String::as_str));
        let table = table(&head, rows.collect());
        let absent: String = comparison
            .absent
            .iter()
            .map(|(who, why)| format!("\n{who} is left out: {}.\n", why.trim()))
            .collect();
        let [(old, old_weight), (new, new_weight)] = BACKENDS;
        format!(
            "Medians of {} rounds in turn, in brackets the median of the rounds' ratios to the routed \
             path. The {} CPUs carry \
             the client, the servers and the node, so the ratio counts and not the figure; client and \
             servers are one thread each that does little beyond its system calls, but what they cost \
             is in every figure and hides a part of the difference. Requests: {CONNECTIONS_KEPT} \
             connections kept open with one question of 64 bytes under way on each. {SET_UP} All but \
             routed balance between `{old}` {old_weight} and `{new}` {new_weight}.\n\n{table}{absent}",
            comparison.rounds, comparison.cpus,
        )
    }
}

/// How every contestant is set up.
const SET_UP: &str = "Every contestant has namespaces of its own, all alike: veth, GRO on, on the node \
segmentation left to the interface as well, so that all but lb pass on merged segments. routed: nothing \
loaded on the node, the server addressed directly. lb: native XDP, which on veth has every segment as a \
frame of its own; in `dsr`, `ipip` and `gue` the server holds the virtual address and answers the client by a \
wire of their own, past the node, so that these save a hop that the routed path has. In `ipip` and `gue` it \
unpacks by `lbctl decap`, an XDP program more on the way, and announces segments of 1380 bytes. nftables: \
DNAT by `numgen random` with connection tracking, no masquerading. HAProxy: TCP mode, a thread for each CPU, \
`splice-auto`. nginx: stream, a worker for each CPU, `reuseport`.";

/// A row of the table of sockets.
#[derive(Clone, Copy)]
struct Quantity {
    name: &'static str,
    of: fn(&Figures) -> &Rounds,
    digits: usize,
}

const QUANTITIES: [Quantity; 6] = [
    Quantity {
        name: "connections/s",
        of: |figures| &figures.connections,
        digits: 0,
    },
    Quantity {
        name: "requests/s",
        of: |figures| &figures.requests,
        digits: 0,
    },
    Quantity {
        name: "latency p50, µs",
        of: |figures| &figures.half,
        digits: 0,
    },
    Quantity {
        name: "latency p99, µs",
        of: |figures| &figures.most,
        digits: 0,
    },
    Quantity {
        name: "latency p99.9, µs",
        of: |figures| &figures.nearly_all,
        digits: 0,
    },
    Quantity {
        name: "Gbit/s, one connection",
        of: |figures| &figures.gigabits,
        digits: 1,
    },
];

impl Quantity {
    fn row(self, family: Family, comparison: &Comparison) -> Vec<String> {
        let rounds = |who| {
            let line = comparison.line(who, family);
            line.map(|line| (self.of)(&line.figures).clone())
                .unwrap_or_default()
        };
        let routed = rounds(Contestant::Routed);
        let cell = |who| {
            let (it, digits) = (rounds(who), self.digits);
            match who {
                Contestant::Routed => format!("{:.digits$}", it.median()),
                _ => format!("{:.digits$} ({:.2})", it.median(), it.ratio(&routed)),
            }
        };
        let mut row = vec![format!("{}, {}", name(family), self.name)];
        row.extend(comparison.contestants().map(cell));
        row
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

fn milliseconds(samples: &Samples) -> String {
    format!("{:.2} ({:.2})", samples.min(), samples.median())
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
