//! Why a request was not followed.

use crate::weights::WeightError;

/// Why a request was not followed. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing is configured.
    #[error("no service is configured: add a [[service]] to the configuration")]
    NoServices,
    /// Several services and none was named.
    #[error("there are several services: name one with -s ({})", known.join(", "))]
    ServiceRequired {
        /// The services there are.
        known: Vec<String>,
    },
    /// No service of that name.
    #[error("no service `{name}`: {}", name_hint(nearest.as_deref(), known))]
    UnknownService {
        /// What was asked for.
        name: String,
        /// The most similar name there is, if one is similar.
        nearest: Option<String>,
        /// The services there are.
        known: Vec<String>,
    },
    /// The weights make no sense.
    #[error(transparent)]
    Weights(WeightError),
    /// A weight for a backend that has no endpoints.
    #[error("backend `{backend}` has no endpoints: add endpoints to it first, or leave it at 0")]
    NoEndpoints {
        /// The backend.
        backend: String,
    },
}

fn name_hint(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("there are {}", known.join(", ")),
    }
}
