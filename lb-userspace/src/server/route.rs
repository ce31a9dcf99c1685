//! One function a route: take the request apart, ask the control, answer.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::Shared;
use crate::api::{
    Backends, Code, ConfigAnswer, ConfigQuery, DetachAnswer, Failure, Flows, FlowsQuery, Reasons,
    Services, SetWeights, Status, WeightsAnswer,
};

type Answer<T> = Result<Json<T>, Failure>;

pub(super) async fn healthz(State(shared): State<Shared>) -> Result<&'static str, Failure> {
    let attached = shared.ask(|control| Ok(control.is_attached())).await?;
    if attached {
        Ok("ok\n")
    } else {
        Err(Failure::new(Code::Detached, "detached"))
    }
}

pub(super) async fn status(State(shared): State<Shared>) -> Answer<Status> {
    shared.ask(|control| control.status()).await.map(Json)
}

pub(super) async fn services(State(shared): State<Shared>) -> Answer<Services> {
    shared.ask(|control| control.services()).await.map(Json)
}

pub(super) async fn backends(State(shared): State<Shared>) -> Answer<Backends> {
    shared.ask(|control| control.backends()).await.map(Json)
}

pub(super) async fn flows(
    State(shared): State<Shared>,
    query: Result<Query<FlowsQuery>, QueryRejection>,
) -> Answer<Flows> {
    let query = parsed(query)?;
    shared
        .ask(move |control| control.flows(&query))
        .await
        .map(Json)
}

pub(super) async fn reasons(State(shared): State<Shared>) -> Answer<Reasons> {
    shared.ask(|control| control.reasons()).await.map(Json)
}

pub(super) async fn weights(State(shared): State<Shared>, body: Bytes) -> Answer<WeightsAnswer> {
    let asked = set_weights(&body)?;
    let told = asked.clone();
    let answer = shared
        .ask(move |control| control.set_weights(asked))
        .await?;
    if !answer.dry_run {
        tracing::info!(
            service = answer.service.service,
            generation = answer.generation,
            moved = answer.service.moved,
            "weights set: {}",
            told.changes.join(" ")
        );
    }
    Ok(Json(answer))
}

pub(super) async fn config(
    State(shared): State<Shared>,
    query: Result<Query<ConfigQuery>, QueryRejection>,
    body: Bytes,
) -> Answer<ConfigAnswer> {
    let ConfigQuery { dry_run, file } = parsed(query)?;
    let text = String::from_utf8(body.into())
        .map_err(|_| Failure::new(Code::BadRequest, "the configuration is not UTF-8 text"))?;
    let name = file.unwrap_or_else(|| "configuration".to_owned());
    let answer = shared
        .ask(move |control| control.configure(text, &name, dry_run))
        .await?;
    if !dry_run {
        tracing::info!(generation = answer.generation, "configuration applied");
    }
    Ok(Json(answer))
}

pub(super) async fn detach(State(shared): State<Shared>) -> Answer<DetachAnswer> {
    let answer = shared.ask(|control| control.detach()).await;
    // Also after a failure: there is nothing left to control.
    shared.detached.notify_one();
    answer.map(Json)
}

pub(super) async fn not_found(uri: Uri) -> Failure {
    Failure::new(Code::NotFound, format!("there is no {}", uri.path())).try_this("GET /v1/status")
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Response {
    let error = format!("{} does not take {method}", uri.path());
    let failure = Failure::new(Code::NotFound, error).try_this(if method == Method::GET {
        "POST: it changes something"
    } else {
        "GET: it only tells"
    });
    (StatusCode::METHOD_NOT_ALLOWED, Json(failure)).into_response()
}

fn set_weights(body: &[u8]) -> Result<SetWeights, Failure> {
    serde_json::from_slice(body).map_err(|cause| {
        Failure::new(
            Code::BadRequest,
            format!("the body is not as it should be: {cause}"),
        )
        .try_this(r#"{"service": "echo", "changes": ["new=30"], "dry_run": false}"#)
    })
}

fn parsed<Q>(query: Result<Query<Q>, QueryRejection>) -> Result<Q, Failure> {
    query.map(|Query(query)| query).map_err(|cause| {
        Failure::new(Code::BadRequest, cause.body_text()).try_this("leave the query out")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weights_body_needs_its_changes_only() {
        let asked = set_weights(br#"{"changes": ["new=30"]}"#).unwrap();
        let expected = SetWeights {
            changes: vec!["new=30".into()],
            ..SetWeights::default()
        };
        assert_eq!(asked, expected);
    }

    #[test]
    fn a_mistyped_key_is_named_and_the_shape_shown() {
        let failure = set_weights(br#"{"change": ["new=30"]}"#).unwrap_err();
        assert_eq!(failure.code, Code::BadRequest);
        assert!(
            failure.error.contains("unknown field `change`"),
            "{}",
            failure.error
        );
        assert!(failure.hint.unwrap().contains("\"changes\""));
    }

    #[test]
    fn a_query_is_read_and_its_mistakes_are_failures() {
        let uri: Uri = "/v1/flows?limit=5&client=10.0.0.9".parse().unwrap();
        let query = parsed(Query::<FlowsQuery>::try_from_uri(&uri)).unwrap();
        assert_eq!(
            (query.limit, query.client.as_deref()),
            (Some(5), Some("10.0.0.9"))
        );
        let uri: Uri = "/v1/flows?limit=all".parse().unwrap();
        let failure = parsed(Query::<FlowsQuery>::try_from_uri(&uri)).unwrap_err();
        assert_eq!(failure.code, Code::BadRequest);
    }
}
