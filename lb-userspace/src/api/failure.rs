//! Errors as clients get them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config;
use crate::exit::Exit;
use crate::state::Refusal;
use crate::weights::WeightError;

/// A request that was not followed; everything is as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong.
    pub error: String,
    /// What to try, where `error` does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What kind of failure it is, for programs.
    pub code: Code,
}

/// Kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request itself makes no sense.
    BadRequest,
    /// No such path, or not with this method.
    NotFound,
    /// The weights make no sense.
    BadWeights,
    /// No service or backend of that name.
    UnknownName,
    /// There are several services and none was named.
    ServiceRequired,
    /// The configuration has a mistake.
    BadConfig,
    /// The configuration changes what only a restart of `lbd` can change.
    NeedsRestart,
    /// The kernel refused, or its maps have no room.
    KernelRefused,
    /// The change could not be kept on disk.
    NotPersisted,
    /// The program was taken off the interfaces.
    Detached,
    /// Another `lbd` has the socket or the pins.
    AlreadyRunning,
    /// Nobody expected this.
    Internal,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(code: Code, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            hint: None,
            code,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn try_this(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// How a program ends that this happened to.
    pub fn exit(&self) -> Exit {
        match self.code {
            Code::Internal => Exit::Failure,
            Code::KernelRefused | Code::NotPersisted => Exit::Refused,
            Code::AlreadyRunning | Code::Detached => Exit::Unreachable,
            Code::BadRequest
            | Code::NotFound
            | Code::BadWeights
            | Code::UnknownName
            | Code::ServiceRequired
            | Code::BadConfig
            | Code::NeedsRestart => Exit::Usage,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.error)?;
        match &self.hint {
            Some(hint) => write!(out, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<WeightError> for Failure {
    fn from(cause: WeightError) -> Self {
        let code = match cause {
            WeightError::Unknown { .. } => Code::UnknownName,
            _ => Code::BadWeights,
        };
        Self::new(code, cause.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(cause: Refusal) -> Self {
        let code = match cause {
            Refusal::Weights(cause) => return cause.into(),
            Refusal::NoServices | Refusal::UnknownService { .. } => Code::UnknownName,
            Refusal::ServiceRequired { .. } => Code::ServiceRequired,
            Refusal::NoEndpoints { .. } => Code::BadWeights,
        };
        Self::new(code, cause.to_string())
    }
}

impl From<config::Error> for Failure {
    fn from(cause: config::Error) -> Self {
        Self::new(Code::BadConfig, cause.to_string()).try_this(cause.hint)
    }
}
