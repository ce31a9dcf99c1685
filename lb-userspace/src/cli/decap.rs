//! `lbctl decap`.

use std::net::IpAddr;

use serde::Serialize;

use super::ask::Trouble;
use super::output::Page;
use crate::api::{Code, Failure};
use crate::dataplane::{XdpMode, decap};

/// What `lbctl decap` did.
#[derive(Serialize)]
struct Answer {
    interface: String,
    attached: bool,
    /// `native` or `generic`.
    mode: Option<&'static str>,
    addresses: Vec<IpAddr>,
    port: Option<u16>,
}

pub(super) fn decap(asked: super::Decap, page: Page) -> Result<(), Trouble> {
    let answer = if asked.off { off(&asked) } else { on(asked) }?;
    Ok(page.print(&answer, |answer, _| tell(answer))?)
}

fn on(asked: super::Decap) -> Result<Answer, Failure> {
    let addresses = if asked.addresses.is_empty() {
        of_loopback()?
    } else {
        asked.addresses
    };
    let wanted = decap::Decap {
        pin_dir: asked.pin_dir,
        interface: asked.interface,
        port: asked.port,
        addresses,
    };
    let mode = decap::attach(&wanted).map_err(refused)?;
    Ok(Answer {
        interface: wanted.interface,
        attached: true,
        mode: Some(if mode == XdpMode::Generic {
            "generic"
        } else {
            "native"
        }),
        addresses: wanted.addresses,
        port: Some(wanted.port),
    })
}

fn off(asked: &super::Decap) -> Result<Answer, Failure> {
    if !decap::detach(&asked.pin_dir, &asked.interface).map_err(refused)? {
        let error = format!("nothing is unpacked on {}", asked.interface);
        return Err(Failure::new(Code::BadRequest, error));
    }
    Ok(Answer {
        interface: asked.interface.clone(),
        attached: false,
        mode: None,
        addresses: Vec::new(),
        port: None,
    })
}

/// What people put virtual addresses on.
fn of_loopback() -> Result<Vec<IpAddr>, Failure> {
    let all = nix::ifaddrs::getifaddrs().map_err(|cause| refused(cause.into()))?;
    let addresses: Vec<IpAddr> = all
        .filter(|it| it.interface_name == "lo")
        .filter_map(|it| it.address)
        .filter_map(|it| {
            let v4 = it.as_sockaddr_in().map(|it| IpAddr::from(it.ip()));
            v4.or_else(|| it.as_sockaddr_in6().map(|it| IpAddr::from(it.ip())))
        })
        .filter(|it| !it.is_loopback())
        .collect();
    if addresses.is_empty() {
        let error = "the loopback interface has no virtual address";
        let hint = "ip address add 10.99.0.1/32 dev lo, or name it: --address 10.99.0.1";
        return Err(Failure::new(Code::BadRequest, error).try_this(hint));
    }
    Ok(addresses)
}

fn refused(cause: anyhow::Error) -> Failure {
    Failure::new(Code::KernelRefused, format!("{cause:#}"))
}

fn tell(answer: &Answer) -> String {
    let interface = &answer.interface;
    match (answer.mode, answer.port) {
        (Some(mode), Some(port)) => {
            let addresses: Vec<_> = answer.addresses.iter().map(ToString::to_string).collect();
            format!(
                "unpacking on {interface} ({mode}) what comes for {} in IP and in UDP to port {port}\n",
                addresses.join(", ")
            )
        }
        _ => format!("{interface} unpacks nothing any more\n"),
    }
}
