//! One host of a lab: a namespace, its addresses, and what runs inside.

use std::fs;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Handle;

use super::addresses::{Family, Link};
use super::command;
use super::conversation::SourcePorts;
use super::footprint::Footprint;
use super::namespace::Namespace;
use super::process::{Process, bind_to_parent};
use super::worker::{Worker, runtime};

/// A host: a network namespace with its own interfaces, routes and ports.
///
/// Only the network is its own. Files and processes are shared with the machine, and /sys shows the
/// network of the machine, not of the host.
#[derive(Debug)]
pub struct Host {
    name: String,
    links: Vec<Link>,
    namespace: Arc<Namespace>,
    worker: Worker,
    source_ports: Arc<SourcePorts>,
    footprint: Arc<Footprint>,
}

impl Host {
    /// Creates the namespace of a host, with its loopback up and nothing else.
    pub(super) fn create(footprint: &Arc<Footprint>, name: &str) -> Result<Self> {
        let namespace = Arc::new(Namespace::open(&footprint.add_namespace(name)?)?);
        let host = Self {
            name: name.to_owned(),
            links: Vec::new(),
            worker: Worker::start(Arc::clone(&namespace))?,
            namespace,
            source_ports: Arc::default(),
            footprint: Arc::clone(footprint),
        };
        host.ip(&["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// The name in the lab: `client`, `node`, or that of an endpoint.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name that `ip netns` lists.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// The interfaces with their addresses, without loopback.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The names of the interfaces, without loopback.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        self.links
            .iter()
            .map(|link| link.interface.clone())
            .collect()
    }

    /// The IPv4 address of the first interface; unspecified when there is none.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.links
            .first()
            .map_or(Ipv4Addr::UNSPECIFIED, |link| link.v4)
    }

    /// The IPv6 address of the first interface; unspecified when there is none.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.links
            .first()
            .map_or(Ipv6Addr::UNSPECIFIED, |link| link.v6)
    }

    /// The address of the first interface; unspecified when there is none.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        self.links
            .first()
            .map_or(family.unspecified(), |link| link.address(family))
    }

    /// Runs a closure on a new thread inside the namespace and waits for it: its sockets belong to
    /// the host. A child process that outlasts the closure is better started by [`Host::spawn`].
    /// A panic of the closure goes on in the caller.
    ///
    /// # Errors
    /// When the thread cannot enter the namespace.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R> {
        thread::scope(|scope| {
            thread::Builder::new()
                .name(self.namespace.name().to_owned())
                .spawn_scoped(scope, || {
                    self.namespace.enter()?;
                    Ok(work())
                })
                .context("start a thread")?
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Starts a child process inside the namespace, in its own process group.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Process> {
        let line = command::line(&command);
        bind_to_parent(&mut command);
        let child = self
            .worker
            .call(move || command.spawn())?
            .map_err(|error| command::unstarted(&line, error))
            .with_context(|| format!("on host {}", self.name))?;
        Ok(Process::new(line, child, Arc::clone(&self.footprint)))
    }

    /// Runs a command inside the namespace, with no input, and returns its status and output.
    ///
    /// # Errors
    /// When it cannot be started, or runs longer than `limit` (it is killed then). Another exit
    /// status than 0 is not an error.
    pub fn output(&self, mut command: Command, limit: Duration) -> Result<Output> {
        let line = command::line(&command);
        command::pipe(&mut command);
        bind_to_parent(&mut command);
        let child = self
            .worker
            .call(move || command.spawn())?
            .map_err(|error| command::unstarted(&line, error))
            .with_context(|| format!("on host {}", self.name))?;
        command::output(child, &line, limit).with_context(|| format!("on host {}", self.name))
    }

    /// Runs `ip` inside the namespace.
    ///
    /// # Errors
    /// With the command and its stderr when it fails.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        self.succeed("ip", arguments)
    }

    /// Runs `ethtool` inside the namespace.
    ///
    /// # Errors
    /// With the command and its stderr when it fails.
    pub fn ethtool(&self, arguments: &[&str]) -> Result<()> {
        self.succeed("ethtool", arguments)
    }

    /// Writes a setting under /proc/sys/net, named with slashes: `ipv4/ip_forward`.
    ///
    /// # Errors
    /// When the kernel has no such setting or refuses the value.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        self.run(|| fs::write(&path, value))?
            .with_context(|| format!("on host {}: write {value} to {path}", self.name))
    }

    pub(super) fn add_link(&mut self, link: Link) {
        self.links.push(link);
    }

    /// The directory of the lab.
    pub(super) fn directory(&self) -> &Path {
        self.footprint.directory()
    }

    pub(super) fn source_ports(&self) -> &Arc<SourcePorts> {
        &self.source_ports
    }

    pub(super) fn namespace_handle(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// The runtime that the host's servers run on.
    pub(super) fn runtime(&self) -> &Handle {
        self.worker.runtime()
    }

    /// Runs a closure that registers a socket with the runtime of the host's servers.
    pub(super) fn on_runtime<R>(&self, register: impl FnOnce() -> R) -> R {
        let _guard = self.worker.runtime().enter();
        register()
    }

    /// Drives a future on a new thread inside the namespace, no longer than `limit`.
    pub(super) fn drive<R: Send>(
        &self,
        limit: Duration,
        future: impl Future<Output = Result<R>> + Send,
    ) -> Result<R> {
        self.run(|| {
            runtime()?.block_on(async {
                tokio::time::timeout(limit, future)
                    .await
                    .with_context(|| format!("not done within {limit:?}"))?
            })
        })?
        .with_context(|| format!("on host {}", self.name))
    }

    fn succeed(&self, program: &str, arguments: &[&str]) -> Result<()> {
        ensure!(!arguments.is_empty(), "`{program}` needs arguments");
        let mut command = Command::new(program);
        command.args(arguments);
        let line = command::line(&command);
        let output = self.output(command, command::LIMIT)?;
        command::succeed(&line, &output).with_context(|| format!("on host {}", self.name))
    }
}
