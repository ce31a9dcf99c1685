//! What the kernel does: its endpoints, flows and reasons.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lb_common::address::standard;
use lb_common::record::{Endpoint, TableRef};
use lb_common::verdict::Reason;

use super::{Dataplane, EndpointReport, FlowReport, LiveFlows, ReasonCount, counters, flows};
use crate::desired::Protocol;

impl Dataplane {
    /// Every endpoint the kernel knows: configured ones and those kept for their live flows.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn endpoints(&self) -> Result<Vec<EndpointReport>> {
        let live = self.maps.census.now();
        let last = self.image.endpoints.keys().last().copied().unwrap_or(0);
        let mut slots = vec![0; usize::from(last) + 1];
        for service in self.ids.services.keys() {
            let word = self.image.services[service].table;
            let base = TableRef::from_word(word).base;
            let named = self
                .image
                .slots(word)
                .map_or(&[][..], |slots| slots.named());
            for &(slot, count) in named {
                slots[usize::from(base.wrapping_add(slot))] = count;
            }
        }
        let counters = counters::of_endpoints(&self.ebpf, self.maps.cpus(), last)?;
        let mut reports = Vec::new();
        for (&id, record) in &*self.image.endpoints {
            let Some((service, backend, address)) = self.names(record) else {
                continue;
            };
            let at = usize::from(id);
            reports.push(EndpointReport {
                service,
                backend,
                address,
                configured: self.ids.endpoints.contains(id),
                slots: slots[at],
                counters: counters[at],
                live: live.get(at).copied().unwrap_or_default(),
            });
        }
        Ok(reports)
    }

    /// Live flows of each backend of a service; of a large flow table as they were some seconds ago.
    pub fn live_lately(&self, service: &str) -> HashMap<String, LiveFlows> {
        let mut live: HashMap<String, LiveFlows> = HashMap::new();
        let name = |id: &u16| Some(&self.desired.services.get(*self.ids.services.get(id)?)?.name);
        let mut ids = self.ids.services.keys().copied();
        let Some(id) = ids.find(|id| name(id).is_some_and(|name| name == service)) else {
            return live;
        };
        let counted = self.maps.census.lately();
        for (&endpoint, record) in &*self.image.endpoints {
            let flows = counted.get(usize::from(endpoint)).copied();
            let backend = self.image.backends.get(&record.backend);
            if let (true, Some(flows), Some(backend)) = (record.service == id, flows, backend) {
                let sum = live.entry(backend.clone()).or_default();
                *sum = *sum + flows;
            }
        }
        live
    }

    /// Live flows, at most `limit`, that `keep` wants.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn flows(
        &self,
        limit: usize,
        keep: &dyn Fn(&FlowReport) -> bool,
    ) -> Result<Vec<FlowReport>> {
        let now = flows::now();
        let tables = self.maps.flows();
        let reports = tables.live(now).filter_map(|flow| self.report(&flow, now));
        Ok(reports.filter(|report| keep(report)).take(limit).collect())
    }

    fn report(&self, flow: &flows::Flow, now: u32) -> Option<FlowReport> {
        let record = self.image.endpoints.get(&flow.state.endpoint())?;
        let (service, backend, mut endpoint) = self.names(record)?;
        endpoint.set_port(record.port_for(flow.port));
        let idle = self.image.services.get(&record.service)?.idle;
        let progress = flow.state.progress();
        let silent = progress.idle_ticks(idle) as i32 - flow.state.remaining(now);
        let nanoseconds = u64::from(silent.max(0) as u32) << lb_common::limits::TICK_SHIFT;
        Some(FlowReport {
            protocol: if progress.is_udp() {
                Protocol::Udp
            } else {
                Protocol::Tcp
            },
            client: SocketAddr::new(flow.client, flow.client_port),
            service,
            port: flow.port,
            backend,
            endpoint,
            node_port: (!flow.state.is_one_sided()).then_some(flow.state.node_port()),
            phase: progress.phase().name().to_owned(),
            idle_seconds: (nanoseconds / 1_000_000_000) as u32,
        })
    }

    /// Service name, backend name and address of an endpoint; nothing if its service is gone.
    fn names(&self, record: &Endpoint) -> Option<(String, String, SocketAddr)> {
        let index = *self.ids.services.get(&record.service)?;
        let service = self.desired.services.get(index)?.name.clone();
        let backend = self.image.backends.get(&record.backend)?.clone();
        let address: IpAddr = standard(record.family, record.address)?;
        Some((service, backend, SocketAddr::new(address, record.port)))
    }

    /// Every reason with its count.
    pub fn reasons(&self) -> Vec<ReasonCount> {
        counters::reasons(self.maps.cpus())
    }

    /// How often one reason was met.
    pub fn count_of(&self, reason: Reason) -> u64 {
        counters::of_reason(self.maps.cpus(), reason)
    }
}
