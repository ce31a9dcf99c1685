//! The network of the demo with everything that runs in it.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::geteuid;
use tokio::runtime::{Builder, Runtime};

use super::promise::Promises;
use crate::api::{SetWeights, WeightsAnswer};
use crate::client::Client;
use crate::lab::{Ask, Balancer, Configuration, Counts, Family, Lab, Server, Topology, Transport};
use crate::render::{self, Style};

/// Port of the services and of the servers.
pub(super) const PORT: u16 = 9000;

/// A service of the demo.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) transport: Transport,
    pub(super) family: Family,
}

/// One service for each kind of traffic.
pub(super) const SERVICES: [Service; 4] = [
    Service::new("echo", Transport::Tcp, Family::V4),
    Service::new("echo-v6", Transport::Tcp, Family::V6),
    Service::new("echo-udp", Transport::Udp, Family::V4),
    Service::new("echo-udp-v6", Transport::Udp, Family::V6),
];

impl Service {
    const fn new(name: &'static str, transport: Transport, family: Family) -> Self {
        Self {
            name,
            transport,
            family,
        }
    }

    /// Where clients talk to it.
    pub(super) fn address(self) -> SocketAddr {
        SocketAddr::new(self.family.vip(), PORT)
    }

    /// Such as `TCP over IPv4`.
    pub(super) fn traffic(self) -> String {
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        format!("{} over {family}", self.transport)
    }
}

/// The network, the servers `one` and `two`, and lbd.
pub(super) struct Stage {
    // First: lbd ends before its network.
    balancer: Balancer,
    _servers: Vec<Server>,
    client: Client,
    runtime: Runtime,
    lab: Lab,
}

/// A change of weights that is in effect.
pub(super) struct Changed {
    /// From the request to the answer, as `lbctl` waits for it.
    pub(super) command: Duration,
    pub(super) answer: WeightsAnswer,
}

impl Changed {
    /// Milliseconds from the request to new flows following it.
    pub(super) fn effect_ms(&self) -> f64 {
        self.answer.effect_ms.unwrap_or_default()
    }
}

/// Whether the demo can be shown here at all, told before anything is done.
pub(super) fn check() -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "the demo makes network namespaces and loads a program into the kernel: it needs root\n  \
         hint: sudo lbctl demo"
    );
    for (program, package) in [("ip", "iproute2"), ("ethtool", "ethtool")] {
        ensure!(
            is_installed(program),
            "the demo needs `{program}`\n  hint: apt-get install {package}, or cargo xtask setup \
             in the source tree"
        );
    }
    lbd().map(drop)
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// The daemon beside this program.
fn lbd() -> Result<PathBuf> {
    let program = env::current_exe()
        .context("find this program")?
        .with_file_name("lbd");
    ensure!(
        program.is_file(),
        "{} is missing: the demo runs the lbd beside lbctl\n  hint: cargo xtask demo builds both",
        program.display()
    );
    Ok(program)
}

impl Stage {
    pub(super) fn build() -> Result<Self> {
        let lab = Topology::two_nets().build()?;
        let mut servers = Vec::new();
        for host in lab.endpoints() {
            servers.push(host.tcp_echo(host.name(), PORT)?);
            servers.push(host.udp_echo(host.name(), PORT)?);
        }
        let balancer = Balancer::start(&lab, &lbd()?, configuration(&lab)?.text())?;
        Ok(Self {
            client: Client::new(balancer.socket()),
            balancer,
            _servers: servers,
            runtime: Builder::new_current_thread().enable_all().build()?,
            lab,
        })
    }

    pub(super) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// All lbd has said.
    pub(super) fn log(&self) -> String {
        self.balancer.log()
    }

    /// The picture that stands above everything.
    pub(super) fn describe(&self, style: Style) -> Result<String> {
        let title = style.bold(
            "lb: a service moves from `old` to `new` by weight, in the kernel, no connection broken",
        );
        let vip = |family: Family| SocketAddr::new(family.vip(), PORT);
        Ok(format!(
            "{title}\n\n   client ──── node ──┬── one   backend old\n                      \
             └── two   backend new\n\n   service   {} and {}, TCP and UDP\n   node      lbd, its program on {}\n",
            vip(Family::V4),
            vip(Family::V6),
            self.interfaces()?,
        ))
    }

    fn interfaces(&self) -> Result<String> {
        let status = self.runtime.block_on(self.client.status())?;
        Ok(render::interfaces(&status.interfaces))
    }

    /// Does what `lbctl set-weight CHANGES… -s SERVICE` does.
    pub(super) fn set_weights(&self, service: Service, changes: &[String]) -> Result<Changed> {
        let asked = SetWeights {
            service: Some(service.name.to_owned()),
            changes: changes.to_vec(),
            dry_run: false,
        };
        let start = Instant::now();
        let answer = self
            .runtime
            .block_on(self.client.set_weights(&asked))
            .with_context(|| command(service, changes))?;
        Ok(Changed {
            command: start.elapsed(),
            answer,
        })
    }

    /// New conversations with a service, and who answered.
    pub(super) fn ask(&self, service: Service, count: usize) -> Result<Counts> {
        self.lab
            .client()
            .ask(Ask::new(service.transport, service.address(), count))
    }

    /// Notes if lbd ended by itself.
    pub(super) fn balancer_must_run(&mut self, promises: &mut Promises) -> Result<()> {
        if !self.balancer.process().is_running()? {
            promises.note_trouble(format!("it ended: {}", self.balancer.log()));
        }
        Ok(())
    }
}

/// What a person types for it.
pub(super) fn command(service: Service, changes: &[String]) -> String {
    format!("lbctl set-weight {} -s {}", changes.join(" "), service.name)
}

fn configuration(lab: &Lab) -> Result<Configuration> {
    let [one, two] = lab.endpoints() else {
        bail!("the demo has two endpoints");
    };
    let mut configuration = Configuration::on(&lab.node().interfaces());
    for service in SERVICES {
        let at = |host: &crate::lab::Host| [SocketAddr::new(host.address(service.family), PORT)];
        configuration = configuration
            .service(service.name, service.transport, service.address())
            .backend("old", 100, &at(one))
            .backend("new", 0, &at(two));
    }
    Ok(configuration)
}
