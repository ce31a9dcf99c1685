//! Spoofed packets in masses: whoever is connected stays so, and whoever comes gets in.
//!
//! `LB_FLOOD_PACKETS` says how many packets a flood has; by default as many as take twenty seconds.

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::packet::{ACK, RST, SYN, eth};
use lb_userspace::lab::{Configuration, Counts, Host, Topology};
use libtest_mimic::Trial;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::scene::{ECHO, PORT, Scene, require_unbroken};
use super::trial::long_trial_alone;

/// Connections that are there before the flood.
const HELD: usize = 10_000;
/// Connections that come during it, again and again.
const COMING: usize = 500;
/// Packets sent at once, and how long after each other such bursts are: 50 000 packets a second, as many as the
/// queue before the node takes. Of more half is lost there, and half of those who come with them.
const BURST: u64 = 50;
const APART: Duration = Duration::from_millis(1);
/// How many handshakes an endpoint waits for before it answers by SYN cookies: Linux' own number. The lab's is larger,
/// so that thousands may connect at once, and would have a server wait at nearly every node port.
const WAITING: (&str, &str) = ("core/somaxconn", "4096");

pub(super) fn trials() -> Vec<Trial> {
    let others = || (0..64).filter(|flags| !opens(*flags)).collect();
    vec![
        flood_of(
            "a flood of spoofed SYNs moves nobody and keeps nobody out",
            || vec![SYN],
        ),
        flood_of(
            "a flood from the middle of nowhere moves nobody and keeps nobody out",
            others,
        ),
    ]
}

fn flood_of(name: &str, flags: fn() -> Vec<u8>) -> Trial {
    let packets = packets();
    // Twice as long as they take.
    let longer = packets.as_ref().map_or(0, |packets| 2 * packets / BURST);
    long_trial_alone(name, APART * longer as u32, move || {
        flood(flags(), packets?)
    })
}

/// How many packets a flood has.
fn packets() -> Result<u64> {
    match env::var("LB_FLOOD_PACKETS") {
        Ok(packets) => packets.parse().context("LB_FLOOD_PACKETS"),
        Err(_) => Ok(1_000_000),
    }
}

/// Whether a segment with these flags opens a connection.
fn opens(flags: u8) -> bool {
    flags & (SYN | ACK | RST) == SYN
}

/// Floods the service with segments of random ones of these flags.
fn flood(flags: Vec<u8>, packets: u64) -> Result<()> {
    let opens = opens(flags[0]);
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let (one, two) = (scene.lab().endpoint("one")?, scene.lab().endpoint("two")?);
    let configuration = Configuration::on(&scene.lab().node().interfaces())
        .service(ECHO.name, ECHO.transport, ECHO.address())
        .backend("old", 1, &[ECHO.at(one)])
        .backend("new", 1, &[ECHO.at(two)]);
    scene.serve(Vec::new());
    for host in scene.lab().endpoints() {
        host.set_sysctl(WAITING.0, WAITING.1)?;
    }
    let servers = scene.lab().endpoints().iter();
    let servers = servers
        .map(|host| host.tcp_echo_apart(host.name(), PORT))
        .collect::<Result<_>>()?;
    scene.serve(servers);
    scene.start(&configuration)?;
    let held = scene.hold(ECHO, HELD, Duration::from_secs(1))?;

    let before = Story::of(&scene)?;
    let start = Instant::now();
    let client = scene.lab().client();
    let (sent, counts) = thread::scope(|threads| {
        let sending = threads.spawn(|| send(client, &flags, packets));
        let mut counts = Counts::default();
        // While it lasts, and once at least.
        while counts.answered() + counts.failed() == 0 || !sending.is_finished() {
            counts.add(scene.ask(ECHO, COMING)?);
        }
        let sent = sending
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")));
        Ok::<_, anyhow::Error>((sent?, counts))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let came = (counts.answered() + counts.failed()) as u64;
    let story = Story::of(&scene)?.since(&before);
    eprintln!(
        "{sent} packets in {seconds:.1} s; connections meanwhile: {counts}, {} of them late; {story:?}",
        counts.late
    );
    // What does not fit the queues of the way is lost, also of those who come. And an endpoint that still waits for
    // the handshake of a flow that had the node port before answers a SYN by its ACK, if at all: only the client's
    // next SYN gets in.
    ensure!(counts.answered() as u64 >= came / 100 * 98, "{counts}");
    // The way from the client to the node is a real one: what does not fit its queue is lost there. What
    // arrives is more than there are node ports.
    let flooded = if opens {
        story.opened + story.refused
    } else {
        story.no_flow
    };
    let reasons = || scene.lbctl(&["get", "reasons"]).map(|said| said.stdout);
    ensure!(
        flooded >= sent / 5,
        "of {sent} packets {flooded} were counted: {story:?}\n{}",
        reasons()?
    );
    // Each of its packets has met its reason, and no other was met by as many as came.
    ensure!(story.inconsistent + story.empty_slot == 0, "{story:?}");
    ensure!(
        story.refused == story.flow_table_full + story.node_ports_exhausted,
        "{story:?}"
    );
    if opens {
        // Nobody is refused as long as there is somebody who came before.
        ensure!(story.refused * 100 <= flooded, "{story:?}");
        // Who was sent away while opening is seen in the middle of a connection of which nothing is known.
        ensure!(story.no_flow * 50 <= came, "{came} came: {story:?}");
    } else {
        ensure!(story.refused == 0, "{story:?}");
        // Nobody but who came has opened a flow, once, or again where a SYN was lost.
        let opened = story.opened;
        ensure!((came..=2 * came).contains(&opened), "{came}: {story:?}");
    }
    require_unbroken(held, HELD)?;
    // It is over: there is room, and everybody gets in.
    scene.ask_for_share(ECHO, 400, 0.5)
}

/// Sends segments from random addresses and ports.
fn send(client: &Host, flags: &[u8], packets: u64) -> Result<u64> {
    client.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))
            .context("a raw socket")?;
        let (target, mut sent) = (SockAddr::from(ECHO.address()), 0);
        let SocketAddr::V4(vip) = ECHO.address() else {
            anyhow::bail!("not IPv4");
        };
        let mut random = fastrand::Rng::with_seed(packets);
        let mut segments: Vec<Segment> = flags
            .iter()
            .map(|&flags| Segment::of(*vip.ip(), flags))
            .collect();
        let start = Instant::now();
        for number in 0..packets {
            if number % BURST == 0 {
                let due = APART * (number / BURST) as u32;
                thread::sleep(due.saturating_sub(start.elapsed()));
            }
            let segment = &mut segments[random.usize(..flags.len())];
            let source = Ipv4Addr::from_bits(0x1400_0000 | random.u32(..) >> 8);
            let bytes = segment.from(source, random.u16(1024..));
            // A full queue of the device is no error of ours.
            sent += u64::from(socket.send_to(bytes, &target).is_ok());
        }
        Ok(sent)
    })?
}

/// A segment whose sender is filled in: making it anew would take longer than sending it.
struct Segment {
    /// An IPv4 header and a TCP header without options.
    bytes: Vec<u8>,
    /// Ones' complement sum of what the TCP checksum covers, without the sender.
    sum: u32,
}

impl Segment {
    fn of(target: Ipv4Addr, flags: u8) -> Self {
        let frame = eth()
            .ip(Ipv4Addr::UNSPECIFIED, target)
            .tcp(flags, 0, PORT)
            .bytes();
        let bytes = frame[14..].to_vec();
        let sum = !u16::from_be_bytes([bytes[36], bytes[37]]);
        Self {
            bytes,
            sum: sum.into(),
        }
    }

    /// The IPv4 header's checksum is filled in by the kernel.
    fn from(&mut self, source: Ipv4Addr, port: u16) -> &[u8] {
        let address = source.to_bits();
        let sum = self.sum + (address >> 16) + (address & 0xffff) + u32::from(port);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        self.bytes[12..16].copy_from_slice(&source.octets());
        self.bytes[20..22].copy_from_slice(&port.to_be_bytes());
        self.bytes[36..38].copy_from_slice(&sum.to_be_bytes());
        &self.bytes
    }
}

/// What was counted.
#[derive(Debug)]
struct Story {
    opened: u64,
    refused: u64,
    no_flow: u64,
    flow_table_full: u64,
    node_ports_exhausted: u64,
    inconsistent: u64,
    empty_slot: u64,
}

impl Story {
    fn of(scene: &Scene) -> Result<Self> {
        let answer = scene.json(&["get", "backends"])?;
        let backends = answer["backends"].as_array().context("no backends")?;
        let counted = |what: &str| -> u64 {
            let backends = backends.iter();
            backends
                .filter_map(|it| it["counters"][what].as_u64())
                .sum()
        };
        let answer = scene.json(&["get", "reasons"])?;
        let reasons = answer["reasons"].as_array().context("no reasons")?;
        let reason = |name: &str| {
            let found = reasons.iter().find(|it| it["reason"] == name);
            found
                .and_then(|it| it["packets"].as_u64())
                .with_context(|| format!("no reason {name}"))
        };
        Ok(Self {
            opened: counted("opened"),
            refused: counted("refused"),
            no_flow: reason("no-flow")?,
            flow_table_full: reason("flow-table-full")?,
            node_ports_exhausted: reason("node-ports-exhausted")?,
            inconsistent: reason("inconsistent")?,
            empty_slot: reason("empty-slot")?,
        })
    }

    fn since(self, before: &Self) -> Self {
        Self {
            opened: self.opened - before.opened,
            refused: self.refused - before.refused,
            no_flow: self.no_flow - before.no_flow,
            flow_table_full: self.flow_table_full - before.flow_table_full,
            node_ports_exhausted: self.node_ports_exhausted - before.node_ports_exhausted,
            inconsistent: self.inconsistent - before.inconsistent,
            empty_slot: self.empty_slot - before.empty_slot,
        }
    }
}
