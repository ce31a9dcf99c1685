//! Clients and endpoints in a VLAN.
//!
//! Only where the kernel has VLAN devices: in the machines of `cargo xtask test --kernels`, which load the
//! module.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::{Ask, Configuration, Family, Host, Topology, Transport};
use libtest_mimic::Trial;

use super::aside::reasons;
use super::scene::{PORT, Scene};
use super::trial::trial;

/// What is served, on which interface, in which mode, and whether a tag goes beside the frame and not in it.
const TRIALS: [(&str, &str, &str, bool); 3] = [
    (
        "a VLAN's own interface is served, in generic mode",
        "v7",
        "generic",
        true,
    ),
    (
        "a VLAN is served on the interface that it is of, in native mode",
        "eth0",
        "native",
        false,
    ),
    (
        "a VLAN is served on the interface that it is of, in generic mode",
        "eth0",
        "generic",
        true,
    ),
];

pub(super) fn trials() -> Vec<Trial> {
    let is_there = Path::new("/sys/module/8021q").exists();
    let trials = TRIALS.into_iter().filter(|_| is_there);
    trials
        .map(|(name, interface, mode, offload)| {
            trial(name, move || serve(interface, mode, offload))
        })
        .collect()
}

/// Client, node and endpoint `one` are in VLAN 7 of one segment; the program runs on `interface` of the node.
fn serve(interface: &str, mode: &str, offload: bool) -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::one_net())?;
    let lab = scene.lab();
    let (client, node, one) = (lab.client(), lab.node(), lab.endpoint("one")?);
    for (host, number) in [(node, 1), (client, 2), (one, 3)] {
        join(host, number, offload)?;
    }
    for (flag, family) in [("-4", Family::V4), ("-6", Family::V6)] {
        let (vip, node) = (family.vip().to_string(), address(family, 1).to_string());
        client.ip(&[flag, "route", "replace", &vip, "via", &node])?;
    }
    let mut configuration = Configuration::in_mode(&[interface.to_owned()], mode);
    for family in Family::BOTH {
        configuration = configuration
            .service(
                &format!("echo-{family:?}").to_lowercase(),
                Transport::Tcp,
                SocketAddr::new(family.vip(), PORT),
            )
            .backend("old", 1, &[SocketAddr::new(address(family, 3), PORT)]);
    }
    scene.start(&configuration)?;
    for family in Family::BOTH {
        let ask = Ask::new(Transport::Tcp, SocketAddr::new(family.vip(), PORT), 20);
        let counts = scene.lab().client().ask(ask)?;
        let of_one = counts.of("one");
        ensure!(of_one == 20, "{family:?}: {counts}\n{}", reasons(&scene));
    }
    eprintln!("{interface} {mode}: {}", reasons(&scene));
    Ok(())
}

/// Puts a host into VLAN 7.
fn join(host: &Host, number: u8, offload: bool) -> Result<()> {
    if !offload {
        host.ethtool(&["-K", "eth0", "txvlan", "off"])?;
    }
    host.ip(&[
        "link", "add", "link", "eth0", "name", "v7", "type", "vlan", "id", "7",
    ])
    .context("a VLAN device")?;
    host.ip(&["link", "set", "v7", "up"])?;
    for (family, bits, nodad) in [(Family::V4, 24, None), (Family::V6, 64, Some("nodad"))] {
        let address = format!("{}/{bits}", address(family, number));
        let words = ["address", "add", &address, "dev", "v7"].into_iter();
        host.ip(&words.chain(nodad).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn address(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 66, 0, number]),
        Family::V6 => IpAddr::from([0xfd66, 0, 0, 0, 0, 0, 0, number.into()]),
    }
}
