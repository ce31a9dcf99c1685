//! How the hosts of a lab are wired, and the lab that comes of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;

use super::footprint::Footprint;
use super::host::Host;
use super::links::Wire;
use super::{leftovers, one_net, pass, pods, two_nets};

/// Files to have open at once, as far as the hard limit lets: room for both ends of 10 000
/// connections.
const OPEN_FILES: u64 = 65_536;

/// The most endpoints of a lab: they number the segments of [`Topology::two_nets`].
const MOST_ENDPOINTS: usize = 200;

/// What to build. Every lab has the hosts `client` and `node`.
#[derive(Clone, Debug)]
pub struct Topology {
    shape: Shape,
    endpoints: Vec<String>,
    wire: Wire,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    TwoNets,
    OneNet,
    RoutedPods,
    BridgedPods,
}

/// The hosts of a built lab, before it has them.
#[derive(Debug)]
pub(super) struct Hosts {
    pub(super) client: Host,
    pub(super) node: Host,
    pub(super) endpoints: Vec<Host>,
    pub(super) switch: Option<Host>,
}

impl Topology {
    /// The node is a router with an interface to each other host, named after it:
    ///
    /// ```text
    /// client eth0 ── client node one ── eth0 one      10.64.0.0/24  10.64.1.0/24
    ///                       node two ── eth0 two                    10.64.2.0/24
    /// ```
    ///
    /// The node is host 1 on every segment, the other side is host 2.
    #[must_use]
    pub fn two_nets() -> Self {
        Self::new(Shape::TwoNets)
    }

    /// All hosts stand on one segment behind a switch, each with one interface `eth0`; what the
    /// balancer forwards leaves by the interface it came in:
    ///
    /// ```text
    /// client ─┐                10.64.0.2
    /// node  ──┼─ switch        10.64.0.1
    /// one   ──┤                10.64.0.11
    /// two   ──┘                10.64.0.12
    /// ```
    #[must_use]
    pub fn one_net() -> Self {
        Self::new(Shape::OneNet)
    }

    /// The endpoints are pods of the node's own, each behind a veth that a route leads to, as Calico and the
    /// `ptp` plug-in of CNI have it. They leave checksums and segmentation to the device that sends. Their ends
    /// of a wire run no XDP program and merge nothing; `one` and `two` have no address on the node:
    ///
    /// ```text
    /// client eth0 ── client node one ── eth0 one      10.64.0.0/24  10.64.1.1/32
    ///                       node two ── eth0 two                    10.64.1.2/32
    /// ```
    #[must_use]
    pub fn routed_pods() -> Self {
        Self::new(Shape::RoutedPods)
    }

    /// The same with the pods on a bridge of the node's, as most plug-ins of CNI have it:
    ///
    /// ```text
    /// client eth0 ── client node pods ─┬─ eth0 one    10.64.0.0/24  10.64.1.11
    ///                                  └─ eth0 two                  10.64.1.12
    /// ```
    #[must_use]
    pub fn bridged_pods() -> Self {
        Self::new(Shape::BridgedPods)
    }

    fn new(shape: Shape) -> Self {
        Self {
            shape,
            endpoints: vec!["one".to_owned(), "two".to_owned()],
            wire: Wire {
                mtu: 1500,
                checksum_offload: false,
                plain: false,
            },
        }
    }

    /// The names of the endpoint hosts instead of `one` and `two`: at most 200, each at most 15
    /// lower-case letters, digits and dashes.
    #[must_use]
    pub fn endpoints<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.endpoints = names.into_iter().map(Into::into).collect();
        self
    }

    /// The MTU of every interface in bytes, 1280 to 9000; 1500 when not said.
    #[must_use]
    pub fn mtu(mut self, bytes: u16) -> Self {
        self.wire.mtu = bytes;
        self
    }

    /// Leaves checksums and segmentation of what client and endpoints send to the interface, as on a
    /// machine with pods. XDP forwards such packets with checksums that the receiver refuses, so
    /// this is for trying just that. Off when not said.
    #[must_use]
    pub fn checksum_offload(mut self, on: bool) -> Self {
        self.wire.checksum_offload = on;
        self
    }

    /// For measuring what needs no XDP as well: client and endpoints run no XDP program, and both ends
    /// of a wire merge what they receive (GRO), as a network card does. [`Topology::two_nets`] only:
    /// the node's XDP_REDIRECT arrives there, its XDP_TX does not.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.wire.plain = true;
        self
    }

    /// Builds the lab.
    ///
    /// # Errors
    /// Without root, without `ip` (iproute2) or `ethtool`, for names or an MTU out of range, or when
    /// the kernel refuses a part.
    pub fn build(&self) -> Result<Lab> {
        self.check()?;
        ensure!(
            geteuid().is_root(),
            "a lab is made of network namespaces: this needs root"
        );
        allow_open_files()?;
        leftovers::remove().context("remove what killed labs left behind")?;
        let ground = Ground(Footprint::claim()?);
        ground.0.mount_bpffs()?;
        pass::write(ground.0.directory())?;
        let hosts = match self.shape {
            Shape::TwoNets => two_nets::build(&ground.0, &self.endpoints, self.wire),
            Shape::OneNet => one_net::build(&ground.0, &self.endpoints, self.wire),
            Shape::RoutedPods => pods::routed(&ground.0, &self.endpoints, self.wire),
            Shape::BridgedPods => pods::bridged(&ground.0, &self.endpoints, self.wire),
        }?;
        Ok(Lab { hosts, ground })
    }

    fn check(&self) -> Result<()> {
        let mtu = self.wire.mtu;
        ensure!(
            (1280..=9000).contains(&mtu),
            "MTU {mtu} is not in 1280..=9000"
        );
        let count = self.endpoints.len();
        ensure!(
            count <= MOST_ENDPOINTS,
            "{count} endpoints, at most {MOST_ENDPOINTS} fit"
        );
        self.endpoints
            .iter()
            .enumerate()
            .try_for_each(|(at, name)| {
                ensure!(is_device_name(name), "`{name}` is no name for an interface");
                ensure!(
                    !["client", "node", "switch", "pods", "lo", "default", "all"]
                        .contains(&name.as_str())
                        && !self.endpoints[..at].contains(name),
                    "`{name}` is taken"
                );
                Ok(())
            })
    }
}

/// A built lab; dropping it takes everything away.
#[derive(Debug)]
pub struct Lab {
    // First: the threads of the hosts end, and with them the child processes.
    hosts: Hosts,
    ground: Ground,
}

/// The footprint, erased on drop.
#[derive(Debug)]
struct Ground(Arc<Footprint>);

impl Lab {
    /// The host that talks to services.
    #[must_use]
    pub fn client(&self) -> &Host {
        &self.hosts.client
    }

    /// The host that the balancer runs on.
    #[must_use]
    pub fn node(&self) -> &Host {
        &self.hosts.node
    }

    /// The endpoint hosts in the order they were named.
    #[must_use]
    pub fn endpoints(&self) -> &[Host] {
        &self.hosts.endpoints
    }

    /// The endpoint host of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn endpoint(&self, name: &str) -> Result<&Host> {
        self.hosts
            .endpoints
            .iter()
            .find(|host| host.name() == name)
            .with_context(|| format!("the lab has no endpoint `{name}`"))
    }

    /// The bridge between the hosts of [`Topology::one_net`].
    #[must_use]
    pub fn switch(&self) -> Option<&Host> {
        self.hosts.switch.as_ref()
    }

    /// A directory for the files of the lab, removed with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.ground.0.directory()
    }

    /// Where the lab's own bpffs is mounted.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.ground.0.bpffs()
    }

    /// Where to pin the balancer; not created yet.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.bpffs().join("lb")
    }

    /// Where to put the socket of lbd; not created yet.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory().join("lbd.sock")
    }

    /// Where to put the configuration of lbd; not created yet.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory().join("lb.toml")
    }

    /// Where to put the state of lbd; not created yet.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.directory().join("state.json")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = self.0.erase() {
            eprintln!("remove a lab: {error:#}");
        }
    }
}

fn is_device_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Raises the open file limit. Only a process with CAP_SYS_RESOURCE may go beyond the hard limit;
/// without it, [`Host::tcp_echo_apart`] spreads the files over two processes.
fn allow_open_files() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the open file limit")?;
    if soft >= OPEN_FILES
        || setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, hard.max(OPEN_FILES)).is_ok()
    {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .with_context(|| format!("raise the open file limit from {soft} to {hard}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_topology_is_sound() {
        Topology::two_nets().check().unwrap();
        Topology::one_net().check().unwrap();
        Topology::routed_pods().check().unwrap();
        Topology::bridged_pods().check().unwrap();
    }

    #[test]
    fn a_name_that_is_taken_or_no_device_name_is_refused() {
        for names in [
            vec!["node"],
            vec!["one", "one"],
            vec![""],
            vec!["a b"],
            vec!["1234567890123456"],
        ] {
            let topology = Topology::two_nets().endpoints(names.clone());
            assert!(topology.check().is_err(), "{names:?}");
        }
    }

    #[test]
    fn an_mtu_too_small_for_ipv6_is_refused() {
        assert!(Topology::one_net().mtu(1279).check().is_err());
    }
}
