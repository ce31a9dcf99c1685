//! The node as a router: one segment to the client, one to each endpoint.

use std::sync::Arc;

use anyhow::Result;

use super::addresses::Link;
use super::footprint::Footprint;
use super::host::Host;
use super::links::{Wire, assign, route_by_default, settle};
use super::topology::Hosts;

const NODE: u8 = 1;
const OTHER: u8 = 2;

pub(super) fn build(footprint: &Arc<Footprint>, names: &[String], wire: Wire) -> Result<Hosts> {
    let mut node = Host::create(footprint, "node")?;
    settle(&node, true)?;
    let client = attach(footprint, &mut node, "client", 0, wire)?;
    let endpoints = (1..)
        .zip(names)
        .map(|(segment, name)| attach(footprint, &mut node, name, segment, wire))
        .collect::<Result<_>>()?;
    Ok(Hosts {
        client,
        node,
        endpoints,
        switch: None,
    })
}

/// Makes a host on a segment of its own.
fn attach(
    footprint: &Arc<Footprint>,
    node: &mut Host,
    name: &str,
    segment: u8,
    wire: Wire,
) -> Result<Host> {
    let mut host = Host::create(footprint, name)?;
    settle(&host, false)?;
    wire.join((node, name), (&host, "eth0"))?;
    wire.receive_xdp(&host, "eth0")?;
    wire.receive(node, name)?;
    wire.finish_checksums(&host, "eth0")?;
    let router = Link::new(name, segment, NODE);
    assign(node, router.clone())?;
    assign(&mut host, Link::new("eth0", segment, OTHER))?;
    route_by_default(&host, &router)?;
    Ok(host)
}
