//! Replies of endpoints on this node: which interfaces they come in by, and the program there.
//!
//! Pods come and go, and their interfaces with them. So the routing table is asked again and again, and the
//! program follows: put where an endpoint has come to be, taken off where none is any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::Ebpf;

use super::hook::{self, LOCAL};
use super::report::{EndpointInterface, EndpointInterfaces, Hook, Interface, News};
use super::route::{Changes, Routes};
use super::{bpffs, interface, object};

/// Where the program is.
#[derive(Debug)]
pub struct Local {
    asked: EndpointInterfaces,
    running: BTreeMap<String, Running>,
    /// Endpoints whose interfaces are found, unless something changes.
    followed: Option<BTreeSet<IpAddr>>,
    changes: Changes,
    /// What was said when last looked: nothing is said twice.
    said: Vec<String>,
    /// Filters of an earlier daemon have been looked for.
    is_clean: bool,
}

/// The program on one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    /// Index of the interface: another one may have its name tomorrow.
    index: u32,
    hook: Hook,
}

/// An interface, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    name: String,
    index: u32,
    is_ethernet: bool,
    leads_to_endpoint: bool,
}

impl Local {
    /// Nowhere yet.
    ///
    /// # Errors
    /// If the kernel does not tell of changes.
    pub fn new(asked: EndpointInterfaces) -> Result<Self> {
        Ok(Self {
            asked,
            running: BTreeMap::new(),
            followed: None,
            changes: Changes::listen()?,
            said: Vec::new(),
            is_clean: false,
        })
    }

    /// Sees to it that the program is wherever replies of these endpoints come in and `xdp` does not see
    /// them, and nowhere else.
    ///
    /// # Errors
    /// If the kernel cannot be asked. What one interface refuses is a note.
    pub fn follow(
        &mut self,
        ebpf: &mut Ebpf,
        pin_dir: &Path,
        xdp: &[Interface],
        endpoints: &BTreeSet<IpAddr>,
        news: &mut News,
    ) -> Result<()> {
        // Thousands of endpoints take a tenth of a second to ask for.
        if !self.changes.any() && self.followed.as_ref() == Some(endpoints) {
            return Ok(());
        }
        self.followed = None;
        let notes = &mut news.notes;
        let mut said = Vec::new();
        let wanted = wanted(&self.asked, xdp, &candidates(endpoints)?, &mut said);
        notes.extend(said.iter().filter(|it| !self.said.contains(it)).cloned());
        self.said = said;
        self.leave(pin_dir, &wanted)?;
        for (name, index) in wanted {
            if self.running.get(&name).is_some_and(|it| it.index == index) {
                continue;
            }
            let attached = object::local(ebpf)
                .and_then(|program| hook::attach(LOCAL, program, pin_dir, &name, notes));
            let hook = match attached {
                Ok(hook) => {
                    news.arrived.push(name.clone());
                    hook
                }
                // Gone between two questions.
                Err(_) if interface::index(&name) != Some(index) => continue,
                Err(error) => {
                    notes.push(format!(
                        "{name} leads to endpoints, but the program that turns their replies could \
                         not be attached: {error:#}"
                    ));
                    Hook::Refused
                }
            };
            self.running.insert(name, Running { index, hook });
        }
        self.followed = Some(endpoints.clone());
        Ok(())
    }

    /// Takes the program off wherever it is and not wanted.
    fn leave(&mut self, pin_dir: &Path, wanted: &BTreeMap<String, u32>) -> Result<()> {
        let is_wanted = |name: &str| wanted.contains_key(name);
        self.running.retain(|name, it| {
            if !is_wanted(name) && it.hook == Hook::Clsact {
                hook::detach_filter(LOCAL, name);
            }
            wanted.get(name) == Some(&it.index)
        });
        for name in pinned(pin_dir)? {
            if !is_wanted(&name) {
                unpin(pin_dir, &name)?;
            }
        }
        if !self.is_clean {
            detach_filters(&is_wanted)?;
            self.is_clean = true;
        }
        Ok(())
    }

    /// Where the program is.
    pub fn running(&self) -> Vec<EndpointInterface> {
        let running = self.running.iter();
        running
            .map(|(name, it)| EndpointInterface {
                name: name.clone(),
                hook: it.hook,
            })
            .collect()
    }
}

/// Takes the program off every interface.
///
/// # Errors
/// If a pin cannot be removed.
pub fn detach(pin_dir: &Path) -> Result<()> {
    for name in pinned(pin_dir)? {
        unpin(pin_dir, &name)?;
    }
    detach_filters(&|_| false)
}

/// Interfaces by their names, and their indices.
fn wanted(
    asked: &EndpointInterfaces,
    xdp: &[Interface],
    candidates: &[Candidate],
    notes: &mut Vec<String>,
) -> BTreeMap<String, u32> {
    let mut wanted = BTreeMap::new();
    for it in candidates {
        let is_seen_by_xdp = xdp.iter().any(|one| one.name == it.name);
        if is_seen_by_xdp || !asked.wants(&it.name, it.leads_to_endpoint) {
            continue;
        }
        if it.is_ethernet {
            wanted.insert(it.name.clone(), it.index);
        } else if it.leads_to_endpoint {
            notes.push(format!(
                "{} leads to endpoints, but its frames are not those of Ethernet: their replies \
                 are not turned back",
                it.name
            ));
        }
    }
    wanted
}

fn candidates(endpoints: &BTreeSet<IpAddr>) -> Result<Vec<Candidate>> {
    let routes = Routes::open()?;
    let mut leading = BTreeSet::new();
    for &endpoint in endpoints {
        leading.extend(routes.interface(endpoint)?);
    }
    let links = interface::links()?;
    let all = interface::all()?.into_iter();
    Ok(all
        .map(|(index, name)| Candidate {
            is_ethernet: links.get(&index).is_some_and(|it| it.is_ethernet),
            leads_to_endpoint: leading.contains(&index),
            name,
            index,
        })
        .collect())
}

/// Names of interfaces that a pinned link is for.
fn pinned(pin_dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(pin_dir).with_context(|| format!("list {}", pin_dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(bpffs::interface(&name, LOCAL.pin));
    }
    Ok(names)
}

fn unpin(pin_dir: &Path, interface: &str) -> Result<()> {
    let pin = LOCAL.pinned(pin_dir, interface);
    fs::remove_file(&pin).with_context(|| format!("unpin {}", pin.display()))
}

/// Filters have no pin that would tell where they are.
fn detach_filters(is_wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    for (_, name) in interface::all()? {
        if !is_wanted(&name) {
            hook::detach_filter(LOCAL, &name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::XdpMode;

    fn candidate(name: &str, index: u32, leads_to_endpoint: bool) -> Candidate {
        Candidate {
            name: name.into(),
            index,
            is_ethernet: name != "wg0" && name != "lo",
            leads_to_endpoint,
        }
    }

    fn node() -> Vec<Candidate> {
        vec![
            candidate("lo", 1, false),
            candidate("eth0", 2, true),
            candidate("cni0", 3, true),
            candidate("veth1", 4, false),
            candidate("veth2", 5, true),
            candidate("wg0", 6, true),
        ]
    }

    fn names(asked: &EndpointInterfaces, notes: &mut Vec<String>) -> Vec<String> {
        let xdp = [Interface {
            name: "eth0".into(),
            mode: XdpMode::Native,
        }];
        wanted(asked, &xdp, &node(), notes).into_keys().collect()
    }

    #[test]
    fn interfaces_that_lead_to_endpoints_and_that_xdp_does_not_see_are_found() {
        let mut notes = Vec::new();
        let found = names(&EndpointInterfaces::Found, &mut notes);
        assert_eq!(found, ["cni0", "veth2"]);
        assert!(
            matches!(&notes[..], [it] if it.starts_with("wg0 leads")),
            "{notes:?}"
        );
    }

    #[test]
    fn named_interfaces_are_the_only_ones() {
        for (asked, found) in [
            (vec!["veth*"], vec!["veth1", "veth2"]),
            (vec!["veth1", "cni0", "gone"], vec!["cni0", "veth1"]),
            (vec!["eth0"], vec![]),
            (vec![], vec![]),
        ] {
            let asked = asked.into_iter().map(str::to_owned).collect();
            let mut notes = Vec::new();
            assert_eq!(names(&EndpointInterfaces::Named(asked), &mut notes), found);
            assert!(notes.is_empty(), "{notes:?}");
        }
    }
}
