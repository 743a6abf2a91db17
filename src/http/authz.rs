//! Verdicts over HTTP, in the dialect of the proxy that asks. The hot path: no store, no lock, no waiting.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::gate::{Question, Reply, dialect};

use super::App;
use super::answer::{Problem, named};

/// For nginx `auth_request` on the public listener.
pub(super) async fn nginx(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(throttle): Path<String>,
    headers: HeaderMap,
) -> Response {
    if app.authz_to_loopback_only && !peer.ip().to_canonical().is_loopback() {
        let detail = "Verdicts are answered to loopback and on ECHO_GATE_LISTEN only.";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    answer(&app, &throttle, &headers)
}

/// For nginx `auth_request` on a listener that proxies alone can reach.
pub(super) async fn nginx_trusted(
    State(app): State<Arc<App>>,
    Path(throttle): Path<String>,
    headers: HeaderMap,
) -> Response {
    answer(&app, &throttle, &headers)
}

fn answer(app: &App, throttle: &str, headers: &HeaderMap) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key_header = app.gate.key_header(throttle);
    let key = key_header.and_then(|name| headers.get(name)).map(HeaderValue::as_bytes);
    let question = Question { method: text("x-original-method"), path: path_of(text("x-original-url")), key };
    let reply = app.gate.ask(throttle, question, app.clock.now());
    let spoken = dialect::nginx(&reply.verdict);
    let mut response = StatusCode::from_u16(spoken.status).unwrap_or(StatusCode::FORBIDDEN).into_response();
    describe(&mut response, throttle, &reply);
    if let Some(status) = spoken.echo_status {
        response.headers_mut().insert(named("echo-status"), HeaderValue::from(status));
    }
    response
}

/// The headers that every verdict bears.
fn describe(response: &mut Response, throttle: &str, reply: &Reply) {
    let headers = response.headers_mut();
    let decision = if reply.verdict.admitted { "allow" } else { "deny" };
    headers.insert(named("echo-decision"), HeaderValue::from_static(decision));
    headers.insert(named("echo-reason"), HeaderValue::from_static(reply.verdict.reason.as_str()));
    if let Ok(name) = HeaderValue::from_str(throttle) {
        headers.insert(named("echo-throttle"), name);
    }
    headers.insert(named("echo-generation"), HeaderValue::from(reply.verdict.generation));
    headers.insert(named("echo-state-age-ms"), HeaderValue::from(reply.state_age_ms));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !reply.verdict.admitted {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(reply.retry_after_s));
    }
}

/// The path of an absolute URL, without its query; never decoded or normalised.
fn path_of(url: &str) -> &str {
    let rest = if url.starts_with('/') { url } else { url.split_once("://").map_or(url, |(_, rest)| rest) };
    let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
    path.split(['?', '#']).next().unwrap_or(path)
}
