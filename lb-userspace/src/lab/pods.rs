//! Endpoints on the node itself: pods behind veths with routes, or on a bridge.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use anyhow::Result;

use super::addresses::{Family, Link};
use super::footprint::Footprint;
use super::host::Host;
use super::links::{Wire, assign, assign_alone, assign_aside, route_by_default, settle};
use super::topology::Hosts;

const NODE: u8 = 1;
const CLIENT: u8 = 2;
const FIRST_POD: u8 = 11;

/// The segment of the client, and that of the pods.
const CLIENTS: u8 = 0;
const PODS: u8 = 1;

/// The bridge.
const BRIDGE: &str = "pods";
/// The node on every wire to a pod: IPv6 is not asked for addresses of other interfaces.
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Pods that routes lead to.
pub(super) fn routed(footprint: &Arc<Footprint>, names: &[String], wire: Wire) -> Result<Hosts> {
    let (client, node) = outside(footprint, wire)?;
    let endpoints = (FIRST_POD..)
        .zip(names)
        .map(|(number, name)| routed_pod(footprint, &node, name, number, wire))
        .collect::<Result<_>>()?;
    Ok(Hosts {
        client,
        node,
        endpoints,
        switch: None,
    })
}

/// Pods on a bridge.
pub(super) fn bridged(footprint: &Arc<Footprint>, names: &[String], wire: Wire) -> Result<Hosts> {
    let (client, node) = outside(footprint, wire)?;
    node.ip(&[
        "link",
        "add",
        BRIDGE,
        "type",
        "bridge",
        "mcast_snooping",
        "0",
    ])?;
    node.ip(&["link", "set", BRIDGE, "up"])?;
    let router = Link::new(BRIDGE, PODS, NODE);
    // Aside: `Host::interfaces` are those that a configuration names for XDP.
    assign_aside(&node, &router)?;
    let endpoints = (FIRST_POD..)
        .zip(names)
        .map(|(number, name)| {
            let mut pod = pod(footprint, &node, name, wire)?;
            node.ip(&["link", "set", name, "master", BRIDGE])?;
            assign(&mut pod, Link::new("eth0", PODS, number))?;
            route_by_default(&pod, &router)?;
            Ok(pod)
        })
        .collect::<Result<_>>()?;
    Ok(Hosts {
        client,
        node,
        endpoints,
        switch: None,
    })
}

/// The client and the node. The wire between them finishes checksums and parts packets at both ends, so that
/// what comes out of the node is checked by the client as it would be by a host elsewhere.
fn outside(footprint: &Arc<Footprint>, wire: Wire) -> Result<(Host, Host)> {
    let mut node = Host::create(footprint, "node")?;
    settle(&node, true)?;
    let mut client = Host::create(footprint, "client")?;
    settle(&client, false)?;
    wire.join((&node, "client"), (&client, "eth0"))?;
    wire.receive_xdp(&client, "eth0")?;
    wire.receive(&node, "client")?;
    for (host, interface) in [(&node, "client"), (&client, "eth0")] {
        wire.finish_checksums(host, interface)?;
    }
    let router = Link::new("client", CLIENTS, NODE);
    assign(&mut node, router.clone())?;
    assign(&mut client, Link::new("eth0", CLIENTS, CLIENT))?;
    route_by_default(&client, &router)?;
    Ok((client, node))
}

/// A pod and its wire to the node, as the container network plug-ins make it: nothing is set.
fn pod(footprint: &Arc<Footprint>, node: &Host, name: &str, wire: Wire) -> Result<Host> {
    let pod = Host::create(footprint, name)?;
    settle(&pod, false)?;
    wire.join((node, name), (&pod, "eth0"))?;
    Ok(pod)
}

fn routed_pod(
    footprint: &Arc<Footprint>,
    node: &Host,
    name: &str,
    number: u8,
    wire: Wire,
) -> Result<Host> {
    let mut pod = pod(footprint, node, name, wire)?;
    let link = Link::new("eth0", PODS, number);
    assign_alone(&mut pod, link.clone())?;
    let gateway_v6 = GATEWAY_V6.to_string();
    node.ip(&[
        "address",
        "add",
        &format!("{gateway_v6}/64"),
        "dev",
        name,
        "nodad",
    ])?;
    for (family, gateway) in [
        (Family::V4, IpAddr::from(node.v4())),
        (Family::V6, GATEWAY_V6.into()),
    ] {
        let version = if family == Family::V4 { "-4" } else { "-6" };
        let gateway = gateway.to_string();
        pod.ip(&[
            version, "route", "add", "default", "via", &gateway, "dev", "eth0", "onlink",
        ])?;
        let address = link.address(family).to_string();
        node.ip(&[version, "route", "add", &address, "dev", name])?;
    }
    Ok(pod)
}
