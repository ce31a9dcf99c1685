//! Talks to `lbd` over its Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::api::{
    Backends, ConfigAnswer, ConfigQuery, DetachAnswer, Failure, Flows, FlowsQuery, Reasons,
    Services, SetWeights, Status, WeightsAnswer,
};
use crate::exit::Exit;

/// Where `lbd` listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/lb/lbd.sock";

/// An answer later than this is none. Reading a million flows takes a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of one daemon; connects anew for each request.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error("lbd is not running: nobody listens on {}\n  hint: systemctl start lbd, or lbd --config /etc/lb/lb.toml; another socket with --socket", .0.display())]
    NotRunning(PathBuf),
    /// The socket is there and not for this user.
    #[error("no permission to talk to lbd on {}\n  hint: sudo lbctl …, or join the group of the socket", .0.display())]
    Denied(PathBuf),
    /// `lbd` refused; everything is as before.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// `lbd` did not answer, or not in words known here.
    #[error("no usable answer from lbd: {0}\n  hint: lbctl status; the log of lbd may say more")]
    Broken(String),
}

impl Error {
    /// How a program ends that this happened to.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotRunning(_) | Self::Denied(_) => Exit::Unreachable,
            Self::Refused(failure) => failure.exit(),
            Self::Broken(_) => Exit::Failure,
        }
    }
}

/// What every request of a client returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Client {
    /// A client of the daemon that listens on `socket`.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// `GET /v1/status`
    ///
    /// # Errors
    /// See [`Error`], here and below.
    pub async fn status(&self) -> Result<Status> {
        self.get("/v1/status").await
    }

    /// `GET /v1/services`
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn services(&self) -> Result<Services> {
        self.get("/v1/services").await
    }

    /// `GET /v1/backends`
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn backends(&self) -> Result<Backends> {
        self.get("/v1/backends").await
    }

    /// `GET /v1/flows`
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn flows(&self, query: &FlowsQuery) -> Result<Flows> {
        self.get(&with_query("/v1/flows", query)?).await
    }

    /// `GET /v1/reasons`
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn reasons(&self) -> Result<Reasons> {
        self.get("/v1/reasons").await
    }

    /// `POST /v1/weights`
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn set_weights(&self, asked: &SetWeights) -> Result<WeightsAnswer> {
        let body = serde_json::to_vec(asked).map_err(|cause| Error::Broken(cause.to_string()))?;
        self.request(Method::POST, "/v1/weights", body).await
    }

    /// `POST /v1/config`
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn configure(&self, query: &ConfigQuery, text: String) -> Result<ConfigAnswer> {
        let path = with_query("/v1/config", query)?;
        self.request(Method::POST, &path, text.into_bytes()).await
    }

    /// `POST /v1/detach`
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn detach(&self) -> Result<DetachAnswer> {
        self.request(Method::POST, "/v1/detach", Vec::new()).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.request(Method::GET, path, Vec::new()).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|it| self.unreachable(&it))?;
        let late = |_| Error::Broken(format!("none within {} s", PATIENCE.as_secs()));
        let exchanged = tokio::time::timeout(PATIENCE, exchange(stream, method, path, body));
        let (status, body) = exchanged.await.map_err(late)??;
        understand(status, &body)
    }

    fn unreachable(&self, cause: &io::Error) -> Error {
        let socket = self.socket.clone();
        match cause.kind() {
            io::ErrorKind::PermissionDenied => Error::Denied(socket),
            _ => Error::NotRunning(socket),
        }
    }
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes)> {
    let broken = |cause: hyper::Error| Error::Broken(cause.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Ends with the response; its error is the response's too.
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "lb")
        .body(Full::new(Bytes::from(body)))
        .map_err(|cause| Error::Broken(cause.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(broken)?
        .to_bytes();
    driver.abort();
    Ok((status, body))
}

fn understand<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T> {
    let strange = |cause: serde_json::Error| {
        let start: String = String::from_utf8_lossy(body).chars().take(80).collect();
        Error::Broken(format!("HTTP {status}: {cause}: {start}"))
    };
    if status.is_success() {
        return serde_json::from_slice(body).map_err(strange);
    }
    Err(Error::Refused(
        serde_json::from_slice(body).map_err(strange)?,
    ))
}

fn with_query(path: &str, query: &impl Serialize) -> Result<String> {
    let query =
        serde_urlencoded::to_string(query).map_err(|cause| Error::Broken(cause.to_string()))?;
    Ok(if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    })
}

#[cfg(test)]
mod tests;
