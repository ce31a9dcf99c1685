//! What goes beside whole TCP and UDP packets, with the sockets of the kernel: large datagrams, errors
//! that routers and hosts send, echo requests.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_userspace::lab::{Configuration, Family, Host, Topology, Transport};
use libtest_mimic::Trial;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::scene::{PORT, Scene};
use super::trial::{in_both, trial};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = in_both("datagrams of 4000 bytes go and come", large_datagrams);
    trials.extend(in_both("a client hears that a port is closed", closed_port));
    trials.extend(in_both("a VIP answers echo requests", echo));
    trials.extend([
        trial(
            "an endpoint learns of a smaller MTU towards its client",
            smaller_towards_client,
        ),
        trial(
            "a client learns of a smaller MTU towards its endpoint",
            smaller_towards_endpoint,
        ),
    ]);
    trials
}

/// A command, a transfer, an answer.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// Until an answer that does not come is missed.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
const BULK: u16 = 9001;
/// The MTU of the narrow wire.
const NARROW: &str = "1300";

pub(super) fn large_datagrams(topology: &Topology) -> Result<()> {
    let scene = Scene::build(topology)?;
    for family in Family::BOTH {
        let vip = SocketAddr::new(family.vip(), PORT);
        scene
            .lab()
            .client()
            .run(|| -> Result<()> {
                let socket = connected(vip)?;
                for length in [1473, 4000, 4001, 20_000, 60_000] {
                    let question: Vec<u8> = (0..length).map(|at| at as u8).collect();
                    socket.send(&question)?;
                    let mut answer = vec![0; 65_536];
                    let length = socket
                        .recv(&mut answer)
                        .with_context(|| format!("an answer of {length} bytes"))?;
                    answer.truncate(length);
                    ensure!(
                        answer == [b"one ", &question[..]].concat(),
                        "another answer"
                    );
                }
                Ok(())
            })?
            .with_context(|| reasons(&scene))?;
    }
    Ok(())
}

pub(super) fn closed_port(topology: &Topology) -> Result<()> {
    let mut scene = Scene::without_lbd(topology)?;
    let one = scene.lab().endpoint("one")?;
    let mut configuration = Configuration::on(&scene.lab().node().interfaces());
    for (name, family) in [("closed", Family::V4), ("closed-v6", Family::V6)] {
        let endpoint = SocketAddr::new(one.address(family), 7);
        configuration = configuration
            .service(name, Transport::Udp, SocketAddr::new(family.vip(), PORT))
            .backend("old", 1, &[endpoint]);
    }
    scene.start(&configuration)?;
    for family in Family::BOTH {
        let vip = SocketAddr::new(family.vip(), PORT);
        let failed = scene.lab().client().run(|| -> Result<ErrorKind> {
            let socket = connected(vip)?;
            socket.send(b"anybody there?")?;
            match socket.recv(&mut [0; 64]) {
                Ok(_) => bail!("an answer"),
                Err(error) => Ok(error.kind()),
            }
        })??;
        ensure!(
            failed == ErrorKind::ConnectionRefused,
            "{family:?}: {failed:?}\n{}",
            reasons(&scene)
        );
    }
    Ok(())
}

fn echo(topology: &Topology) -> Result<()> {
    let mut scene = Scene::without_lbd(topology)?;
    scene
        .lab()
        .client()
        .set_sysctl("ipv4/ping_group_range", "0 0")?;
    let one = scene.lab().endpoint("one")?;
    let mut configuration = Configuration::on(&scene.lab().node().interfaces());
    for (name, family) in [("echo", Family::V4), ("echo-v6", Family::V6)] {
        let endpoint = SocketAddr::new(one.address(family), PORT);
        configuration = configuration
            .service(name, Transport::Tcp, SocketAddr::new(family.vip(), PORT))
            .setting("echo = true")
            .backend("old", 1, &[endpoint]);
    }
    scene.start(&configuration)?;
    for family in Family::BOTH {
        for payload in [&b""[..], b"odd", &[7; 1000]] {
            let answered = ping(scene.lab().client(), family.vip(), payload)?;
            ensure!(answered, "{family:?}: no answer\n{}", reasons(&scene));
        }
    }
    // Also without lbd, and with the next one's program.
    scene.take_balancer()?.kill()?;
    for family in Family::BOTH {
        let answered = ping(scene.lab().client(), family.vip(), b"and now?")?;
        ensure!(answered, "{family:?}: no answer without lbd");
    }
    scene.start_again()?;
    for family in Family::BOTH {
        let answered = ping(scene.lab().client(), family.vip(), b"again?")?;
        ensure!(answered, "{family:?}: no answer after another start");
    }
    // Without the switch nobody answers.
    let silent = configuration.text().replace("echo = true", "echo = false");
    std::fs::write(scene.lab().config(), silent)?;
    let config = scene.lab().config();
    let said = scene.lbctl(&["apply", "-f", &config.to_string_lossy()])?;
    ensure!(said.code == Some(0), "{}", said.stderr);
    for family in Family::BOTH {
        let answered = ping(scene.lab().client(), family.vip(), b"still there?")?;
        ensure!(!answered, "{family:?}: an answer");
    }
    Ok(())
}

/// ```text
/// client ── narrow ── far ── node ── one
/// ```
/// What `one` sends is too large for the narrow wire, and `far` says so to the VIP.
fn smaller_towards_client() -> Result<()> {
    let mut scene = bulk(|_| Ok(()), |one, family| one.address(family))?;
    let lab = scene.lab();
    let (client, far) = (lab.client(), lab.endpoint("far")?);
    narrow(far, client)?;
    for (flag, vip, gateway, back, via) in [
        ("-4", "10.99.0.1", "10.65.0.1", "10.65.0.0/24", "10.64.3.2"),
        ("-6", "fd99::1", "fd65::1", "fd65::/64", "fd64:0:0:3::2"),
    ] {
        client.ip(&[flag, "route", "replace", vip, "via", gateway])?;
        lab.node().ip(&[flag, "route", "add", back, "via", via])?;
    }
    transfer(&mut scene, |lab| {
        let one = lab.endpoint("one")?;
        require_learnt(one, &["10.64.1.1", "fd64:0:0:1::1"])
    })
}

/// ```text
/// client ── node ── far ── narrow ── one
/// ```
/// What the client sends is too large for the narrow wire, and `far` says so to the node.
fn smaller_towards_endpoint() -> Result<()> {
    let mut scene = bulk(
        |scene| {
            let lab = scene.lab();
            let (one, far) = (lab.endpoint("one")?, lab.endpoint("far")?);
            narrow(far, one)?;
            for (flag, node, gateway, there, via) in [
                ("-4", "10.64.3.1", "10.65.0.1", "10.65.0.0/24", "10.64.3.2"),
                (
                    "-6",
                    "fd64:0:0:3::1",
                    "fd65::1",
                    "fd65::/64",
                    "fd64:0:0:3::2",
                ),
            ] {
                one.ip(&[flag, "route", "add", node, "via", gateway])?;
                lab.node().ip(&[flag, "route", "add", there, "via", via])?;
            }
            Ok(())
        },
        |_, family| match family {
            Family::V4 => IpAddr::from([10, 65, 0, 2]),
            Family::V6 => IpAddr::from([0xfd65, 0, 0, 0, 0, 0, 0, 2]),
        },
    )?;
    transfer(&mut scene, |lab| {
        require_learnt(lab.client(), &["10.99.0.1", "fd99::1"])
    })
}

/// A scene with a host `far` and a bulk service of `one` for each address family.
fn bulk(
    prepare: impl FnOnce(&Scene) -> Result<()>,
    address: impl Fn(&Host, Family) -> IpAddr,
) -> Result<Scene> {
    let topology = Topology::two_nets().endpoints(["one", "two", "far"]);
    let mut scene = Scene::without_lbd(&topology)?;
    prepare(&scene)?;
    let one = scene.lab().endpoint("one")?;
    let server = one.bulk("one", BULK)?;
    let mut configuration = Configuration::on(&scene.lab().node().interfaces());
    for (name, family) in [("bulk", Family::V4), ("bulk-v6", Family::V6)] {
        let endpoint = SocketAddr::new(address(one, family), BULK);
        configuration = configuration
            .service(name, Transport::Tcp, SocketAddr::new(family.vip(), BULK))
            .backend("old", 1, &[endpoint]);
    }
    scene.serve(vec![server]);
    scene.start(&configuration)?;
    Ok(scene)
}

/// A wire between the router `far` and a host, narrow in this direction: only the router knows.
pub(super) fn narrow(far: &Host, host: &Host) -> Result<()> {
    far.set_sysctl("ipv4/ip_forward", "1")?;
    far.set_sysctl("ipv6/conf/all/forwarding", "1")?;
    far.ip(&[
        "link",
        "add",
        "narrow",
        "type",
        "veth",
        "peer",
        "name",
        "eth1",
        "netns",
        host.namespace(),
    ])?;
    for (host, device, v4, v6) in [
        (far, "narrow", "10.65.0.1/24", "fd65::1/64"),
        (host, "eth1", "10.65.0.2/24", "fd65::2/64"),
    ] {
        host.ip(&["link", "set", device, "up"])?;
        host.ip(&["address", "add", v4, "dev", device])?;
        host.ip(&["address", "add", v6, "dev", device, "nodad"])?;
        // What is sent has its checksums, and is no larger than a packet may be.
        host.ethtool(&["-K", device, "tx", "off", "tso", "off", "gso", "off"])?;
        host.ethtool(&["-K", device, "gro", "off"])?;
    }
    // Not the MTU of the device: its other end could not send more either, and its TCP would say so.
    for (flag, other) in [("-4", "10.65.0.2"), ("-6", "fd65::2")] {
        let mtu = ["dev", "narrow", "mtu", "lock", NARROW];
        far.ip(&[&[flag, "route", "add", other], &mtu[..]].concat())?;
    }
    Ok(())
}

/// Both ways, whole; and then `check`.
fn transfer(
    scene: &mut Scene,
    check: impl FnOnce(&lb_userspace::lab::Lab) -> Result<()>,
) -> Result<()> {
    let client = scene.lab().client();
    for (family, seed) in Family::BOTH.into_iter().zip(1..) {
        let target = SocketAddr::new(family.vip(), BULK);
        let down = client
            .download(target, 2_000_000, seed, LIMIT)
            .with_context(|| reasons(scene))?;
        let up = client
            .upload(target, 2_000_000, seed, LIMIT)
            .with_context(|| reasons(scene))?;
        ensure!(down.is_whole() && up.is_whole(), "{down:?} {up:?}");
    }
    check(scene.lab()).with_context(|| reasons(scene))
}

/// The host's kernel knows that packets to these addresses must be smaller.
pub(super) fn require_learnt(host: &Host, destinations: &[&str]) -> Result<()> {
    for destination in destinations {
        let mut command = Command::new("ip");
        command.args(["route", "get", destination]);
        let output = host.output(command, LIMIT)?;
        let route = String::from_utf8_lossy(&output.stdout);
        ensure!(route.contains(&format!("mtu {NARROW}")), "{route}");
    }
    Ok(())
}

/// A UDP socket that talks to `target` only.
pub(super) fn connected(target: SocketAddr) -> Result<UdpSocket> {
    let any: IpAddr = if target.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Whether an echo request comes back as it went.
pub(super) fn ping(host: &Host, target: IpAddr, payload: &[u8]) -> Result<bool> {
    let (family, protocol, kind) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, [8, 0]),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, [128, 129]),
    };
    host.run(|| -> Result<bool> {
        let socket = socket(family, SockType::Datagram, SockFlag::empty(), protocol)?;
        let socket = UdpSocket::from(socket);
        socket.connect((target, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        // The kernel fills in checksum and identifier, and checks them in the reply.
        socket.send(&[&[kind[0], 0, 0, 0, 0, 0, 0, 1], payload].concat())?;
        let mut reply = vec![0; 2000];
        match socket.recv(&mut reply) {
            Ok(length) => Ok(reply[0] == kind[1] && reply[8..length] == *payload),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    })?
}

pub(super) fn reasons(scene: &Scene) -> String {
    scene
        .lbctl(&["get", "reasons"])
        .map_or_else(|error| format!("{error:#}"), |said| said.stdout)
}
