//! Switches of the node that forwarding needs: turned on, and each said aloud.

use std::fs;
use std::io;
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
    let v4 = services.iter().any(|it| it.address.is_ipv4());
    let v6 = services.iter().any(|it| it.address.is_ipv6());
    let mut switches = Vec::new();
    for interface in interfaces {
        if v4 {
            switches.extend(ipv4(root, interface));
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

fn ipv4(root: &Path, interface: &str) -> Vec<Switch> {
    let mut switches = vec![
        switch("ipv4", interface, "forwarding", None, "1"),
        // A packet the program hands to the kernel to route already has the node's address as its
        // source, which the kernel takes for spoofed unless told otherwise.
        switch("ipv4", interface, "accept_local", None, "1"),
    ];
    // Strict reverse path filtering (1) drops the same packets, loose (2) does not. The larger of
    // the values of the interface and of all interfaces counts.
    let filters = ["all", interface].map(|name| {
        let value = switch("ipv4", name, "rp_filter", None, "2").value(root);
        value
            .and_then(|it| it.parse::<u8>().ok())
            .unwrap_or_default()
    });
    if filters.into_iter().max() == Some(1) {
        switches.push(switch("ipv4", interface, "rp_filter", None, "2"));
    }
    switches
}

fn ipv6(root: &Path, interface: &str) -> Vec<Switch> {
    // A forwarding interface ignores router advertisements unless accept_ra is 2. Before
    // forwarding, so that the node never forgets its default route.
    let mut switches = vec![
        switch("ipv6", interface, "accept_ra", Some("1"), "2"),
        switch("ipv6", interface, "forwarding", None, "1"),
    ];
    // What the program hands to the kernel is routed only if all interfaces forward or, since
    // Linux 6.17, if this one is forced to.
    let forced = switch("ipv6", interface, "force_forwarding", None, "1");
    if forced.path(root).exists() {
        switches.push(forced);
    } else {
        switches.extend(ipv6_of_all(root));
    }
    switches
}

/// Forwarding of all interfaces makes every one of them a router.
fn ipv6_of_all(root: &Path) -> Vec<Switch> {
    let all = fs::read_dir(root.join("net/ipv6/conf"))
        .into_iter()
        .flatten()
        .flatten();
    let names = all.filter_map(|entry| entry.file_name().into_string().ok());
    let advertised = names.map(|it| switch("ipv6", &it, "accept_ra", Some("1"), "2"));
    advertised
        .chain([switch("ipv6", "all", "forwarding", None, "1")])
        .collect()
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

    fn value(&self, root: &Path) -> Option<String> {
        Some(fs::read_to_string(self.path(root)).ok()?.trim().to_owned())
    }

    fn set(&self, root: &Path) -> io::Result<()> {
        fs::write(self.path(root), self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{Idle, Protocol};

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
            idle: Idle::default(),
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
    fn strict_reverse_path_filtering_becomes_loose_wherever_it_is_set() {
        for (all, own) in [("0", "1"), ("1", "0"), ("1", "1")] {
            let root = node(&[
                ("ipv4/conf/all/rp_filter", all),
                ("ipv4/conf/eth0/rp_filter", own),
                ("ipv4/conf/eth0/accept_local", "1"),
            ]);
            let services = [service("10.0.0.1:80")];
            let said = prepare(root.path(), &["eth0"], &services, Policy::Set);
            let expected = format!("Set net.ipv4.conf.eth0.rp_filter to 2; it was {own}.");
            assert_eq!(said, [expected]);
        }
        let loose = node(&[
            ("ipv4/conf/all/rp_filter", "2"),
            ("ipv4/conf/eth0/rp_filter", "1"),
        ]);
        let services = [service("10.0.0.1:80")];
        let said = prepare(loose.path(), &["eth0"], &services, Policy::Set);
        assert_eq!(said, Vec::<String>::new());
    }

    #[test]
    fn router_advertisements_are_still_heard() {
        let root = node(&[
            ("ipv4/conf/eth0/forwarding", "0"),
            ("ipv6/conf/eth0/accept_ra", "1"),
            ("ipv6/conf/eth0/forwarding", "0"),
            ("ipv6/conf/eth0/force_forwarding", "0"),
            ("ipv6/conf/all/forwarding", "0"),
        ]);
        let said = prepare(
            root.path(),
            &["eth0"],
            &[service("[fd99::1]:80")],
            Policy::Set,
        );
        assert_eq!(
            said,
            [
                "Set net.ipv6.conf.eth0.accept_ra to 2; it was 1.",
                "Set net.ipv6.conf.eth0.forwarding to 1; it was 0.",
                "Set net.ipv6.conf.eth0.force_forwarding to 1; it was 0.",
            ]
        );
        assert_eq!(value(&root, "ipv6/conf/all/forwarding"), "0");
        assert_eq!(value(&root, "ipv4/conf/eth0/forwarding"), "0");
    }

    #[test]
    fn an_older_kernel_forwards_ipv6_on_all_interfaces_or_none() {
        let root = node(&[
            ("ipv6/conf/eth0/accept_ra", "0"),
            ("ipv6/conf/eth0/forwarding", "1"),
            ("ipv6/conf/eth1/accept_ra", "1"),
            ("ipv6/conf/all/forwarding", "0"),
        ]);
        let said = prepare(
            root.path(),
            &["eth0"],
            &[service("[fd99::1]:80")],
            Policy::Set,
        );
        assert_eq!(
            said,
            [
                "Set net.ipv6.conf.eth1.accept_ra to 2; it was 1.",
                "Set net.ipv6.conf.all.forwarding to 1; it was 0.",
            ]
        );
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
