//! The key check: who may call a protected route.
//!
//! Digests are compared in constant time, so neither a key's bytes nor its length leak.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::{Caller, Role};
use crate::domain::audit::{AuditDraft, CommandRecord, CommandResponse};
use crate::source::rest::RefusedCommand;

use super::answer::{Authenticated, ProblemResponse};
use super::limits;
use super::refusal::table;
use super::request_id::RequestId;
use super::route::{CommandKind, Route};
use super::{App, AppCore, AppDoors};

/// The scheme, in whatever case, and the space behind it.
const BEARER: &[u8] = b"Bearer ";

/// Label of the metric: a key that nobody has.
pub(super) const WRONG: &str = "wrong";

/// Whose key a request bore, for audit entries.
#[derive(Clone, Debug)]
pub(super) struct Actor(pub(super) String);

/// Lets a request through whose key is right and may do this.
pub(super) async fn check(
    State((app, route, role)): State<(App, &'static Route, Role)>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match judge(&app.core, &app.doors, request.headers()) {
        Ok(caller) => caller,
        Err(problem) => {
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            return response;
        }
    };
    if !caller.may(role) {
        app.core.metrics.count_key_refused("role");
        let problem = ProblemResponse::filled(
            &table::ROLE,
            &[
                ("path", &route.path),
                ("role", &role.as_str()),
                ("key", &caller.name),
            ],
        );
        if let Some(kind) = route.command() {
            let id = request
                .extensions()
                .get::<RequestId>()
                .map(|RequestId(id)| id.clone())
                .unwrap_or_default();
            // One that does not come is recorded all the same.
            let raw = limits::whole(request.into_body(), route.body)
                .await
                .unwrap_or_default();
            record(
                &app.core,
                &caller,
                &problem,
                kind,
                (id, RefusedCommand::read(&raw)),
            )
            .await;
        }
        let mut response = problem.into_response();
        response.extensions_mut().insert(Authenticated);
        return response;
    }
    request
        .extensions_mut()
        .insert(Actor(caller.name.to_string()));
    let mut response = next.run(request).await;
    response.extensions_mut().insert(Authenticated);
    response
}

fn judge(core: &AppCore, doors: &AppDoors, headers: &HeaderMap) -> Result<Caller, ProblemResponse> {
    if doors.keys.is_empty() {
        return Err(ProblemResponse::of(&table::NOT_CONFIGURED));
    }
    if given(headers).is_none() {
        core.metrics.count_key_refused("missing");
        return Err(ProblemResponse::of(&table::NO_KEY));
    }
    caller(doors, headers).ok_or_else(|| {
        core.metrics.count_key_refused(WRONG);
        ProblemResponse::of(&table::WRONG_KEY)
    })
}

/// Who calls, if a key says so.
pub(super) fn caller(doors: &AppDoors, headers: &HeaderMap) -> Option<Caller> {
    doors.keys.whose(given(headers)?)
}

/// Whether a request bears a key, right or wrong.
pub(super) fn is_given(headers: &HeaderMap) -> bool {
    given(headers).is_some()
}

/// `X-API-Key`, or else a bearer's token; an empty one is none.
fn given(headers: &HeaderMap) -> Option<&[u8]> {
    let own = headers
        .get("x-api-key")
        .map(HeaderValue::as_bytes)
        .filter(|key| !key.is_empty());
    own.or_else(|| {
        let (scheme, key) = headers
            .get(header::AUTHORIZATION)?
            .as_bytes()
            .split_at_checked(BEARER.len())?;
        scheme
            .eq_ignore_ascii_case(BEARER)
            .then_some(key)
            .filter(|key| !key.is_empty())
    })
}

/// A right key that may not do this: somebody meant to.
async fn record(
    core: &AppCore,
    caller: &Caller,
    problem: &ProblemResponse,
    kind: CommandKind,
    (request_id, asked): (String, RefusedCommand),
) {
    let at = core.clock.now();
    let audit = AuditDraft {
        reason: asked.refused("role"),
        throttle: asked
            .throttle
            .map(|name| name.to_string())
            .unwrap_or_default(),
        operator: asked.operator,
        request_id,
        ..AuditDraft::new(at, &caller.name, kind.refused())
    };
    let answer = CommandResponse::new(problem.status().as_u16(), problem.members(), at);
    let record = CommandRecord {
        once: ulid::Ulid::generate().to_string(),
        audit,
        answer,
    };
    core.latch.record(record).await;
}
