//! HTTP over a Unix socket, as `api` describes it. Decides nothing: `control` does.

mod answer;
mod route;
mod socket;

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::net::UnixListener;
use tokio::sync::Notify;

pub use socket::{Claim, Socket};

use crate::api::{Code, Failure};
use crate::control::Control;

/// Time for requests under way when the daemon stops.
const GRACE: Duration = Duration::from_secs(5);

/// The one control, shared by all requests. Each holds it for one call.
#[derive(Clone)]
pub struct Shared {
    control: Arc<Mutex<Control>>,
    detached: Arc<Notify>,
}

impl Shared {
    /// Shares `control`.
    pub fn new(control: Control) -> Self {
        Self {
            control: Arc::new(Mutex::new(control)),
            detached: Arc::new(Notify::new()),
        }
    }

    /// Runs `call` where blocking does no harm.
    ///
    /// # Errors
    /// What `call` fails with; also if it panics.
    pub async fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Control) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let control = Arc::clone(&self.control);
        // A call that panicked has not committed: what the lock guards is as before.
        let locked = move || call(&mut control.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(locked)
            .await
            .unwrap_or_else(|cause| {
                Err(Failure::new(
                    Code::Internal,
                    format!("the request was not finished: {cause}"),
                ))
            })
    }

    /// Returns once the program was taken off the interfaces.
    pub async fn detached(&self) {
        self.detached.notified().await;
    }
}

/// Serves until `stop` returns, and finishes what was begun if that takes no longer than five
/// seconds.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: UnixListener,
    shared: Shared,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let stopped = Arc::new(Notify::new());
    let told = Arc::clone(&stopped);
    let stop = async move {
        stop.await;
        told.notify_one();
    };
    let serving = axum::serve(listener, router(shared)).with_graceful_shutdown(stop);
    let too_late = async {
        stopped.notified().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving.into_future() => served,
        () = too_late => Ok(()),
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/healthz", get(route::healthz))
        .route("/v1/status", get(route::status))
        .route("/v1/services", get(route::services))
        .route("/v1/backends", get(route::backends))
        .route("/v1/flows", get(route::flows))
        .route("/v1/reasons", get(route::reasons))
        .route("/v1/weights", post(route::weights))
        .route("/v1/config", post(route::config))
        .route("/v1/detach", post(route::detach))
        .fallback(route::not_found)
        .method_not_allowed_fallback(route::wrong_method)
        .with_state(shared)
}
