//! Switches of the node that forwarding needs: turned on, and each said aloud.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::NodePorts;
use crate::desired::Service;

/// Where the kernel shows its switches.
pub const ROOT: &str = "/proc/sys";

/// What to do about a switch that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Turn it on and say so.
    Set,
    /// Only say that it is missing.
    Report,
}

/// Sees to it that the node forwards what `services` need on `interfaces`. Returns a sentence for
/// each switch that was not as needed. `root` is [`ROOT`], but for tests.
pub fn prepare(
    root: &Path,
    interfaces: &[&str],
    services: &[Service],
    policy: Policy,
) -> Vec<String> {
    // Of a tunnel the kernel is asked the way to the endpoint, of whatever family.
    let endpoints = services
        .iter()
        .flat_map(|it| &it.backends)
        .flat_map(|it| &*it.endpoints)
        .map(|it| it.address);
    let addresses: Vec<_> = services
        .iter()
        .map(|it| it.address)
        .chain(endpoints)
        .collect();
    let v4 = addresses.iter().any(SocketAddr::is_ipv4);
    let v6 = addresses.iter().any(SocketAddr::is_ipv6);
    let mut switches = Vec::new();
    for interface in interfaces {
        if v4 {
            switches.extend(ipv4(interface));
        }
        if v6 {
            switches.extend(ipv6(root, interface));
        }
    }
    switches
        .iter()
        .filter_map(|switch| switch.see_to(root, policy))
        .collect()
}

/// A sentence if the node's own connections may take the ports flows are given.
pub fn ephemeral_overlap(root: &Path, ports: NodePorts) -> Option<String> {
    let text = fs::read_to_string(root.join("net/ipv4/ip_local_port_range")).ok()?;
    let mut ends = text.split_whitespace().map(str::parse::<u16>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (ports.first <= last && first <= ports.last).then(|| {
        format!(
            "The node ports {ports} overlap the kernel's ephemeral ports {first}-{last}: replies to \
             the node's own connections may be taken for flows; change node-ports or \
             net.ipv4.ip_local_port_range."
        )
    })
}

/// A switch and the value it needs.
struct Switch {
    family: &'static str,
    interface: String,
    name: &'static str,
    /// Only a switch with this value needs changing; `None`: any other than `wanted`.
    only_if: Option<&'static str>,
    wanted: &'static str,
}

/// The kernel's routing table answers the program, at the hook of the interface a packet came in by,
/// only if that interface forwards. Nothing else is needed: the program sends what it can itself, and
/// the rest leaves before the kernel would look at where it comes from.
fn ipv4(interface: &str) -> Vec<Switch> {
    vec![switch("ipv4", interface, "forwarding", None, "1")]
}

fn ipv6(root: &Path, interface: &str) -> Vec<Switch> {
    let forwarding = switch("ipv6", interface, "forwarding", None, "1");
    if forwarding.is_as_wanted(root) {
        // Whether a node that forwards already hears routers is its own affair.
        return Vec::new();
    }
    // A forwarding interface ignores router advertisements unless accept_ra is 2. Before forwarding,
    // so that the node never forgets its default route.
    vec![
        switch("ipv6", interface, "accept_ra", Some("1"), "2"),
        forwarding,
    ]
}

/// Whether setting the switch makes the kernel forget the default routes that routers advertised, on
/// *every* interface whose `accept_ra` is not 2 (`rt6_purge_dflt_routers`, seen in 6.18). They come
/// back with the next advertisement, which may take half an hour.
fn forgets_routers(switch: &Switch) -> bool {
    switch.family == "ipv6" && switch.name == "forwarding"
}

/// Does `change` while `accept_ra` is 2 wherever it is 1. On an interface that does not forward, both
/// mean the same.
fn keeping_routers<T>(root: &Path, change: impl FnOnce() -> T) -> T {
    let entries = fs::read_dir(root.join("net/ipv6/conf"));
    let names = entries.into_iter().flatten().flatten();
    let shields: Vec<_> = names
        .filter_map(|it| it.file_name().into_string().ok())
        .map(|it| switch("ipv6", &it, "accept_ra", None, "2"))
        .filter(|it| it.value(root).is_some_and(|value| value == "1") && it.set(root).is_ok())
        .collect();
    let result = change();
    for shield in shields {
        // An interface that has gone meanwhile needs none.
        let _ = fs::write(shield.path(root), "1");
    }
    result
}

fn switch(
    family: &'static str,
    interface: &str,
    name: &'static str,
    only_if: Option<&'static str>,
    wanted: &'static str,
) -> Switch {
    Switch {
        family,
        interface: interface.to_owned(),
        name,
        only_if,
        wanted,
    }
}

impl Switch {
    fn path(&self, root: &Path) -> PathBuf {
        root.join("net")
            .join(self.family)
            .join("conf")
            .join(&self.interface)
            .join(self.name)
    }

    /// As sysctl(8) writes it: a dot of the interface's own becomes a slash.
    fn shown(&self) -> String {
        let interface = self.interface.replace('.', "/");
        format!("net.{}.conf.{interface}.{}", self.family, self.name)
    }

    fn see_to(&self, root: &Path, policy: Policy) -> Option<String> {
        // An interface that is not there is an error of attaching, which names it.
        let now = self.value(root)?;
        let (wanted, name) = (self.wanted, self.shown());
        if now == wanted || self.only_if.is_some_and(|value| value != now) {
            return None;
        }
        Some(match policy {
            Policy::Report => {
                format!("{name} is {now} and should be {wanted}: sysctl -w {name}={wanted}")
            }
            Policy::Set => match self.set(root) {
                Ok(()) => format!("Set {name} to {wanted}; it was {now}."),
                Err(cause) => format!(
                    "{name} is {now} and could not be set ({cause}): sysctl -w {name}={wanted}"
                ),
            },
        })
    }

    fn is_as_wanted(&self, root: &Path) -> bool {
        self.value(root).is_some_and(|it| it == self.wanted)
    }

    fn value(&self, root: &Path) -> Option<String> {
        Some(fs::read_to_string(self.path(root)).ok()?.trim().to_owned())
    }

    fn set(&self, root: &Path) -> io::Result<()> {
        let set = || fs::write(self.path(root), self.wanted);
        match forgets_routers(self) {
            true => keeping_routers(root, set),
            false => set(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{Delivery, Idle, Ports, Protocol, Selection};

    /// A tree with the given switches; returns it with its root.
    fn node(switches: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, value) in switches {
            let path = root.path().join("net").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        root
    }

    fn service(address: &str) -> Service {
        Service {
            name: "echo".into(),
            address: address.parse().unwrap(),
            protocol: Protocol::Tcp,
            slots: 256,
            ports: Ports::One,
            selection: Selection::default(),
            idle: Idle::default(),
            delivery: Delivery::default(),
            echo: false,
            backends: Vec::new(),
        }
    }

    fn value(root: &tempfile::TempDir, path: &str) -> String {
        fs::read_to_string(root.path().join("net").join(path))
            .unwrap()
            .trim()
            .to_owned()
    }

    #[test]
    fn forwarding_is_turned_on_and_the_old_value_said() {
        let root = node(&[("ipv4/conf/eth0.7/forwarding", "0")]);
        let services = [service("10.0.0.1:80")];
        let said = prepare(root.path(), &["eth0.7"], &services, Policy::Set);
        assert_eq!(
            said,
            ["Set net.ipv4.conf.eth0/7.forwarding to 1; it was 0."]
        );
        assert_eq!(value(&root, "ipv4/conf/eth0.7/forwarding"), "1");
        assert_eq!(
            prepare(root.path(), &["eth0.7"], &services, Policy::Set),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_report_changes_nothing() {
        let root = node(&[("ipv4/conf/eth0/forwarding", "0")]);
        let said = prepare(
            root.path(),
            &["eth0"],
            &[service("10.0.0.1:80")],
            Policy::Report,
        );
        assert_eq!(
            said,
            ["net.ipv4.conf.eth0.forwarding is 0 and should be 1: \
              sysctl -w net.ipv4.conf.eth0.forwarding=1"]
        );
        assert_eq!(value(&root, "ipv4/conf/eth0/forwarding"), "0");
    }

    #[test]
    fn router_advertisements_are_still_heard() {
        let root = node(&[
            ("ipv4/conf/eth0/forwarding", "0"),
            ("ipv6/conf/eth0/accept_ra", "1"),
            ("ipv6/conf/eth0/forwarding", "0"),
        ]);
        let services = [service("[fd99::1]:80")];
        let said = prepare(root.path(), &["eth0"], &services, Policy::Set);
        assert_eq!(
            said,
            [
                "Set net.ipv6.conf.eth0.accept_ra to 2; it was 1.",
                "Set net.ipv6.conf.eth0.forwarding to 1; it was 0.",
            ]
        );
        assert_eq!(value(&root, "ipv6/conf/eth0/accept_ra"), "2");
        assert_eq!(value(&root, "ipv4/conf/eth0/forwarding"), "0");
    }

    #[test]
    fn router_advertisements_that_are_ignored_stay_ignored() {
        let root = node(&[
            ("ipv6/conf/eth0/accept_ra", "0"),
            ("ipv6/conf/eth0/forwarding", "0"),
        ]);
        let services = [service("[fd99::1]:80")];
        let said = prepare(root.path(), &["eth0"], &services, Policy::Set);
        assert_eq!(said, ["Set net.ipv6.conf.eth0.forwarding to 1; it was 0."]);
        assert_eq!(value(&root, "ipv6/conf/eth0/accept_ra"), "0");
    }

    #[test]
    fn a_node_that_forwards_already_is_left_as_it_is() {
        let root = node(&[
            ("ipv6/conf/eth0/accept_ra", "1"),
            ("ipv6/conf/eth0/forwarding", "1"),
        ]);
        let services = [service("[fd99::1]:80")];
        let said = prepare(root.path(), &["eth0"], &services, Policy::Set);
        assert_eq!(said, Vec::<String>::new());
    }

    #[test]
    fn other_interfaces_are_left_as_they_were() {
        let others = [
            ("ipv4/conf/all/rp_filter", "1"),
            ("ipv4/conf/eth0/accept_local", "0"),
            ("ipv6/conf/all/forwarding", "0"),
            ("ipv6/conf/eth1/accept_ra", "1"),
            ("ipv6/conf/eth1/forwarding", "0"),
            ("ipv6/conf/eth2/accept_ra", "0"),
        ];
        let own = [
            ("ipv4/conf/eth0/forwarding", "0"),
            ("ipv6/conf/eth0/accept_ra", "2"),
            ("ipv6/conf/eth0/forwarding", "0"),
        ];
        let root = node(&[&others[..], &own].concat());
        let services = [service("10.0.0.1:80"), service("[fd99::1]:80")];
        let said = prepare(root.path(), &["eth0"], &services, Policy::Set);
        assert_eq!(
            said,
            [
                "Set net.ipv4.conf.eth0.forwarding to 1; it was 0.",
                "Set net.ipv6.conf.eth0.forwarding to 1; it was 0.",
            ]
        );
        for (path, before) in others {
            assert_eq!(value(&root, path), before, "{path}");
        }
    }

    #[test]
    fn while_the_kernel_forgets_routers_none_may_be_forgotten() {
        let root = node(&[
            ("ipv6/conf/eth1/accept_ra", "1"),
            ("ipv6/conf/eth2/accept_ra", "0"),
        ]);
        let during = keeping_routers(root.path(), || {
            ["eth1", "eth2"].map(|it| value(&root, &format!("ipv6/conf/{it}/accept_ra")))
        });
        assert_eq!(during, ["2", "0"]);
        assert_eq!(value(&root, "ipv6/conf/eth1/accept_ra"), "1");
    }

    #[test]
    fn node_ports_among_the_ephemeral_ports_are_told() {
        let root = node(&[("ipv4/ip_local_port_range", "20000\t60999")]);
        let told = ephemeral_overlap(root.path(), NodePorts::default()).unwrap();
        assert!(
            told.starts_with("The node ports 10240-29999 overlap"),
            "{told}"
        );
        let below = NodePorts {
            first: 10_240,
            last: 19_999,
        };
        assert_eq!(ephemeral_overlap(root.path(), below), None);
    }
}
