//! The frame of a command: its id, whose it is, and the answer it gets. A command that is sent again under the same
//! `Idempotency-Key` is not done again: it gets the first answer.
//!
//! The answer is made before the effect is durable and kept in the same transaction, so no crash comes in between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use crate::domain::audit::{Answer, AuditDraft, ClientKey, Record};
use crate::domain::moment::Moment;

use super::App;
use super::answer::{Problem, body, named};
use super::keys::Actor;
use super::refusal::table;
use super::request_id::RequestId;

/// How long an answer is kept for its key.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Longest key, bytes; what most clients' documentation promises.
const KEY_LIMIT: usize = 255;
/// How long the ledger may take to look a key up: a kill must not wait for it.
const LOOK_UP: Duration = Duration::from_millis(500);

/// The command at hand.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// Unique.
    pub(super) id: String,
    /// When it came.
    pub(super) at: Timestamp,
    /// When it came, by the monotonic clock.
    pub(super) elapsed: Duration,
    /// Whose key it was.
    pub(super) actor: String,
    request_id: String,
    key: Option<ClientKey>,
}

impl Command {
    /// An answer of this status and body.
    pub(super) fn answer(&self, status: StatusCode, body: Map<String, Value>) -> Answer {
        Answer { key: self.key.clone(), status: status.as_u16(), body, at: self.at }
    }

    /// What this command leaves behind.
    pub(super) fn record(&self, action: &str, throttle: &str, answer: Answer) -> Record {
        let audit = AuditDraft {
            throttle: throttle.to_owned(),
            request_id: self.request_id.clone(),
            ..AuditDraft::new(self.at, &self.actor, action)
        };
        Record { once: self.id.clone(), audit, answer }
    }

    /// A refusal that is audited; kept for the key if it is one that stays true.
    pub(super) async fn refuse(&self, app: &App, action: &str, throttle: &str, why: &str, problem: Problem) -> Problem {
        let mut answer = self.answer(problem.status(), problem.members());
        if problem.status() != StatusCode::CONFLICT {
            answer.key = None;
        }
        let mut record = self.record(action, throttle, answer);
        why.clone_into(&mut record.audit.reason);
        app.latch.record(record).await;
        problem
    }
}

/// Says an answer.
pub(super) fn said(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, Json(answer.body)).into_response();
    if !status.is_success() {
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// A body's members, in order.
pub(super) fn members(body: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(body) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(), // bodies are structs of plain values
    }
}

/// Keys under way: a duplicate waits for the first one to be done.
#[derive(Default)]
pub struct UnderWay(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl UnderWay {
    async fn wait(&self, key: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Bounded by the requests under way: what nobody holds is forgotten.
            all.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(all.entry(key.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

/// Carries a command through: replays the first answer to its key, or lets it be done.
pub(super) async fn carry(
    State(app): State<Arc<App>>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, content) = request.into_parts();
    let whole = Bytes::from_request(Request::from_parts(parts.clone(), content), &()).await;
    let raw = match body(whole) {
        Ok(raw) => raw,
        Err(problem) => return problem.into_response(),
    };
    let Moment { wall: at, elapsed } = app.clock.moment();
    let path = parts.uri.path().to_owned();
    let key = match key(&parts.headers, &path, &raw, at) {
        Ok(key) => key,
        Err(problem) => return problem.into_response(),
    };
    let mut _turn = None;
    if let Some(key) = &key {
        _turn = Some(app.under_way.wait(&key.key).await);
        if let Some(first) = first_answer(&app, &key.key).await {
            return replay(&app, &path, key, first);
        }
    }
    let id = ulid::Ulid::generate().to_string();
    parts.extensions.insert(Command { id, at, elapsed, actor, request_id, key });
    next.run(Request::from_parts(parts, Body::from(raw))).await
}

fn key(headers: &HeaderMap, path: &str, raw: &[u8], at: Timestamp) -> Result<Option<ClientKey>, Problem> {
    let mut given = headers.get_all("idempotency-key").iter();
    let Some(first) = given.next() else { return Ok(None) };
    let text = first.to_str().ok().filter(|text| (1..=KEY_LIMIT).contains(&text.len()));
    let (Some(text), None) = (text, given.next()) else {
        return Err(Problem::filled(&table::ONCE_MALFORMED, &[("limit", &KEY_LIMIT)]));
    };
    let mut digest = Sha256::new();
    digest.update(path.as_bytes());
    digest.update([0]);
    digest.update(raw);
    let expires_at = at.checked_add(KEPT).unwrap_or(Timestamp::MAX);
    Ok(Some(ClientKey { key: text.to_owned(), digest: hex::encode(digest.finalize()), expires_at }))
}

async fn first_answer(app: &App, key: &str) -> Option<Answer> {
    if let Some(owed) = app.latch.answered(key) {
        return Some(owed);
    }
    let ledger = app.ledger.as_ref()?;
    match timeout(LOOK_UP, ledger.answered(key)).await {
        Ok(Ok(found)) => found.filter(|answer| answer.key.as_ref().is_some_and(|k| k.expires_at > app.clock.now())),
        // What it opens will wait for the ledger, and then be found there; what it closes may be done twice.
        Ok(Err(error)) => {
            tracing::warn!(%error, "an Idempotency-Key could not be looked up");
            None
        }
        Err(_) => {
            tracing::warn!("an Idempotency-Key could not be looked up in time");
            None
        }
    }
}

fn replay(app: &App, path: &str, key: &ClientKey, first: Answer) -> Response {
    if first.key.as_ref().is_none_or(|known| known.digest != key.digest) {
        return Problem::of(&table::OTHER_REQUEST).into_response();
    }
    let epoch = first.body.get("epoch").and_then(Value::as_str);
    let mut response = match epoch.filter(|epoch| path == "/kill" && !holds(app, epoch)) {
        // Nobody shall believe in a stop that is over.
        Some(epoch) => Problem::of(&table::ENDED_SINCE).with("epoch", epoch.into()).into_response(),
        None => said(first),
    };
    response.headers_mut().insert(named("idempotent-replayed"), HeaderValue::from_static("true"));
    response
}

fn holds(app: &App, epoch: &str) -> bool {
    app.gate.standings().iter().any(|standing| standing.holds.iter().any(|hold| hold.0 == epoch))
}
