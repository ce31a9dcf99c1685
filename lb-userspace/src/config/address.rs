//! Addresses that packets can be sent to.

use std::net::{IpAddr, SocketAddr};

use toml::Spanned;

use super::error::Mistake;
use crate::desired::Ports;

/// Address and port that exist on a wire: no port 0, nothing unspecified, multicast or mapped.
pub(super) fn parse(text: &Spanned<String>, key: &'static str) -> Result<SocketAddr, Mistake> {
    let wrong = |problem: String, hint: &str| Mistake::new(text.span(), key, problem, hint);
    let shown = text.get_ref();
    let address: SocketAddr = shown.parse().map_err(|_| {
        let hint = "write \"10.0.0.1:80\" or \"[fd00::1]:80\": names are not resolved";
        wrong(format!("\"{shown}\" is not an address and port"), hint)
    })?;
    if address.port() == 0 {
        return Err(wrong(
            format!("\"{shown}\" has port 0"),
            "name the port, 1 to 65535",
        ));
    }
    usable(address.ip())
        .map_err(|(problem, hint)| wrong(format!("\"{shown}\" {problem}"), hint))?;
    Ok(address)
}

/// Address and ports of a service: `10.99.0.1:9000`, `10.99.0.1:9000-9010`, `10.99.0.1:*`.
pub(super) fn parse_ports(
    text: &Spanned<String>,
    key: &'static str,
) -> Result<(SocketAddr, Ports), Mistake> {
    let shown = text.get_ref();
    let Some((host, ports)) = shown.rsplit_once(':') else {
        return Ok((parse(text, key)?, Ports::One));
    };
    let (first, last) = match ports.split_once('-') {
        _ if ports == "*" => ("1", "65535"),
        Some(range) => range,
        None => return Ok((parse(text, key)?, Ports::One)),
    };
    let one = Spanned::new(text.span(), format!("{host}:{first}"));
    let address = parse(&one, key)?;
    match last.parse() {
        Ok(last) if last > address.port() => Ok((address, Ports::To(last))),
        Ok(last) if last == address.port() => Ok((address, Ports::One)),
        _ => {
            let problem = format!("\"{shown}\" has no range of ports");
            let hint = "write the lowest and the highest, as in \"10.0.0.1:9000-9010\"";
            Err(Mistake::new(text.span(), key, problem, hint))
        }
    }
}

/// An address of the node itself.
pub(super) fn parse_source(text: &Spanned<String>, key: &'static str) -> Result<IpAddr, Mistake> {
    let wrong = |problem: String, hint: &str| Mistake::new(text.span(), key, problem, hint);
    let shown = text.get_ref();
    let address: IpAddr = shown.parse().map_err(|_| {
        wrong(
            format!("\"{shown}\" is not an address"),
            "write \"10.0.0.1\" or \"fd00::1\"",
        )
    })?;
    usable(address).map_err(|(problem, hint)| wrong(format!("\"{shown}\" {problem}"), hint))?;
    Ok(address)
}

pub(super) fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

fn usable(address: IpAddr) -> Result<(), (&'static str, &'static str)> {
    let unicast = "use a unicast address";
    if address.is_unspecified() {
        return Err(("is the unspecified address", unicast));
    }
    if address.is_multicast() {
        return Err(("is a multicast address", unicast));
    }
    if address.is_loopback() {
        return Err((
            "is a loopback address",
            "packets from the wire never reach it: use another",
        ));
    }
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => Err(("is the broadcast address", unicast)),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err((
            "is an IPv4 address in IPv6 clothes",
            "write the IPv4 address",
        )),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Err((
            "is a link-local address",
            "use a global or unique local address",
        )),
        _ => Ok(()),
    }
}
