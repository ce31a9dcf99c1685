//! Failures as HTTP responses.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::api::{Code, Failure};

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (status(self.code), Json(self)).into_response()
    }
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::BadRequest | Code::ServiceRequired => StatusCode::BAD_REQUEST,
        Code::NotFound | Code::UnknownName => StatusCode::NOT_FOUND,
        Code::BadWeights | Code::BadConfig => StatusCode::UNPROCESSABLE_ENTITY,
        Code::NeedsRestart | Code::AlreadyRunning => StatusCode::CONFLICT,
        Code::KernelRefused | Code::NotPersisted => StatusCode::INSUFFICIENT_STORAGE,
        Code::Detached => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
