//! What goes beside whole packets in the modes that carry, with the sockets of the kernel: large datagrams,
//! errors about what endpoints answer, echo requests.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::{Configuration, Family, Topology, Transport};
use libtest_mimic::Trial;

use super::aside::{LIMIT, PATIENCE, connected, narrow, ping, reasons, require_learnt};
use super::modes::{hold_addresses, unpack};
use super::scene::{PORT, Scene};
use super::trial::trial;

pub(super) fn trials() -> Vec<Trial> {
    let in_mode = |mode: &'static str| {
        [
            trial(
                format!("datagrams of 60 000 bytes go and come in mode {mode}"),
                move || large_datagrams(mode),
            ),
            trial(
                format!("an endpoint learns of a smaller MTU towards its client in mode {mode}"),
                move || smaller(mode),
            ),
            trial(
                format!("an endpoint hears that its client's port is closed in mode {mode}"),
                move || closed_port(mode),
            ),
            trial(
                format!("a VIP answers echo requests in mode {mode}"),
                move || echo(mode),
            ),
        ]
    };
    ["dsr", "ipip", "gue"]
        .into_iter()
        .flat_map(in_mode)
        .collect()
}

/// Port of a service that the trial itself is the endpoint of.
const OWN: u16 = 9002;
const BULK: u16 = 9001;
/// How often a datagram is sent until its path's MTU is known: each time it is lost somebody tells.
const TRIES: usize = 3;

/// `one` behind services in a mode, all hosts on one segment.
fn scene(mode: &str) -> Result<Scene> {
    let topology = Topology::one_net().endpoints(["one", "two", "far"]);
    let mut scene = Scene::without_lbd(&topology)?;
    let lab = scene.lab();
    let one = lab.endpoint("one")?;
    hold_addresses(one, lab.client())?;
    if mode != "dsr" {
        unpack(&scene, "one", "on")?;
    }
    let mut configuration = Configuration::on(&lab.node().interfaces());
    for family in Family::BOTH {
        for (name, transport, port) in [
            ("echo", Transport::Udp, PORT),
            ("own", Transport::Udp, OWN),
            ("bulk", Transport::Tcp, BULK),
        ] {
            let name = format!("{name}-{family:?}").to_lowercase();
            let endpoint = SocketAddr::new(one.address(family), port);
            configuration = configuration
                .service(&name, transport, SocketAddr::new(family.vip(), port))
                .setting(&format!("mode = {mode:?}"))
                .setting("echo = true")
                .backend("old", 1, &[endpoint]);
        }
    }
    scene.start(&configuration)?;
    Ok(scene)
}

fn large_datagrams(mode: &str) -> Result<()> {
    let scene = scene(mode)?;
    for family in Family::BOTH {
        let vip = SocketAddr::new(family.vip(), PORT);
        let all = scene.lab().client().run(|| -> Result<()> {
            let socket = connected(vip)?;
            // The first one may be lost on its way into the tunnel, which the client is told of.
            let tries = if mode == "dsr" { 1 } else { TRIES };
            exchange(&socket, 4000, tries)?;
            for length in [1400, 1473, 4001, 20_000, 60_000] {
                exchange(&socket, length, 1)?;
            }
            Ok(())
        })?;
        all.with_context(|| format!("{family:?} {}", reasons(&scene)))?;
    }
    Ok(())
}

/// Sends a datagram, at most so many times, until it is answered.
fn exchange(socket: &UdpSocket, length: usize, tries: usize) -> Result<()> {
    let question: Vec<u8> = (0..length).map(|at| at as u8).collect();
    let mut answer = vec![0; 65_536];
    for _ in 0..tries {
        socket.send(&question)?;
        if let Ok(length) = socket.recv(&mut answer) {
            ensure!(
                answer[..length] == [b"one ", &question[..]].concat(),
                "another answer"
            );
            return Ok(());
        }
    }
    anyhow::bail!("no answer to {length} bytes")
}

/// ```text
/// client ── narrow ── far ──┬── one
///                    node ──┘
/// ```
/// What `one` answers is too large for the narrow wire, and `far` says so to the VIP: to the node, which
/// never saw the answer.
fn smaller(mode: &str) -> Result<()> {
    let mut scene = scene(mode)?;
    let lab = scene.lab();
    let (client, far, one) = (lab.client(), lab.endpoint("far")?, lab.endpoint("one")?);
    narrow(far, client)?;
    for (flag, family, gateway, network) in [
        ("-4", Family::V4, "10.65.0.1", "10.65.0.0/24"),
        ("-6", Family::V6, "fd65::1", "fd65::/64"),
    ] {
        let vip = family.vip().to_string();
        let [node, far_side] = [lab.node(), far].map(|it| it.address(family).to_string());
        client.ip(&[flag, "route", "replace", &vip, "via", gateway])?;
        far.ip(&[flag, "route", "add", &vip, "via", &node])?;
        let back = ["route", "add", network, "via", &far_side, "src", &vip];
        one.ip(&[&[flag], &back[..]].concat())?;
    }
    let server = one.bulk("one", BULK)?;
    scene.serve(vec![server]);
    let client = scene.lab().client();
    for (family, seed) in Family::BOTH.into_iter().zip(1..) {
        let target = SocketAddr::new(family.vip(), BULK);
        for transfer in [
            client.download(target, 2_000_000, seed, LIMIT),
            client.upload(target, 2_000_000, seed, LIMIT),
        ] {
            let transfer = transfer.with_context(|| reasons(&scene))?;
            ensure!(transfer.is_whole(), "{transfer:?}");
        }
    }
    let one = scene.lab().endpoint("one")?;
    require_learnt(one, &["10.65.0.2", "fd65::2"]).with_context(|| reasons(&scene))
}

fn closed_port(mode: &str) -> Result<()> {
    let scene = scene(mode)?;
    for family in Family::BOTH {
        let vip = SocketAddr::new(family.vip(), OWN);
        let endpoint = scene
            .lab()
            .endpoint("one")?
            .run(|| UdpSocket::bind(vip))??;
        endpoint.set_read_timeout(Some(PATIENCE))?;
        let asking = scene.lab().client().run(|| connected(vip))??;
        asking.send(b"anybody there?")?;
        let (_, client) = endpoint
            .recv_from(&mut [0; 64])
            .with_context(|| reasons(&scene))?;
        endpoint.connect(client)?;
        drop(asking);
        endpoint.send(b"too late")?;
        let failed = endpoint.recv(&mut [0; 64]).err().map(|it| it.kind());
        ensure!(
            failed == Some(ErrorKind::ConnectionRefused),
            "{family:?}: {failed:?}\n{}",
            reasons(&scene)
        );
    }
    Ok(())
}

fn echo(mode: &str) -> Result<()> {
    let scene = scene(mode)?;
    let client = scene.lab().client();
    client.set_sysctl("ipv4/ping_group_range", "0 0")?;
    for family in Family::BOTH {
        for payload in [&b""[..], b"odd", &[7; 1000]] {
            let answered = ping(client, family.vip(), payload)?;
            ensure!(answered, "{family:?}: no answer\n{}", reasons(&scene));
        }
    }
    Ok(())
}
