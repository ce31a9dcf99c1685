//! A contestant ready to be measured: its lab, its servers and what it runs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::{
    Ask, Balancer, Configuration, Family, Lab, Latencies, Process, RoundTrips, Server, Topology,
    Transport, chance,
};

use super::contestant::Contestant;
use super::service::{BACKENDS, BULK, ECHO, HOST, Service, ports, services, vip};
use super::{Figures, Line, direct, haproxy, nftables, nginx};

/// Connections that questions are asked over.
pub const CONNECTIONS_KEPT: usize = 16;

/// Conversations that tell whether a contestant balances.
const PROBES: usize = 1000;

/// A contestant on its lab.
#[derive(Debug)]
pub struct Entry {
    contestant: Contestant,
    _running: Running,
    _servers: Vec<Server>,
    // Last: what runs on it ends before.
    lab: Lab,
}

/// What a contestant keeps running.
#[derive(Debug)]
#[expect(dead_code, reason = "what runs is held for its drop")]
enum Running {
    Nothing,
    Balancer(Balancer),
    Process(Process),
}

impl Entry {
    /// Builds its lab, starts everything, and sees whether it balances.
    pub fn set_up(contestant: Contestant, programs: &Path) -> Result<Self> {
        let lab = Topology::two_nets().plain().endpoints([HOST]).build()?;
        // Proxies open as many connections from the node as clients do.
        for host in [lab.client(), lab.node()] {
            host.set_sysctl("ipv4/tcp_tw_reuse", "1")?;
        }
        let mut servers = Vec::new();
        let host = lab.endpoint(HOST)?;
        for (name, port) in ports(ECHO) {
            servers.push(host.tcp_echo(name, port)?);
        }
        for (name, port) in ports(BULK) {
            servers.push(host.bulk(name, port)?);
        }
        if contestant.answers_directly() {
            direct::prepare(&lab, contestant, programs)?;
        }
        let running = start(contestant, &lab, &services(&lab, contestant)?, programs)?;
        let entry = Self {
            contestant,
            _running: running,
            _servers: servers,
            lab,
        };
        for family in Family::BOTH {
            entry
                .check(family)
                .with_context(|| format!("{contestant} by {family:?}"))?;
        }
        Ok(entry)
    }

    /// Where its figures go.
    pub fn line(&self, family: Family) -> Line {
        Line {
            contestant: self.contestant,
            family,
            figures: Figures::default(),
        }
    }

    /// Connections a second, each with one question and its answer.
    pub fn connections(&self, family: Family, count: usize) -> Result<f64> {
        let ask = Ask::new(Transport::Tcp, self.target(family, ECHO), count);
        let counts = self.lab.client().ask(ask)?;
        ensure!(counts.failed() == 0, "{}: {counts}", self.contestant);
        Ok(counts.rate())
    }

    /// Questions over kept connections.
    pub fn round_trips(&self, family: Family, duration: Duration) -> Result<Latencies> {
        let ask = RoundTrips {
            target: self.target(family, ECHO),
            connections: CONNECTIONS_KEPT,
            duration,
        };
        let latencies = self.lab.client().round_trips(ask);
        latencies.with_context(|| self.contestant.to_string())
    }

    /// Gigabits a second over one connection.
    pub fn gigabits(&self, family: Family, duration: Duration) -> Result<f64> {
        let target = self.target(family, BULK);
        let throughput = self.lab.client().throughput(target, duration);
        let throughput = throughput.with_context(|| self.contestant.to_string())?;
        Ok(throughput.bits_per_second() / 1e9)
    }

    fn target(&self, family: Family, port: u16) -> SocketAddr {
        match self.contestant {
            Contestant::Routed => SocketAddr::new(self.lab.endpoints()[0].address(family), port),
            _ => vip(family, port),
        }
    }

    /// Whether every backend gets its share: what does not balance is not compared.
    fn check(&self, family: Family) -> Result<()> {
        let ask = Ask::new(Transport::Tcp, self.target(family, ECHO), PROBES);
        let counts = self.lab.client().ask(ask)?;
        ensure!(counts.failed() == 0, "{counts}");
        let hits = match self.contestant {
            Contestant::Routed => return Ok(()),
            // One server has both addresses.
            _ if self.contestant.answers_directly() => direct::opened(&self.lab, family)?,
            _ => BACKENDS.map(|(name, _)| counts.of(name)),
        };
        for ((name, weight), hits) in BACKENDS.into_iter().zip(hits) {
            ensure!(
                chance::is_likely(hits, PROBES, f64::from(weight) / 100.0),
                "`{name}` has {hits} of {PROBES} connections and should have {weight} %"
            );
        }
        Ok(())
    }
}

fn start(
    contestant: Contestant,
    lab: &Lab,
    services: &[Service],
    programs: &Path,
) -> Result<Running> {
    Ok(match contestant {
        Contestant::Routed => Running::Nothing,
        Contestant::Lb(mode) => Running::Balancer(lb(lab, mode, services, programs)?),
        Contestant::Nftables => {
            nftables::load(lab, services)?;
            Running::Nothing
        }
        Contestant::Haproxy => Running::Process(haproxy::start(lab, services)?),
        Contestant::Nginx => Running::Process(nginx::start(lab, services)?),
    })
}

fn lb(lab: &Lab, mode: &str, services: &[Service], programs: &Path) -> Result<Balancer> {
    let mut configuration = Configuration::on(&lab.node().interfaces());
    for service in services {
        configuration = configuration
            .service(&service.name, Transport::Tcp, service.address)
            .setting(&format!("mode = {mode:?}"));
        for endpoint in &service.endpoints {
            configuration =
                configuration.backend(endpoint.name, endpoint.weight, &[endpoint.address]);
        }
    }
    Balancer::start(lab, &programs.join("lbd"), configuration.text())
}
