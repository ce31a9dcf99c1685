//! Time to build a service's table.

use std::time::Instant;

use anyhow::Result;
use lb_userspace::table::{Backend, Endpoint, SlotCount, TableBuilder};
use lb_userspace::weights::from_relative;

use super::figures::Samples;

/// One size of service.
#[derive(Clone, Debug)]
pub struct Build {
    /// Endpoints of each of the two backends.
    pub endpoints: u16,
    /// Milliseconds with nothing kept: a new service.
    pub cold: Samples,
    /// Milliseconds with the endpoints known and the weights changed.
    pub warm: Samples,
}

/// Builds the table of two backends of 100 and of 1000 endpoints.
pub fn measure(rounds: usize) -> Result<Vec<Build>> {
    [100, 1000]
        .into_iter()
        .map(|endpoints| build(endpoints, rounds))
        .collect()
}

fn build(endpoints: u16, rounds: usize) -> Result<Build> {
    let (mut cold, mut warm) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        let mut builder = TableBuilder::new(round as u64, SlotCount::default());
        cold.add(once(&mut builder, endpoints, [9, 1])?);
        warm.add(once(&mut builder, endpoints, [3, 1])?);
    }
    Ok(Build {
        endpoints,
        cold,
        warm,
    })
}

/// Milliseconds of one build.
fn once(builder: &mut TableBuilder, endpoints: u16, weights: [u64; 2]) -> Result<f64> {
    let backends: Vec<_> = (0..)
        .zip(from_relative(&weights)?)
        .map(|(number, weight)| Backend {
            name: format!("backend-{number}"),
            weight,
            endpoints: (1..=endpoints)
                .map(|endpoint| Endpoint {
                    address: format!("10.{number}.{}.{}:80", endpoint >> 8, endpoint & 0xff),
                    id: number * endpoints + endpoint,
                })
                .collect(),
        })
        .collect();
    let start = Instant::now();
    builder.build(&backends)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
