//! Over a real socket, against a router that answers as `lbd` does.

use axum::Router;
use axum::extract::Query;
use axum::routing::{get, post};

use super::*;
use crate::api::Code;
use crate::server::{Claim, Socket};

/// A socket served by `router`, and a client of it.
fn served(router: Router) -> (tempfile::TempDir, Socket, Client) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lbd.sock");
    let claim = Claim::socket(&path).unwrap();
    let (socket, listener) = Socket::listen(&path, claim).unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    (directory, socket, Client::new(&path))
}

#[tokio::test]
async fn a_query_arrives_as_it_was_sent() {
    async fn echo(Query(query): Query<FlowsQuery>) -> Failure {
        Failure::new(Code::Internal, format!("{query:?}"))
    }
    let (_directory, _socket, client) = served(Router::new().route("/v1/flows", get(echo)));
    let asked = FlowsQuery {
        limit: Some(7),
        client: Some("[fd00::1]:40000".into()),
        ..FlowsQuery::default()
    };
    let error = client.flows(&asked).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{asked:?}"));
}

#[tokio::test]
async fn a_failure_keeps_code_and_hint_on_its_way() {
    async fn refuse(body: Bytes) -> Failure {
        let asked: SetWeights = serde_json::from_slice(&body).unwrap();
        Failure::new(Code::BadWeights, asked.changes.join(" ")).try_this("another number")
    }
    let (_directory, _socket, client) = served(Router::new().route("/v1/weights", post(refuse)));
    let asked = SetWeights {
        changes: vec!["new=30".into()],
        ..SetWeights::default()
    };
    let error = client.set_weights(&asked).await.unwrap_err();
    assert_eq!(error.to_string(), "new=30\n  hint: another number");
    assert_eq!(error.exit(), Exit::Usage);
}

#[tokio::test]
async fn an_answer_in_other_words_is_shown() {
    let (_directory, _socket, client) =
        served(Router::new().route("/v1/status", get(|| async { "hello" })));
    let error = client.status().await.unwrap_err();
    assert!(error.to_string().contains("hello"), "{error}");
    assert_eq!(error.exit(), Exit::Failure);
}

#[tokio::test]
async fn nobody_there_is_said_with_how_to_start_it() {
    let client = Client::new(Path::new("/nonexistent/lbd.sock"));
    let error = client.status().await.unwrap_err();
    assert!(
        error.to_string().starts_with("lbd is not running"),
        "{error}"
    );
    assert_eq!(error.exit(), Exit::Unreachable);
}

#[test]
fn a_closed_door_is_not_an_empty_house() {
    let client = Client::new(Path::new("/run/lb/lbd.sock"));
    let error = client.unreachable(&io::Error::from(io::ErrorKind::PermissionDenied));
    assert!(matches!(error, Error::Denied(_)));
    assert_eq!(error.exit(), Exit::Unreachable);
}
