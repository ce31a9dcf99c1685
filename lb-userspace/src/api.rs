//! What `lbd` and its clients say to each other: JSON over HTTP/1.1, also what `lbctl -o json` prints.
//!
//! | Request | Body or query | Answer |
//! |---|---|---|
//! | `GET /healthz` | | `ok` |
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/services` | | [`Services`] |
//! | `GET /v1/backends` | | [`Backends`] |
//! | `GET /v1/flows` | query [`FlowsQuery`] | [`Flows`] |
//! | `GET /v1/reasons` | | [`Reasons`] |
//! | `POST /v1/weights` | body [`SetWeights`] | [`WeightsAnswer`] |
//! | `POST /v1/config` | query [`ConfigQuery`], body TOML | [`ConfigAnswer`] |
//! | `POST /v1/detach` | | [`DetachAnswer`] |
//!
//! An error is a [`Failure`]. Fields are only ever added.

mod answer;
mod failure;

use serde::{Deserialize, Serialize};

pub use answer::{
    BackendShift, BackendView, Backends, ConfigAnswer, DetachAnswer, EndpointView, Flows,
    IdleSeconds, Origin, Reasons, ServiceShift, ServiceView, Services, Share, Status,
    WeightsAnswer,
};
pub use failure::{Code, Failure};

/// Flows a listing has when nobody says how many.
pub const DEFAULT_FLOWS: usize = 100;

/// New weights for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetWeights {
    /// The service; may be left out if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `NAME=VALUE` each, as typed after `lbctl set-weight`.
    pub changes: Vec<String>,
    /// Tell what would happen and do nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// How to take a posted configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigQuery {
    /// Tell what would happen and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// What errors call the text: the name of its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Which flows to list. All that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowsQuery {
    /// At most so many; [`DEFAULT_FLOWS`] if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Name of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Name of the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Address of the client, with or without port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}
