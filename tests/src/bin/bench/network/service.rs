//! What every balancer balances: the same services on every lab.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lb_userspace::lab::{Family, Lab};

use super::contestant::Contestant;
use super::direct;

/// The endpoint host: one, so that as many threads serve as on the routed path.
pub const HOST: &str = "server";

/// The backends and their weights in percent, each an endpoint on the host.
pub const BACKENDS: [(&str, u32); 2] = [("old", 80), ("new", 20)];

/// Port of the services that echo.
pub const ECHO: u16 = 9000;
/// Port of the services that take bulk.
pub const BULK: u16 = 9010;

/// A service and its endpoints.
#[derive(Clone, Debug)]
pub struct Service {
    /// Unique among the services.
    pub name: String,
    /// The virtual address.
    pub address: SocketAddr,
    /// One of each backend.
    pub endpoints: Vec<Endpoint>,
}

/// The endpoint of a backend.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Name of the backend and of the server.
    pub name: &'static str,
    /// Weight in percent.
    pub weight: u32,
    /// Where it listens.
    pub address: SocketAddr,
}

/// The virtual address of a service.
pub fn vip(family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(family.vip(), port)
}

/// Where a backend's endpoint listens for a service's port: the first on the same port, so that the
/// routed path is alike.
pub fn ports(service: u16) -> impl Iterator<Item = (&'static str, u16)> {
    BACKENDS
        .into_iter()
        .zip(service..)
        .map(|((name, _), port)| (name, port))
}

/// The services of a lab. Where the port cannot differ from the service's, endpoints differ by address.
pub fn services(lab: &Lab, contestant: Contestant) -> Result<Vec<Service>> {
    let host = lab.endpoint(HOST)?;
    let service = |(family, port)| Service {
        name: format!("{family:?}-{port}").to_lowercase(),
        address: vip(family, port),
        endpoints: if contestant.answers_directly() {
            by_address(family, host.address(family), port)
        } else {
            by_port(host.address(family), port)
        },
    };
    Ok(Family::BOTH
        .into_iter()
        .flat_map(|family| [ECHO, BULK].map(|port| (family, port)))
        .map(service)
        .collect())
}

fn by_address(family: Family, host: IpAddr, port: u16) -> Vec<Endpoint> {
    BACKENDS
        .into_iter()
        .zip([host, direct::second_address(family)])
        .map(|((name, weight), address)| Endpoint {
            name,
            weight,
            address: SocketAddr::new(address, port),
        })
        .collect()
}

fn by_port(host: IpAddr, service: u16) -> Vec<Endpoint> {
    BACKENDS
        .into_iter()
        .zip(ports(service))
        .map(|((name, weight), (_, port))| Endpoint {
            name,
            weight,
            address: SocketAddr::new(host, port),
        })
        .collect()
}
