//! Many changes of weights in a row.

use anyhow::Result;
use lb_userspace::api::SetWeights;
use lb_userspace::client::Client;

use super::scene::{Scene, Service};

/// Changes of weights, quicker than by a process each, and how soon they were in effect.
pub(super) struct Changes {
    client: Client,
    runtime: tokio::runtime::Runtime,
    effects: Vec<f64>,
}

impl Changes {
    pub(super) fn of(scene: &Scene) -> Result<Self> {
        Ok(Self {
            client: Client::new(&scene.lab().socket()),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            effects: Vec::new(),
        })
    }

    pub(super) fn set(&mut self, service: Service, changes: &[String]) -> Result<()> {
        let asked = SetWeights {
            service: Some(service.name.to_owned()),
            changes: changes.to_vec(),
            dry_run: false,
        };
        let answer = self.runtime.block_on(self.client.set_weights(&asked))?;
        self.effects.extend(answer.effect_ms);
        Ok(())
    }

    /// Prints the times: for people, no verdict.
    pub(super) fn tell(mut self, what: &str) {
        self.effects.sort_by(f64::total_cmp);
        if let [first, .., last] = self.effects[..] {
            let median = self.effects[self.effects.len() / 2];
            eprintln!(
                "{what}: in effect after {first:.1} / {median:.1} / {last:.1} ms (least, median, most)"
            );
        }
    }
}
