//! What only a restart of the daemon changes.

use std::path::Path;

use crate::api::{Code, Failure};
use crate::config::{Config, NodePorts};
use crate::dataplane::{EndpointInterfaces, Interface};
use crate::state::State;
use crate::sysctl;

/// What only a restart changes.
pub(super) struct Fixed {
    pub(super) interfaces: Vec<Interface>,
    pub(super) endpoint_interfaces: EndpointInterfaces,
    pub(super) seed: u64,
    pub(super) flows: u32,
    pub(super) ports: NodePorts,
}

impl Fixed {
    /// Refuses a configuration that needs a restart.
    pub(super) fn allow(&self, config: &Config) -> Result<(), Failure> {
        let asked = &config.settings;
        let key = if asked.interfaces != self.interfaces {
            "interfaces"
        } else if asked.endpoint_interfaces != self.endpoint_interfaces {
            "endpoint-interfaces"
        } else if asked.seed.is_some_and(|seed| seed != self.seed) {
            "seed"
        } else if asked.flows != self.flows {
            "flows"
        } else if asked.ports != self.ports {
            "node-ports"
        } else {
            return Ok(());
        };
        let error = format!("`{key}` differs from what lbd runs with");
        Err(Failure::new(Code::NeedsRestart, error).try_this(format!(
            "leave `{key}` as it is, or change the file of lbd and restart it: flows go on meanwhile"
        )))
    }

    /// Sees to the switches of the node that `state` needs; returns what to tell about them.
    pub(super) fn prepare(&self, state: &State, policy: sysctl::Policy) -> Vec<String> {
        let names = self.interfaces.iter().map(|it| it.name.as_str());
        prepare(&names.collect::<Vec<_>>(), state, policy)
    }
}

/// Sees to the switches of these interfaces; returns what to tell about them.
pub(super) fn prepare(interfaces: &[&str], state: &State, policy: sysctl::Policy) -> Vec<String> {
    let root = Path::new(sysctl::ROOT);
    sysctl::prepare(root, interfaces, &state.desired.services, policy)
}
