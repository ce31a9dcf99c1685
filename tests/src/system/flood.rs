//! Spoofed packets in masses: whoever is connected stays so, and whoever comes gets in.
//!
//! `LB_FLOOD_PACKETS` says how many packets a flood has; by default as many as take some seconds.

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::packet::{ACK, FIN, PSH, RST, SYN, eth};
use lb_userspace::lab::{Configuration, Host, Topology};
use libtest_mimic::Trial;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::scene::{ECHO, PORT, Scene, require_unbroken};
use super::trial::trial_alone;

/// Connections that are there before the flood.
const HELD: usize = 10_000;
/// Connections that come during it.
const COMING: usize = 500;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone(
            "a flood of spoofed SYNs moves nobody and keeps nobody out",
            || flood(&[SYN], "opened"),
        ),
        trial_alone(
            "a flood from the middle of nowhere moves nobody and keeps nobody out",
            || flood(&[ACK, ACK | PSH, ACK | FIN, RST, SYN | ACK, 0], "no-flow"),
        ),
    ]
}

/// Floods the service with segments of these flags, of which each must have been counted.
fn flood(flags: &'static [u8], counter: &str) -> Result<()> {
    let packets = match env::var("LB_FLOOD_PACKETS") {
        Ok(packets) => packets.parse().context("LB_FLOOD_PACKETS")?,
        Err(_) => 300_000,
    };
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let (one, two) = (scene.lab().endpoint("one")?, scene.lab().endpoint("two")?);
    let configuration = Configuration::on(&scene.lab().node().interfaces())
        .service(ECHO.name, ECHO.transport, ECHO.address())
        .backend("old", 1, &[ECHO.at(one)])
        .backend("new", 1, &[ECHO.at(two)]);
    scene.serve(Vec::new());
    let servers = scene.lab().endpoints().iter();
    let servers = servers
        .map(|host| host.tcp_echo_apart(host.name(), PORT))
        .collect::<Result<_>>()?;
    scene.serve(servers);
    scene.start(&configuration)?;
    let held = scene.hold(ECHO, HELD, Duration::from_secs(1))?;

    let start = Instant::now();
    let client = scene.lab().client();
    let (sent, counts) = thread::scope(|threads| {
        let sending = threads.spawn(|| send(client, flags, packets));
        let counts = scene.ask(ECHO, COMING);
        let sent = sending
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")));
        Ok::<_, anyhow::Error>((sent?, counts?))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let counted = counted(&scene, counter)?;
    eprintln!(
        "{sent} packets in {seconds:.1} s, {counter} {counted}; connections meanwhile: {counts}"
    );
    // Whoever is still opening when every node port is taken may have to open again.
    ensure!(counts.answered() >= COMING / 100 * 95, "{counts}");
    // The way from the client to the node is a real one: what does not fit its queue is lost there. What
    // arrives is more than there are node ports.
    ensure!(
        counted >= sent / 5,
        "of {sent} packets {counted} were counted as {counter}\n{}",
        scene.lbctl(&["get", "reasons"])?.stdout
    );
    for refusal in ["flow-table-full", "node-ports-exhausted"] {
        let refused = reason(&scene, refusal)?;
        ensure!(refused == 0, "{refusal}: {refused}");
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
        for number in 0..packets {
            let segment = &mut segments[number as usize % flags.len()];
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

/// Flows opened, or packets of a reason.
fn counted(scene: &Scene, counter: &str) -> Result<u64> {
    if counter != "opened" {
        return reason(scene, counter);
    }
    let answer = scene.json(&["get", "backends"])?;
    let backends = answer["backends"].as_array().context("no backends")?;
    let opened = backends
        .iter()
        .filter_map(|it| it["counters"]["opened"].as_u64());
    Ok(opened.sum())
}

fn reason(scene: &Scene, name: &str) -> Result<u64> {
    let answer = scene.json(&["get", "reasons"])?;
    let reasons = answer["reasons"].as_array().context("no reasons")?;
    let found = reasons.iter().find(|it| it["reason"] == name);
    found
        .and_then(|it| it["packets"].as_u64())
        .with_context(|| format!("no reason {name}"))
}
