//! Real sockets through the balancer, and on the same path with none in it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_userspace::lab::{Ask, Balancer, Configuration, Family, Host, Topology, Transport};

use super::figures::Samples;
use super::traffic::vip;

/// Port of the echo server: the service's, so that both ways are alike.
const ECHO: u16 = 9000;
/// Port of the service that takes bulk, and of its server.
const BULK: u16 = 9001;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds; each goes both ways.
    pub rounds: usize,
    /// Connections a round.
    pub connections: usize,
    /// Time of one transfer.
    pub transfer: Duration,
}

/// One IP version.
#[derive(Clone, Debug)]
pub struct Line {
    /// IP version.
    pub family: Family,
    /// TCP connections a second, each with one question and its answer.
    pub connections: Pair,
    /// Gigabits a second over one connection.
    pub gigabits: Pair,
}

/// What is compared.
#[derive(Clone, Debug, Default)]
pub struct Pair {
    /// To the virtual address.
    pub balanced: Samples,
    /// To the endpoint's own address.
    pub routed: Samples,
}

/// Measures on a lab of two networks, the node a router between them; one endpoint.
pub fn measure(programs: &Path, plan: Plan) -> Result<Vec<Line>> {
    let lab = Topology::two_nets().endpoints(["one"]).build()?;
    let server = lab.endpoint("one")?;
    let _echo = server.tcp_echo("one", ECHO)?;
    let _bulk = server.bulk("one", BULK)?;
    let mut configuration = Configuration::on(&lab.node().interfaces());
    for family in Family::BOTH {
        for port in [ECHO, BULK] {
            let address = SocketAddr::new(vip(family).ip(), port);
            configuration = configuration
                .service(
                    &format!("{family:?}-{port}").to_lowercase(),
                    Transport::Tcp,
                    address,
                )
                .backend("one", 1, &[SocketAddr::new(server.address(family), port)]);
        }
    }
    let _balancer = Balancer::start(&lab, &programs.join("lbd"), configuration.text())?;
    Family::BOTH
        .into_iter()
        .map(|family| line(lab.client(), server, family, plan))
        .collect()
}

fn line(client: &Host, server: &Host, family: Family, plan: Plan) -> Result<Line> {
    let mut line = Line {
        family,
        connections: Pair::default(),
        gigabits: Pair::default(),
    };
    let ways = |port| {
        [vip(family).ip(), server.address(family)].map(|address| SocketAddr::new(address, port))
    };
    for round in 0..plan.rounds {
        eprintln!("  {family:?}, round {} of {}", round + 1, plan.rounds);
        let [balanced, routed] = ways(ECHO);
        line.connections
            .balanced
            .add(connections(client, balanced, plan)?);
        line.connections
            .routed
            .add(connections(client, routed, plan)?);
        let [balanced, routed] = ways(BULK);
        line.gigabits
            .balanced
            .add(gigabits(client, balanced, plan)?);
        line.gigabits.routed.add(gigabits(client, routed, plan)?);
    }
    Ok(line)
}

fn connections(client: &Host, target: SocketAddr, plan: Plan) -> Result<f64> {
    let counts = client.ask(Ask::new(Transport::Tcp, target, plan.connections))?;
    ensure!(counts.failed() == 0, "{target}: {counts}");
    Ok(counts.rate())
}

fn gigabits(client: &Host, target: SocketAddr, plan: Plan) -> Result<f64> {
    Ok(client.throughput(target, plan.transfer)?.bits_per_second() / 1e9)
}
