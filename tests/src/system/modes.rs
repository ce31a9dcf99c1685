//! Every mode with real sockets: endpoints hold the virtual address and answer the client themselves.
//!
//! The kernel need not have tunnel devices: `lbctl decap` unpacks on the endpoints.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::dataplane::takes_frags;
use lb_userspace::lab::{Configuration, Family, Host, Topology, Transport};
use libtest_mimic::Trial;

use super::scene::{PORT, SERVICES, Scene, program, require_unbroken};
use super::trial::trial;

/// Port of the bulk server of mode `ipip`; the next one is that of `gue`.
const BULK: u16 = 9001;
const BYTES: u64 = 50_000_000;
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("mode dsr: endpoints answer the client themselves", || {
            carry("dsr", false)
        }),
        trial("mode ipip: endpoints unpack and answer themselves", || {
            carry("ipip", false)
        }),
        trial(
            "mode ipip: endpoints are reached by the other family",
            || carry("ipip", true),
        ),
        trial("mode gue: endpoints unpack and answer themselves", || {
            carry("gue", false)
        }),
        trial(
            "mode gue: endpoints are reached by the other family",
            || carry("gue", true),
        ),
        trial(
            "tunnels carry what an MTU of 9000 lets in, and tell of what is larger",
            || large("native"),
        )
        .with_ignored_flag(!takes_frags().unwrap_or(false)),
        trial(
            "tunnels carry what an MTU of 9000 lets in, and tell of what is larger, in generic mode",
            || large("generic"),
        ),
    ]
}

/// All services in a mode; tunnels lead to endpoints by their address of the service's family, or of
/// the other one.
fn carry(mode: &str, across: bool) -> Result<()> {
    let is_tunnel = mode != "dsr";
    carry_to(mode, across, |scene, name| {
        // Off and on again: the one takes away all that the other left.
        let steps = if is_tunnel {
            &["on", "off", "on"][..]
        } else {
            &[]
        };
        steps.iter().try_for_each(|how| unpack(scene, name, how))
    })
}

/// As [`carry`], `prepare` making an endpoint unpack.
pub(super) fn carry_to(
    mode: &str,
    across: bool,
    prepare: impl Fn(&Scene, &str) -> Result<()>,
) -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::one_net())?;
    for name in ["one", "two"] {
        hold_addresses(scene.lab().endpoint(name)?, scene.lab().client())?;
        prepare(&scene, name)?;
    }
    let configuration = services(&scene, mode, across)?;
    scene.start_with(&configuration)?;
    let mut held = Vec::new();
    for service in SERVICES {
        scene.ask_for_share(service, 200, 0.0)?;
        held.push(scene.hold(service, 20, Duration::from_millis(20))?);
        scene.set_weight(service, &["new=100"])?;
        scene.ask_for_share(service, 200, 1.0)?;
    }
    for held in held {
        let outcome = require_unbroken(held, 20)?;
        ensure!(outcome.by_name.get("one") == Some(&20), "{outcome:?}");
    }
    Ok(())
}

/// The client's first full segments do not fit: it is told, by frames that lie in several buffers.
fn large(how: &str) -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::one_net().mtu(9000))?;
    let one = scene.lab().endpoint("one")?;
    hold_addresses(one, scene.lab().client())?;
    unpack(&scene, "one", "on")?;
    let server = one.bulk("one", BULK)?;
    let mut configuration = Configuration::in_mode(&scene.lab().node().interfaces(), how);
    let all = [("ipip", 0), ("gue", 1)]
        .into_iter()
        .flat_map(|(mode, number)| {
            Family::BOTH.map(|family| (mode, family, SocketAddr::new(family.vip(), BULK + number)))
        });
    let all: Vec<_> = all.collect();
    for &(mode, family, address) in &all {
        let endpoint = SocketAddr::new(one.address(family), address.port());
        configuration = configuration
            .service(
                &format!("{mode}-{family:?}").to_lowercase(),
                Transport::Tcp,
                address,
            )
            .setting(&format!("mode = {mode:?}"))
            .backend("old", 1, &[endpoint]);
    }
    let other = one.bulk("one", BULK + 1)?;
    scene.serve(vec![server, other]);
    scene.start(&configuration)?;
    for (seed, (mode, _, target)) in (1..).zip(all) {
        let client = scene.lab().client();
        let reasons = || {
            scene
                .lbctl(&["get", "reasons"])
                .map_or(String::new(), |it| it.stdout)
        };
        let up = client
            .upload(target, BYTES, seed, LIMIT)
            .with_context(reasons)?;
        let down = client
            .download(target, BYTES, seed, LIMIT)
            .with_context(reasons)?;
        ensure!(up.is_whole() && down.is_whole(), "{up:?} {down:?}");
        eprintln!(
            "{mode} {target} {how}: {:.2?} up, {:.2?} down",
            up.elapsed, down.elapsed
        );
    }
    let answer = scene.json(&["get", "reasons"])?;
    let mut all = answer["reasons"].as_array().into_iter().flatten();
    let told = all.find(|it| it["reason"] == "too-big-told");
    let is_told = told.is_some_and(|it| it["packets"].as_u64() > Some(0));
    ensure!(is_told, "{answer}");
    Ok(())
}

/// All services in a mode.
pub(super) fn services(scene: &Scene, mode: &str, across: bool) -> Result<String> {
    let (one, two) = (scene.lab().endpoint("one")?, scene.lab().endpoint("two")?);
    let configuration = Configuration::on(&scene.lab().node().interfaces());
    let configuration = SERVICES.into_iter().fold(configuration, |text, it| {
        let family = match (it.family, across) {
            (Family::V4, false) | (Family::V6, true) => Family::V4,
            _ => Family::V6,
        };
        let at = |host: &Host| (host.address(family), PORT).into();
        text.service(it.name, it.transport, it.address())
            .setting(&format!("mode = {mode:?}"))
            .backend("old", 1, &[at(one)])
            .backend("new", 0, &[at(two)])
    });
    Ok(configuration.text().to_owned())
}

/// The endpoint has the virtual addresses, and nobody hears of it.
pub(super) fn hold_addresses(host: &Host, client: &Host) -> Result<()> {
    for (family, length) in [(Family::V4, 32), (Family::V6, 128)] {
        let address = format!("{}/{length}", family.vip());
        // Usable at once: nobody else is asked whether it is taken.
        let usable: &[&str] = match family {
            Family::V4 => &[],
            Family::V6 => &["nodad"],
        };
        let words = ["address", "add", &address, "dev", "lo"];
        host.ip(&[&words[..], usable].concat())?;
    }
    // A socket of no address answers datagrams from the address that the route says.
    let client = [Family::V4, Family::V6].map(|family| (family, client.address(family)));
    for (family, to) in client {
        let (to, vip) = (to.to_string(), family.vip().to_string());
        host.ip(&["route", "replace", &to, "dev", "eth0", "src", &vip])?;
    }
    // All hosts stand on one segment: only the node may answer for the virtual addresses.
    host.set_sysctl("ipv4/conf/all/arp_ignore", "1")?;
    host.set_sysctl("ipv4/conf/all/arp_announce", "2")
}

/// `lbctl decap` on an endpoint.
pub(super) fn unpack(scene: &Scene, name: &str, how: &str) -> Result<()> {
    let mut command = Command::new(program("lbctl")?);
    let pins = scene.lab().bpffs().join(format!("decap-{name}"));
    command.args(["decap", "--interface", "eth0", "--pin-dir"]);
    command.arg(&pins);
    if how == "off" {
        command.arg("--off");
    }
    let output = scene
        .lab()
        .endpoint(name)?
        .output(command, Duration::from_secs(30))?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
