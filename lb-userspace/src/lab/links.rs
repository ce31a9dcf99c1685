//! Wires between hosts.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::addresses::{Link, PREFIX_V4, PREFIX_V6, VIP_V4, VIP_V6};
use super::host::Host;
use super::pass;

/// How every wire of a lab is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    /// Largest packet in bytes, on both ends.
    pub(super) mtu: u16,
    /// Leave checksums and segmentation of what end hosts send to the (absent) hardware.
    pub(super) checksum_offload: bool,
    /// Let the ends run no XDP program, and merge what the node receives.
    pub(super) plain: bool,
}

impl Wire {
    /// Joins two hosts by a veth pair and brings both ends up.
    pub(super) fn join(self, a: (&Host, &str), b: (&Host, &str)) -> Result<()> {
        let mtu = self.mtu.to_string();
        a.0.ip(&[
            "link",
            "add",
            a.1,
            "mtu",
            &mtu,
            "type",
            "veth",
            "peer",
            "name",
            b.1,
            "mtu",
            &mtu,
            "netns",
            b.0.namespace(),
        ])?;
        a.0.ip(&["link", "set", a.1, "up"])?;
        b.0.ip(&["link", "set", b.1, "up"])
    }

    /// Prepares the end of a wire that receives frames sent by XDP from the other end.
    pub(super) fn receive_xdp(self, host: &Host, interface: &str) -> Result<()> {
        if !self.plain {
            pass::load(host, interface)?;
        }
        // As a real network card does; it also makes a veth poll by NAPI.
        host.ethtool(&["-K", interface, "gro", "on"])
    }

    /// Prepares the node's end.
    pub(super) fn receive(self, node: &Host, interface: &str) -> Result<()> {
        match self.plain {
            true => node.ethtool(&["-K", interface, "gro", "on"]),
            false => Ok(()),
        }
    }

    /// Makes what is sent from this end leave with finished checksums, unless offload is asked for:
    /// a veth leaves them to a hardware that is not there, and XDP would forward them unfinished.
    pub(super) fn finish_checksums(self, host: &Host, interface: &str) -> Result<()> {
        match self.checksum_offload {
            true => Ok(()),
            false => host.ethtool(&["-K", interface, "tx", "off"]),
        }
    }
}

/// Settings that must stand before the first interface does.
pub(super) fn settle(host: &Host, forwards: bool) -> Result<()> {
    let forwarding = if forwards { "1" } else { "0" };
    for (name, value) in [
        ("ipv4/ip_forward", forwarding),
        ("ipv6/conf/all/forwarding", forwarding),
        // Two hosts on one segment talk through the node all the same.
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        ("ipv4/conf/all/accept_redirects", "0"),
        ("ipv4/conf/default/accept_redirects", "0"),
        ("ipv6/conf/default/accept_redirects", "0"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        // Addresses, link-local ones too, are usable at once.
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        // Room for tens of thousands of connections from one client to one service.
        ("ipv4/ip_local_port_range", "1024 65535"),
        ("core/somaxconn", "65535"),
        ("ipv4/tcp_max_syn_backlog", "65535"),
    ] {
        host.set_sysctl(name, value)?;
    }
    Ok(())
}

/// Gives an interface its addresses.
pub(super) fn assign(host: &mut Host, link: Link) -> Result<()> {
    assign_aside(host, &link)?;
    host.add_link(link);
    Ok(())
}

/// Gives an interface its addresses that is not one of the host's [`links`](Host::links).
pub(super) fn assign_aside(host: &Host, link: &Link) -> Result<()> {
    let v4 = format!("{}/{PREFIX_V4}", link.v4);
    let v6 = format!("{}/{PREFIX_V6}", link.v6);
    host.ip(&["address", "add", &v4, "dev", &link.interface])?;
    host.ip(&["address", "add", &v6, "dev", &link.interface, "nodad"])
}

/// Gives an interface its addresses, with no other host on its segment.
pub(super) fn assign_alone(host: &mut Host, link: Link) -> Result<()> {
    let (v4, v6) = (whole(link.v4), whole_v6(link.v6));
    host.ip(&["address", "add", &v4, "dev", &link.interface])?;
    host.ip(&["address", "add", &v6, "dev", &link.interface, "nodad"])?;
    host.add_link(link);
    Ok(())
}

/// Sends everything that is not on the segment to a router.
pub(super) fn route_by_default(host: &Host, router: &Link) -> Result<()> {
    host.ip(&["route", "add", "default", "via", &router.v4.to_string()])?;
    host.ip(&[
        "-6",
        "route",
        "add",
        "default",
        "via",
        &router.v6.to_string(),
    ])
}

/// Sends what is for the virtual addresses to a router.
pub(super) fn route_vips(host: &Host, router: &Link) -> Result<()> {
    let (v4, v6) = (whole(VIP_V4), whole_v6(VIP_V6));
    host.ip(&["route", "add", &v4, "via", &router.v4.to_string()])?;
    host.ip(&["-6", "route", "add", &v6, "via", &router.v6.to_string()])
}

fn whole(address: Ipv4Addr) -> String {
    format!("{address}/{}", Ipv4Addr::BITS)
}

fn whole_v6(address: Ipv6Addr) -> String {
    format!("{address}/{}", Ipv6Addr::BITS)
}
