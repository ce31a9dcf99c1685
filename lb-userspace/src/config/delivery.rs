//! From the shape of the file to values without mistakes: how packets reach the endpoints.

use std::net::{IpAddr, SocketAddr};

use toml::Spanned;

use super::address;
use super::error::Mistake;
use super::shape::{ModeEntry, ServiceEntry};
use crate::desired::{Backend, Delivery, Mode, Network, Ports, written_endpoint};

/// The smallest segment every host takes (RFC 9293, 6691), and the largest an IPv4 packet holds.
const MSS: std::ops::RangeInclusive<u16> = 536..=65_495;

pub(super) fn delivery(service: &ServiceEntry) -> Result<Delivery, Mistake> {
    let mode = mode(service)?;
    Ok(Delivery {
        mode,
        tunnel_source: tunnel_source(service, mode)?,
        mss: service.mss.as_ref().map(mss).transpose()?,
    })
}

fn mode(service: &ServiceEntry) -> Result<Mode, Mistake> {
    let mode = match service.mode {
        ModeEntry::Nat => Mode::Nat,
        ModeEntry::Dsr => Mode::Dsr,
        ModeEntry::Ipip => Mode::Ipip,
        ModeEntry::Gue => Mode::Gue {
            port: Mode::GUE_PORT,
        },
    };
    let Some(asked) = &service.tunnel_port else {
        return Ok(mode);
    };
    let key = "service.tunnel-port";
    let Mode::Gue { .. } = mode else {
        let problem = format!("mode {} has no port of its own", mode.name());
        let hint = "remove it, or use mode = \"gue\"";
        return Err(Mistake::new(asked.span(), key, problem, hint));
    };
    let port = u16::try_from(*asked.get_ref()).ok().filter(|&it| it != 0);
    port.map(|port| Mode::Gue { port }).ok_or_else(|| {
        let problem = format!("{} is not a port", asked.get_ref());
        let hint = format!("use 1 to 65535, or leave it out for {}", Mode::GUE_PORT);
        Mistake::new(asked.span(), key, problem, hint)
    })
}

fn mss(asked: &Spanned<u64>) -> Result<u16, Mistake> {
    let mss = u16::try_from(*asked.get_ref()).ok();
    mss.filter(|it| MSS.contains(it)).ok_or_else(|| {
        let problem = format!("{} is out of range", asked.get_ref());
        let hint = format!(
            "use {} to {}: bytes of a TCP segment",
            MSS.start(),
            MSS.end()
        );
        Mistake::new(asked.span(), "service.mss", problem, hint)
    })
}

const TUNNEL_SOURCE: &str = "service.tunnel-source";

fn tunnel_source(service: &ServiceEntry, mode: Mode) -> Result<Option<Network>, Mistake> {
    let Some(text) = &service.tunnel_source else {
        return Ok(None);
    };
    if !mode.is_tunnel() {
        let problem = format!("mode {} has no tunnel", mode.name());
        let hint = "remove it, or use mode = \"ipip\" or \"gue\"";
        return Err(Mistake::new(text.span(), TUNNEL_SOURCE, problem, hint));
    }
    network(text).map(Some)
}

fn network(text: &Spanned<String>) -> Result<Network, Mistake> {
    let shown = text.get_ref();
    let wrong =
        |problem: String, hint: &str| Mistake::new(text.span(), TUNNEL_SOURCE, problem, hint);
    let parsed = shown.split_once('/').and_then(|(address, bits)| {
        let address: IpAddr = address.parse().ok()?;
        Some((address, bits.parse::<u8>().ok()?))
    });
    let Some((address, bits)) = parsed else {
        let hint = "write \"172.16.0.0/16\" or \"fd00:0:0:1::/64\"";
        return Err(wrong(format!("\"{shown}\" is not a network"), hint));
    };
    let (most, free) = match address {
        IpAddr::V4(v4) => (32, u32::from(v4).checked_shl(bits.into()).map(u128::from)),
        IpAddr::V6(v6) => (128, u128::from(v6).checked_shl(bits.into())),
    };
    if !(8..most).contains(&bits) {
        let hint = "leave some bits to the flows: 8 to 31 of IPv4, 8 to 127 of IPv6";
        return Err(wrong(
            format!("/{bits} leaves too few bits, or too many"),
            hint,
        ));
    }
    if free != Some(0) {
        let hint = "write the network's first address";
        return Err(wrong(
            format!("{address} has bits after the first {bits}"),
            hint,
        ));
    }
    Ok(Network { address, bits })
}

/// An endpoint. Without a port it has the one that packets come for: port 0 if the service has several.
/// Where packets are not translated it can have no other.
pub(super) fn endpoint(
    text: &Spanned<String>,
    (service, ports, mode): (SocketAddr, Ports, Mode),
) -> Result<SocketAddr, Mistake> {
    let key = "service.backend.endpoints";
    let wrong = |problem: String, hint: &str| Mistake::new(text.span(), key, problem, hint);
    let its_own = match ports {
        Ports::One => service.port(),
        Ports::To(_) => 0,
    };
    let address = match text.get_ref().parse::<IpAddr>() {
        Ok(_) => SocketAddr::new(address::parse_source(text, key)?, its_own),
        Err(_) => address::parse(text, key)?,
    };
    if mode != Mode::Nat && address.port() != its_own {
        let problem = match ports {
            Ports::One => format!("{address} has another port than the service, {its_own}"),
            Ports::To(_) => format!("{address} has one port, the service several"),
        };
        let problem = format!("{problem}, and mode {} does not change ports", mode.name());
        return Err(wrong(problem, "leave the port out, or use mode = \"nat\""));
    }
    if !mode.is_tunnel() && address.is_ipv4() != service.is_ipv4() {
        let (ours, theirs) = (address::family(address.ip()), address::family(service.ip()));
        let address = written_endpoint(address);
        let problem = format!("{address} is {ours}, the service {theirs}");
        let hint = "endpoints have the address family of their service, except in a tunnel: mode = \
                    \"ipip\" or \"gue\"";
        return Err(wrong(problem, hint));
    }
    if mode != Mode::Nat && address.ip() == service.ip() {
        let problem = format!("{} is the address of the service", address.ip());
        let hint = "name an address that only this endpoint has; it holds the service's besides";
        return Err(wrong(problem, hint));
    }
    Ok(address)
}

/// Tunnels are of the family of their endpoints, and come from one place.
pub(super) fn one_source(
    service: &ServiceEntry,
    delivery: &Delivery,
    backends: &[Backend],
) -> Result<(), Mistake> {
    let (Some(text), Some(network)) = (&service.tunnel_source, delivery.tunnel_source) else {
        return Ok(());
    };
    let mut endpoints = backends.iter().flat_map(|it| &*it.endpoints);
    let other = |it: &&crate::desired::Endpoint| it.address.is_ipv4() != network.address.is_ipv4();
    if let Some(endpoint) = endpoints.find(other) {
        let (ours, theirs) = (
            address::family(network.address),
            address::family(endpoint.address.ip()),
        );
        let problem = format!(
            "\"{}\" is {ours}, the endpoint {} {theirs}",
            text.get_ref(),
            endpoint.written()
        );
        let hint = "use a network of the endpoints' family";
        return Err(Mistake::new(text.span(), TUNNEL_SOURCE, problem, hint));
    }
    let given = service
        .backends
        .iter()
        .find_map(|it| it.get_ref().source.as_ref());
    if let Some(source) = given {
        let problem = "the service has a tunnel-source already";
        let hint = "remove one of them";
        return Err(Mistake::new(
            source.span(),
            "service.backend.source",
            problem,
            hint,
        ));
    }
    Ok(())
}
