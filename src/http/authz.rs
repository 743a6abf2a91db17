//! Verdicts over HTTP, in the dialect of the proxy that asks. The hot path: no store, no lock, no
//! waiting.
//!
//! Any method works and a body is not read. What a client of the proxy may have written is believed
//! nowhere: the original method and path come from where the proxy of that dialect puts them, the
//! caller's name from the one header that the throttle declares and the proxy sets.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::decide::verdict::Reason;
use crate::domain::target::GateSpec;
use crate::gate::dialect::{Dialect, path_of, path_of_url};
use crate::gate::{Question, VerdictResponse};

use super::answer::ProblemResponse;
use super::client_ip::is_forwarded;
use super::refusal::table;
use super::{AppCore, AppDoors, front, request_id};

const DECISION: HeaderName = HeaderName::from_static("echo-decision");
const THROTTLE: HeaderName = HeaderName::from_static("echo-throttle");
const REASON: HeaderName = HeaderName::from_static("echo-reason");
const GENERATION: HeaderName = HeaderName::from_static("echo-generation");
const STATE_AGE: HeaderName = HeaderName::from_static("echo-state-age-ms");
const STATUS: HeaderName = HeaderName::from_static("echo-status");

/// On the public listener.
pub(super) async fn public(
    State(core): State<Arc<AppCore>>,
    State(doors): State<Arc<AppDoors>>,
    request: Request,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let near = peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback());
    // A proxy on this machine that passes strangers on says so; what it asks for itself, as nginx
    // does, says nothing of them.
    if doors.authz_to_loopback_only && (!near || is_forwarded(request.headers())) {
        return ProblemResponse::of(&table::FAR).into_response();
    }
    answer(&core, &doors, &request)
}

/// On a listener that proxies alone can reach.
pub(super) async fn trusted(
    State(core): State<Arc<AppCore>>,
    State(doors): State<Arc<AppDoors>>,
    request: Request,
) -> Response {
    answer(&core, &doors, &request)
}

fn answer(core: &AppCore, doors: &AppDoors, request: &Request) -> Response {
    // Two readers of one head: what a proxy admits must be what it asked about.
    if let Err(problem) = front::framed(request) {
        // Never a 5xx, which Envoy takes for a failure of ours and may fail open upon.
        let ours = problem.status().is_server_error();
        return if ours {
            ProblemResponse::of(&table::CODING_ASKED)
        } else {
            problem
        }
        .into_response();
    }
    let headers = request.headers();
    let Some((dialect, throttle, rest)) = Dialect::of_path(request.uri().path()) else {
        return ProblemResponse::of(&table::NO_ROUTE).into_response();
    };
    let (method, path) = match dialect {
        // A recipe that keeps the client's query from us has Envoy say the path in a header of its
        // own.
        Dialect::Envoy if rest.is_empty() => (
            request.method().as_str(),
            path_of(only(headers, "x-envoy-original-path")),
        ),
        Dialect::Envoy => (request.method().as_str(), rest),
        Dialect::Nginx => (
            only(headers, "x-original-method"),
            path_of_url(only(headers, "x-original-url")),
        ),
        Dialect::Forward => (
            only(headers, "x-forwarded-method"),
            path_of(only(headers, "x-forwarded-uri")),
        ),
    };
    let read = |spec: &GateSpec| Question {
        method,
        path,
        key: spec
            .key_header
            .as_deref()
            .and_then(|name| caller(headers, name)),
    };
    let reply = core.gate.ask_by(throttle, read, core.clock.moment());
    if reply.verdict.reason == Reason::Unknown {
        core.metrics.count_unknown(dialect.as_str());
        doors.strangers.unknown(throttle, dialect.as_str());
    }
    let spoken = dialect.says(&reply.verdict);
    let mut response = StatusCode::from_u16(spoken.status)
        .unwrap_or(StatusCode::FORBIDDEN)
        .into_response();
    describe(response.headers_mut(), throttle, &reply);
    if let Some(status) = spoken.echo_status {
        response
            .headers_mut()
            .insert(STATUS, HeaderValue::from(status));
    }
    if let Some(id) = request_id::given(headers) {
        response.headers_mut().insert(request_id::NAME, id.clone());
    }
    response
}

/// A header that the proxy sets once. Said twice, one of them is somebody else's, so neither is
/// believed.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        _ => "",
    }
}

/// Who asks. Whoever names several is one caller, the same for all: nobody picks the best of them.
fn caller<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(if values.next().is_none() {
        first.as_bytes()
    } else {
        b","
    })
}

/// The headers that every verdict bears.
fn describe(headers: &mut HeaderMap, throttle: &str, reply: &VerdictResponse) {
    headers.reserve(8);
    let decision = if reply.verdict.admitted {
        "allow"
    } else {
        "deny"
    };
    headers.insert(DECISION, HeaderValue::from_static(decision));
    headers.insert(
        REASON,
        HeaderValue::from_static(reply.verdict.reason.as_str()),
    );
    if let Ok(name) = HeaderValue::from_str(throttle) {
        headers.insert(THROTTLE, name);
    }
    headers.insert(GENERATION, HeaderValue::from(reply.verdict.generation));
    headers.insert(STATE_AGE, HeaderValue::from(reply.state_age_ms));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !reply.verdict.admitted {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(reply.retry_after_s));
    }
}
