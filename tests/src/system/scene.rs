//! A lab with servers, `lbd` on its node, and `lbctl` at hand.

use std::env;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::chance::{is_likely, likely_range};
use lb_userspace::lab::{
    Ask, Balancer, Configuration, Counts, Family, Hold, Host, Lab, LongLived, Outcome, Server,
    Topology, Transport,
};
use serde_json::Value;

/// Port of the services and the echo servers.
pub(super) const PORT: u16 = 9000;

/// The longest a command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// The longest held conversations may take to open.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// A service of the usual configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) transport: Transport,
    pub(super) family: Family,
}

/// One for each kind of traffic, each with a backend `old` on `one` and `new` on `two`.
pub(super) const SERVICES: [Service; 4] = [
    ECHO,
    Service {
        name: "echo-v6",
        transport: Transport::Tcp,
        family: Family::V6,
    },
    UDP,
    Service {
        name: "echo-udp-v6",
        transport: Transport::Udp,
        family: Family::V6,
    },
];

/// TCP over IPv4.
pub(super) const ECHO: Service = Service {
    name: "echo",
    transport: Transport::Tcp,
    family: Family::V4,
};

/// UDP over IPv4.
pub(super) const UDP: Service = Service {
    name: "echo-udp",
    transport: Transport::Udp,
    family: Family::V4,
};

impl Service {
    pub(super) fn address(self) -> SocketAddr {
        SocketAddr::new(self.family.vip(), PORT)
    }

    /// A host's server for it.
    pub(super) fn at(self, host: &Host) -> SocketAddr {
        SocketAddr::new(host.address(self.family), PORT)
    }
}

/// A lab in which `lbd` runs, or could.
pub(super) struct Scene {
    // In this order: lbd and the servers end before their network.
    balancer: Option<Balancer>,
    servers: Vec<Server>,
    lab: Lab,
}

/// What a command said.
pub(super) struct Said {
    /// `None` when a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Scene {
    /// The usual services, everything to `old`.
    pub(super) fn build(topology: &Topology) -> Result<Self> {
        let mut scene = Self::without_lbd(topology)?;
        let usual = scene.usual()?;
        scene.start(&usual)?;
        Ok(scene)
    }

    /// With echo servers `one` and `two` and nothing else.
    pub(super) fn without_lbd(topology: &Topology) -> Result<Self> {
        let lab = topology.build()?;
        let mut servers = Vec::new();
        for host in lab.endpoints() {
            servers.push(host.tcp_echo(host.name(), PORT)?);
            servers.push(host.udp_echo(host.name(), PORT)?);
        }
        Ok(Self {
            balancer: None,
            servers,
            lab,
        })
    }

    pub(super) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The usual services.
    pub(super) fn usual(&self) -> Result<Configuration> {
        self.with_services(Configuration::on(&self.lab.node().interfaces()))
    }

    pub(super) fn with_services(&self, configuration: Configuration) -> Result<Configuration> {
        let (one, two) = (self.lab.endpoint("one")?, self.lab.endpoint("two")?);
        Ok(SERVICES.into_iter().fold(configuration, |text, it| {
            text.service(it.name, it.transport, it.address())
                .backend("old", 1, &[it.at(one)])
                .backend("new", 0, &[it.at(two)])
        }))
    }

    /// Ends the echo servers that were there and keeps others running as long as this.
    pub(super) fn serve(&mut self, servers: Vec<Server>) {
        self.servers = servers;
    }

    /// Starts lbd with this configuration.
    pub(super) fn start(&mut self, configuration: &Configuration) -> Result<()> {
        self.start_with(configuration.text())
    }

    /// Starts lbd with a configuration as it was typed.
    pub(super) fn start_with(&mut self, text: &str) -> Result<()> {
        self.balancer = Some(Balancer::start(&self.lab, &program("lbd")?, text)?);
        Ok(())
    }

    /// Starts lbd with the configuration that is there.
    pub(super) fn start_again(&mut self) -> Result<()> {
        self.balancer = Some(Balancer::start_again(&self.lab, &program("lbd")?)?);
        Ok(())
    }

    pub(super) fn balancer(&mut self) -> Result<&mut Balancer> {
        self.balancer.as_mut().context("lbd does not run")
    }

    /// The running lbd, for its end.
    pub(super) fn take_balancer(&mut self) -> Result<Balancer> {
        self.balancer.take().context("lbd does not run")
    }

    /// Runs `lbctl` on the node.
    pub(super) fn lbctl(&self, arguments: &[&str]) -> Result<Said> {
        let mut command = Command::new(program("lbctl")?);
        command.args(arguments).env("LB_SOCKET", self.lab.socket());
        self.run(command)
    }

    /// Runs a command on the node.
    pub(super) fn run(&self, command: Command) -> Result<Said> {
        let output = self.lab.node().output(command, COMMAND_LIMIT)?;
        ensure!(output.status.signal().is_none(), "{}", output.status);
        Ok(Said {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// What `lbctl … -o json` answers; it must succeed.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let said = self.lbctl(&[arguments, &["-o", "json"]].concat())?;
        ensure!(
            said.code == Some(0),
            "lbctl {}: {:?}: {}",
            arguments.join(" "),
            said.code,
            said.stderr
        );
        serde_json::from_str(&said.stdout).with_context(|| said.stdout)
    }

    /// `lbctl set-weight CHANGES -s SERVICE`, and what it answers.
    pub(super) fn set_weight(&self, service: Service, changes: &[&str]) -> Result<Value> {
        self.json(&[&["set-weight", "-s", service.name], changes].concat())
    }

    /// New conversations of the client with a service.
    pub(super) fn ask(&self, service: Service, count: usize) -> Result<Counts> {
        let ask = Ask::new(service.transport, service.address(), count);
        self.lab.client().ask(ask)
    }

    /// Asks and requires that every new flow is answered and `two` gets its share, as far as chance
    /// lets.
    pub(super) fn ask_for_share(&self, service: Service, count: usize, share: f64) -> Result<()> {
        let counts = self.ask(service, count)?;
        ensure!(
            counts.failed() == 0 && counts.answered() == count,
            "{}: {counts}\n{}",
            service.name,
            self.lbctl(&["get", "reasons"])?.stdout
        );
        ensure!(
            is_likely(counts.of("two"), count, share),
            "{}: {counts}, where {:?} of `two` are likely at {share}",
            service.name,
            likely_range(count, share)
        );
        Ok(())
    }

    /// Holds conversations with a service, all open when this returns.
    pub(super) fn hold(
        &self,
        service: Service,
        count: usize,
        interval: Duration,
    ) -> Result<LongLived> {
        let hold = Hold::new(service.transport, service.address(), count, interval);
        let held = LongLived::open(self.lab.client(), hold)?;
        held.wait_open(OPEN_LIMIT)
            .with_context(|| format!("hold {count} conversations with {}", service.name))?;
        Ok(held)
    }

    /// Holds `count` conversations with every service.
    pub(super) fn hold_all(&self, count: usize, interval: Duration) -> Result<Vec<LongLived>> {
        SERVICES
            .into_iter()
            .map(|service| self.hold(service, count, interval))
            .collect()
    }
}

/// Ends held conversations: all must be there, and none may be broken or have moved.
pub(super) fn require_unbroken(held: LongLived, count: usize) -> Result<Outcome> {
    let live = held.held().live;
    let outcome = held.stop()?;
    ensure!(
        live == count && outcome.held.broken == 0 && outcome.held.moved == 0,
        "{live} of {count} live: {outcome:?}"
    );
    Ok(outcome)
}

/// `lbd` or `lbctl`: in `LB_BIN_DIR`, or where cargo puts them beside the directory of this program.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    let directory = match env::var_os("LB_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => env::current_exe()
            .context("find this program")?
            .ancestors()
            .nth(2)
            .context("this program lies in no target directory")?
            .to_owned(),
    };
    let program = directory.join(name);
    ensure!(
        program.is_file(),
        "{} is not built: cargo xtask test builds it",
        program.display()
    );
    Ok(program)
}
