//! Answers that refuse: RFC 9457 problems that always bear `detail`, the words the guide prints.
//!
//! What went wrong inside goes to the log, never to the client.

use std::fmt::Display;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::source::rest::BodyError;

use super::AppCore;
use super::refusal::{Refusal, table};
use super::route::{Act, Route};

/// Marks an answer to somebody whose key is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Authenticated;

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct ProblemResponse {
    status: StatusCode,
    detail: String,
    members: Map<String, Value>,
}

impl ProblemResponse {
    /// A refusal whose words need nothing filled in.
    pub(super) fn of(refusal: &'static Refusal) -> Self {
        Self::filled(refusal, &[])
    }

    /// A refusal with these values in place of what stands in braces.
    pub(super) fn filled(refusal: &'static Refusal, values: &[(&str, &dyn Display)]) -> Self {
        Self::worded(refusal, refusal.fill(values))
    }

    /// A refusal that is worded by the error behind it.
    pub(super) fn worded(refusal: &'static Refusal, detail: String) -> Self {
        Self {
            status: refusal.status,
            detail,
            members: Map::new(),
        }
    }

    /// The same, of an order of which it is not known whether it was done, or still will be.
    pub(super) fn undecided(self) -> Self {
        self.with("outcome", json!("unknown"))
    }

    /// Adds a member beside `detail`.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }
}

impl From<BodyError> for ProblemResponse {
    fn from(error: BodyError) -> Self {
        let detail = error.to_string();
        match error {
            BodyError::Malformed { path, .. } => {
                Self::worded(&table::MALFORMED, detail).with("path", json!(path))
            }
            BodyError::Fields(errors) => {
                Self::worded(&table::FIELDS, detail).with("errors", json!(errors))
            }
        }
    }
}

impl ProblemResponse {
    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// Its body.
    pub(super) fn members(&self) -> Map<String, Value> {
        let mut body = Map::from_iter([("detail".to_owned(), Value::String(self.detail.clone()))]);
        body.insert("status".to_owned(), json!(self.status.as_u16()));
        body.insert(
            "title".to_owned(),
            json!(self.status.canonical_reason().unwrap_or("Error")),
        );
        body.extend(self.members.clone());
        body
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let kind = [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        )];
        (
            self.status,
            kind,
            Json(Value::Object(self.members()))
                .into_response()
                .into_body(),
        )
            .into_response()
    }
}

/// A body as bytes, or the refusal of one that is too large or broke off.
pub(super) fn body(
    read: Result<axum::body::Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<axum::body::Bytes, ProblemResponse> {
    read.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => ProblemResponse::of(&table::BROKEN),
    })
}

pub(super) fn too_large() -> ProblemResponse {
    ProblemResponse::of(&table::TOO_LARGE)
}

pub(super) async fn no_route() -> ProblemResponse {
    ProblemResponse::of(&table::NO_ROUTE)
}

pub(super) async fn no_method() -> ProblemResponse {
    ProblemResponse::of(&table::NO_METHOD)
}

/// Counts what was answered. Verdicts are not counted here: the gate counts them itself, at a
/// fraction of the cost. What asked for one and got none is.
pub(super) async fn count(
    State(core): State<Arc<AppCore>>,
    request: Request,
    next: Next,
) -> Response {
    let route = Route::of(&request);
    let asks_verdict = route.is_some_and(|route| route.act == Act::Verdict);
    let (method, began) = (request.method().clone(), core.clock.elapsed());
    let response = next.run(request).await;
    let status = response.status();
    if asks_verdict && status.is_success() {
        return response;
    }
    let took = core.clock.elapsed().saturating_sub(began);
    core.metrics.count_request(
        route.map(|route| route.path),
        method.as_str(),
        status.as_u16(),
        took,
    );
    let commanded = route.filter(|route| route.takes_method(&method));
    if let Some(kind) = commanded.and_then(Route::command) {
        core.metrics.count_command(kind.as_str(), status.as_u16());
    }
    if status.is_server_error() {
        core.metrics.count_error();
    }
    response
}

/// A header of ours.
pub(super) fn named(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}
