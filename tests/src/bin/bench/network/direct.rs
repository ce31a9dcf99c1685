//! A server that holds the virtual address and answers the client itself: by a wire of their own, as a server
//! whose way to the clients does not lead through the balancer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::client::Client;
use lb_userspace::lab::{Family, Host, Lab};

use super::contestant::Contestant;
use super::service::{BACKENDS, ECHO, HOST};

/// The interface of the wire, on both hosts.
const WIRE: &str = "direct";
/// The longest `lbctl` may take.
const LIMIT: Duration = Duration::from_secs(30);
/// What fits a tunnel of either family in packets of 1500 bytes, for IPv6 within IPv6 and UDP.
const SEGMENT: &str = "1380";

/// The server's other address on the segment it shares with the node: the endpoint of the second backend.
pub fn second_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 64, 1, 3).into(),
        Family::V6 => Ipv6Addr::new(0xfd64, 0, 0, 1, 0, 0, 0, 3).into(),
    }
}

/// Gives the server what these modes ask of it.
pub fn prepare(lab: &Lab, contestant: Contestant, programs: &Path) -> Result<()> {
    let (client, server) = (lab.client(), lab.endpoint(HOST)?);
    join(client, server)?;
    for family in Family::BOTH {
        let length = if family == Family::V4 { 32 } else { 128 };
        add(server, &format!("{}/{length}", family.vip()), "lo")?;
        add(
            server,
            &format!("{}/{length}", second_address(family)),
            "eth0",
        )?;
        let (clients, wire) = (client.address(family).to_string(), wire_address(family, 1));
        let mut route = vec!["route", "add", &clients, "via", &wire, "dev", WIRE];
        if contestant.is_tunnelled() {
            route.extend(["advmss", SEGMENT]);
        }
        server.ip(&route)?;
    }
    if contestant.is_tunnelled() {
        unpack(lab, server, programs)?;
    }
    Ok(())
}

/// Flows that the backends of the family's echo service have been given.
pub fn opened(lab: &Lab, family: Family) -> Result<[usize; BACKENDS.len()]> {
    let service = format!("{family:?}-{ECHO}").to_lowercase();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let backends = runtime.block_on(Client::new(&lab.socket()).backends())?;
    let mut opened = [0; BACKENDS.len()];
    for (opened, (name, _)) in opened.iter_mut().zip(BACKENDS) {
        let mut all = backends.backends.iter();
        let backend = all
            .find(|it| it.service == service && it.name == name)
            .with_context(|| format!("no backend {name} of {service}"))?;
        *opened = backend.counters.opened as usize;
    }
    Ok(opened)
}

fn join(client: &Host, server: &Host) -> Result<()> {
    let namespace = server.namespace();
    client.ip(&[
        "link", "add", WIRE, "type", "veth", "peer", "name", WIRE, "netns", namespace,
    ])?;
    for (number, host) in [(1, client), (2, server)] {
        host.ip(&["link", "set", WIRE, "up"])?;
        // As on every other wire: end hosts finish their checksums, and merge what they receive.
        host.ethtool(&["-K", WIRE, "tx", "off", "gro", "on"])?;
        for (family, length) in [(Family::V4, 24), (Family::V6, 64)] {
            add(
                host,
                &format!("{}/{length}", wire_address(family, number)),
                WIRE,
            )?;
        }
    }
    Ok(())
}

fn wire_address(family: Family, host: u8) -> String {
    match family {
        Family::V4 => format!("10.65.0.{host}"),
        Family::V6 => format!("fd65::{host}"),
    }
}

fn add(host: &Host, address: &str, interface: &str) -> Result<()> {
    let words = ["address", "add", address, "dev", interface];
    // Usable at once: nobody else is asked whether it is taken.
    let usable: &[&str] = if address.contains(':') {
        &["nodad"]
    } else {
        &[]
    };
    host.ip(&[&words[..], usable].concat())
}

fn unpack(lab: &Lab, server: &Host, programs: &Path) -> Result<()> {
    let mut command = Command::new(programs.join("lbctl"));
    command.args(["decap", "--interface", "eth0", "--pin-dir"]);
    command.arg(lab.bpffs().join("decap"));
    let output = server.output(command, LIMIT)?;
    ensure!(
        output.status.success(),
        "lbctl decap: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
