//! All hosts on one segment: the node receives and sends by its only interface.

use std::sync::Arc;

use anyhow::Result;

use super::addresses::Link;
use super::footprint::Footprint;
use super::host::Host;
use super::links::{Wire, assign, route_vips, settle};
use super::topology::Hosts;

const NODE: u8 = 1;
const CLIENT: u8 = 2;
const FIRST_ENDPOINT: u8 = 11;

/// The only segment.
const SEGMENT: u8 = 0;

/// The bridge device inside the switch.
const BRIDGE: &str = "br0";

pub(super) fn build(footprint: &Arc<Footprint>, names: &[String], wire: Wire) -> Result<Hosts> {
    let switch = Host::create(footprint, "switch")?;
    settle(&switch, false)?;
    add_bridge(&switch, wire)?;
    let plug = |name: &str, number: u8| plug(footprint, &switch, name, number, wire);

    let node = plug("node", NODE)?;
    // The switch is what receives from the node's XDP. What GRO merges there is cut up again on
    // the way out of any port: with finished checksums towards the node, too.
    wire.receive_xdp(&switch, "node")?;
    wire.finish_checksums(&switch, "node")?;
    node.set_sysctl("ipv4/ip_forward", "1")?;
    node.set_sysctl("ipv6/conf/all/forwarding", "1")?;
    let client = plug("client", CLIENT)?;
    route_vips(&client, &node.links()[0])?;
    let endpoints = (FIRST_ENDPOINT..)
        .zip(names)
        .map(|(number, name)| plug(name, number))
        .collect::<Result<_>>()?;
    Ok(Hosts {
        client,
        node,
        endpoints,
        switch: Some(switch),
    })
}

/// A switch that forwards from the first frame on.
fn add_bridge(switch: &Host, wire: Wire) -> Result<()> {
    let mtu = wire.mtu.to_string();
    switch.ip(&[
        "link",
        "add",
        BRIDGE,
        "mtu",
        &mtu,
        "type",
        "bridge",
        "stp_state",
        "0",
        "forward_delay",
        "0",
        // Without a querier, snooping would lose the multicast of neighbour discovery.
        "mcast_snooping",
        "0",
    ])?;
    switch.ip(&["link", "set", BRIDGE, "up"])
}

/// Makes a host with a cable to the switch.
fn plug(
    footprint: &Arc<Footprint>,
    switch: &Host,
    name: &str,
    number: u8,
    wire: Wire,
) -> Result<Host> {
    let mut host = Host::create(footprint, name)?;
    settle(&host, false)?;
    wire.join((switch, name), (&host, "eth0"))?;
    switch.ip(&["link", "set", name, "master", BRIDGE])?;
    wire.finish_checksums(&host, "eth0")?;
    assign(&mut host, Link::new("eth0", SEGMENT, number))?;
    Ok(host)
}
