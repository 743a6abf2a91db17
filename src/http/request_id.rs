//! One id a request, from its caller or made here, and the trace it belongs to: in the answer, the
//! log and the audit entry. And one line of the log when it is answered.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use super::answer::Authenticated;
use super::route::{Act, Route};
use super::{AppCore, AppDoors, client_ip};

/// The id of the request at hand.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) String);

/// Longest id that is accepted.
const LIMIT: usize = 128;
/// Longest path in the log, characters.
const PATH_LIMIT: usize = 200;

/// Its header.
pub(super) const NAME: HeaderName = HeaderName::from_static("request-id");

/// The id the caller gave, if it is one.
pub(super) fn given(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers
        .get(NAME)
        .filter(|value| value.to_str().is_ok_and(fits))
}

/// Accepts or makes the id, and answers it.
pub(super) async fn assign_request_id(
    State(core): State<Arc<AppCore>>,
    State(doors): State<Arc<AppDoors>>,
    mut request: Request,
    next: Next,
) -> Response {
    let given = given(request.headers()).and_then(|value| value.to_str().ok());
    let id = given.map_or_else(|| ulid::Ulid::generate().to_string(), str::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = match trace(request.headers()) {
        Some(trace_id) => tracing::info_span!("request", request_id = id, trace_id),
        None => tracing::info_span!("request", request_id = id),
    };
    let mut response = logged((&core, &doors), request, next)
        .instrument(span)
        .await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(NAME, value);
    }
    response
}

/// Runs a request and writes its line: commands and what went wrong as info, what only reads,
/// verdicts too, as debug. Of what is refused to strangers not every one has a line. The query is
/// not written: some clients put keys there.
async fn logged((core, doors): (&AppCore, &AppDoors), request: Request, next: Next) -> Response {
    let (method, client) = (request.method().clone(), client_ip::origin(doors, &request));
    let path: String = request.uri().path().chars().take(PATH_LIMIT).collect();
    let commands =
        method == Method::POST && Route::of(&request).is_none_or(|route| route.act != Act::Verdict);
    let began = core.clock.elapsed();
    let response = next.run(request).await;
    let stranger =
        response.extensions().get::<Authenticated>().is_none() && !response.status().is_success();
    if stranger
        && worth_a_line(commands, response.status())
        && !doors.strangers.refused(client, response.status().as_u16())
    {
        return response;
    }
    let (status, took) = (
        response.status().as_u16(),
        core.clock.elapsed().saturating_sub(began),
    );
    let ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    if worth_a_line(commands, response.status()) {
        tracing::info!(%method, path, status, ms, %client, "answered");
    } else {
        tracing::debug!(%method, path, status, ms, %client, "answered");
    }
    response
}

/// Whether it is more than reading, or went wrong.
fn worth_a_line(commands: bool, status: StatusCode) -> bool {
    commands || status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn fits(id: &str) -> bool {
    (1..=LIMIT).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The trace that a W3C `traceparent` names: `00-TRACE-PARENT-FLAGS`, in lower-case hex; a later
/// version may say more at its end. What is malformed, or said twice, names none.
fn trace(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("traceparent").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let mut parts = value.to_str().ok()?.split('-');
    let hex = |part: Option<&'_ str>, length: usize| {
        part.is_some_and(|part| {
            part.len() == length
                && part
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    };
    let version = parts.next()?;
    let trace = parts.next()?;
    let parent = parts.next()?;
    let well_formed = hex(Some(version), 2)
        && version != "ff"
        && hex(Some(trace), 32)
        && hex(Some(parent), 16)
        && hex(parts.next(), 2)
        && (version != "00" || parts.next().is_none());
    let named = trace.bytes().any(|b| b != b'0') && parent.bytes().any(|b| b != b'0');
    (well_formed && named).then_some(trace)
}
