//! What can be asked of a running dataplane. Changes nothing.

use super::filter::FlowFilter;
use super::{Control, attached, report, unreadable};
use crate::api::{Backends, Failure, Flows, FlowsQuery, Reasons, Services, Status};

impl Control {
    /// Everything at a glance.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn status(&mut self) -> Result<Status, Failure> {
        let endpoints = self.endpoints()?;
        let mut drops = self.reasons()?.reasons;
        drops.retain(|it| it.verdict == "drop" && it.packets > 0);
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            generation: self.state.generation,
            config_file: self.config_file.display().to_string(),
            config_applied: self.kept.applied.is_some(),
            adopted: self.opened.adopted,
            interfaces: self.opened.interfaces.clone(),
            endpoint_interfaces: attached(&mut self.dataplane)?.endpoint_interfaces(),
            flow_capacity: self.settings.flows,
            node_ports: (self.settings.ports.first, self.settings.ports.last),
            live: report::live(&endpoints),
            services: report::services(&self.state, &self.tables, &report::Reports::of(&endpoints)),
            drops,
            notes: self
                .opened
                .notes
                .iter()
                .chain(&self.notes)
                .cloned()
                .collect(),
        })
    }

    /// The services.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn services(&mut self) -> Result<Services, Failure> {
        let endpoints = self.endpoints()?;
        Ok(Services {
            services: report::services(&self.state, &self.tables, &report::Reports::of(&endpoints)),
        })
    }

    /// The backends, with those that left and still have flows.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn backends(&mut self) -> Result<Backends, Failure> {
        let endpoints = self.endpoints()?;
        Ok(Backends {
            backends: report::backends(
                &self.state,
                &report::Reports::of(&endpoints),
                &self.kept.carried,
            ),
        })
    }

    /// Live flows.
    ///
    /// # Errors
    /// If a name is unknown, the client is no address, or the maps cannot be read.
    pub fn flows(&mut self, query: &FlowsQuery) -> Result<Flows, Failure> {
        let limit = query.limit.unwrap_or(crate::api::DEFAULT_FLOWS);
        let endpoints = self.endpoints()?;
        let filter = FlowFilter::parse(query, &self.state, &endpoints)?;
        let mut flows = attached(&mut self.dataplane)?
            .flows(limit.saturating_add(1), &|flow| filter.wants(flow))
            .map_err(|cause| unreadable(&cause))?;
        let more = flows.len() > limit;
        flows.truncate(limit);
        Ok(Flows { flows, more })
    }

    /// Every reason with its count.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn reasons(&mut self) -> Result<Reasons, Failure> {
        let reasons = attached(&mut self.dataplane)?.reasons();
        Ok(Reasons { reasons })
    }
}
