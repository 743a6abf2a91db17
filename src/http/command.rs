//! The frame of a command: its id, whose it is, and the answer it gets. A command that its caller
//! sends again to the same route under the same `Idempotency-Key` is not done again: it gets the
//! first answer, byte for byte.
//!
//! The answer is made before the effect is durable and kept in the same transaction, so no crash
//! comes in between. Refusals are not kept.

mod replay;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::poll;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;
use tracing::Instrument;

use crate::domain::audit::{
    AuditAction, AuditDraft, ClientKey, CommandRecord, CommandResponse, Wording,
};
use crate::domain::moment::Moment;
use crate::source::rest::RefusedCommand;

use super::answer::{ProblemResponse, body};
use super::keys::Actor;
use super::refusal::table;
use super::request_id::RequestId;
use super::route::CommandKind;
use super::{App, AppCore};
pub(super) use replay::live_kills;
use replay::{holds, replay};

/// How long an answer is kept for its key.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Longest key, bytes; what most clients' documentation promises.
const KEY_LIMIT: usize = 255;
/// How long the ledger may take to look a key up: a kill must not wait for it.
const LOOK_UP: Duration = Duration::from_millis(500);

/// What a kill says whose key had been used for another request,
const COLLIDED: &str = "This Idempotency-Key was used for another kill: this one was done all the same, and is kept for no key.";
/// or is none,
const NO_KEY: &str = "This Idempotency-Key is none (expected one value of 1 to 255 visible ASCII characters): the kill was done all the same, and is kept for no key.";
/// or cannot be looked up.
const UNKNOWN_KEY: &str = "The ledger did not say whether this Idempotency-Key was used before. If it was, this kill was done a second time.";

/// The command at hand.
#[derive(Clone, Debug)]
pub(super) struct CommandContext {
    /// Unique.
    pub(super) id: String,
    /// When it came.
    pub(super) at: Timestamp,
    /// When it came, by the monotonic clock.
    pub(super) elapsed: Duration,
    /// Whose key it was.
    pub(super) actor: String,
    /// A kill whose `Idempotency-Key` is good for nothing, or is not known to be new, is done all
    /// the same, and says this.
    pub(super) key_warning: Option<&'static str>,
    pub(super) request_id: String,
    kind: CommandKind,
    key: Option<ClientKey>,
    /// Its body, as it came.
    raw: Bytes,
}

impl CommandContext {
    /// An answer of this status and body.
    pub(super) fn answer(&self, status: StatusCode, body: Map<String, Value>) -> CommandResponse {
        let answer = CommandResponse::new(status.as_u16(), body, self.at);
        CommandResponse {
            key: self.key.clone(),
            wording: Wording(worded),
            ..answer
        }
    }

    /// What this command leaves behind.
    pub(super) fn record(
        &self,
        action: AuditAction,
        throttle: &str,
        answer: CommandResponse,
    ) -> CommandRecord {
        let audit = AuditDraft {
            request_id: self.request_id.clone(),
            ..AuditDraft::new(self.at, &self.actor, action).on(throttle)
        };
        CommandRecord {
            once: self.id.clone(),
            audit,
            answer,
        }
    }

    /// Says its answer; or that of an earlier one under its key, which could not be looked up
    /// before.
    pub(super) fn said(&self, core: &AppCore, answer: CommandResponse) -> Response {
        if answer.replayed {
            replay(core, self.kind, &self.raw, answer)
        } else {
            said(answer)
        }
    }

    /// A refusal that is audited with who asked for what and why, and kept for no key: the next
    /// time it need not be true.
    pub(super) async fn refuse(
        &self,
        core: &AppCore,
        throttle: &str,
        why: &str,
        problem: ProblemResponse,
    ) -> ProblemResponse {
        let answer = CommandResponse::new(problem.status().as_u16(), problem.members(), self.at);
        let mut record = self.record(self.kind.refused(), throttle, answer);
        let asked = RefusedCommand::read(&self.raw);
        (record.audit.reason, record.audit.operator) = (asked.refused(why), asked.operator);
        core.latch.record(record).await;
        problem
    }
}

/// How the members of an answer are written. The ledger is handed this, and keeps what it gives.
fn worded(members: &Map<String, Value>) -> String {
    serde_json::to_string(members).unwrap_or_default() // a map of values has no odd keys
}

/// Says an answer: what was kept, or will be.
fn said(mut answer: CommandResponse) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    answer.write();
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        answer.sent.unwrap_or_default(),
    )
        .into_response()
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
pub struct InFlightKeys(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl InFlightKeys {
    /// Another kill waits for none: it is done, whatever its key was used for.
    async fn wait(&self, of: &ClientKey, stops: bool) -> OwnedMutexGuard<()> {
        let digest = if stops { &of.digest } else { "" };
        let key = format!("{} {} {digest} {}", of.route, of.caller, of.key);
        let turn = {
            let mut all = self.0.lock();
            // Bounded by the commands under way: what nobody holds is forgotten.
            all.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(all.entry(key).or_default())
        };
        turn.lock_owned().await
    }
}

/// Carries a command through: replays the first answer to its key, or lets it be done.
pub(super) async fn run_command(
    State((app, kind)): State<(App, CommandKind)>,
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
    let Moment { wall: at, elapsed } = app.core.clock.moment();
    let path = parts.uri.path().to_owned();
    // Whoever means to stop is not sent away for the sake of a key.
    let stops = kind == CommandKind::Kill;
    let (mut key, mut key_warning) = match key(&parts.headers, &actor, &path, &raw, at) {
        Ok(key) => (key, None),
        Err(_) if stops => (None, Some(NO_KEY)),
        Err(problem) => return problem.into_response(),
    };
    let mut turn = None;
    if let Some(mine) = &key {
        turn = Some(app.doors.under_way.wait(mine, stops).await);
        match first_answer(&app, mine).await {
            Ok(Some(first)) if is_of(&first, mine) => return replay(&app.core, kind, &raw, first),
            Ok(Some(_)) if stops => (key, key_warning) = (None, Some(COLLIDED)),
            Ok(Some(_)) => return ProblemResponse::of(&table::OTHER_REQUEST).into_response(),
            Ok(None) => {}
            // What it opens will wait for the ledger, and then be found there; what it closes may
            // be done twice.
            Err(KeyUnknown) => key_warning = Some(UNKNOWN_KEY),
        }
    }
    let id = ulid::Ulid::generate().to_string();
    let command = CommandContext {
        id,
        at,
        elapsed,
        actor,
        key_warning,
        request_id,
        kind,
        key: key.clone(),
        raw: raw.clone(),
    };
    parts.extensions.insert(command);
    let done = next.run(Request::from_parts(parts, Body::from(raw.clone())));
    let (Some(turn), Some(key)) = (turn, key) else {
        return done.await;
    };
    to_its_end(turn, async move {
        let refused = match done.await {
            done if done.status().is_success() => return done,
            refused => refused,
        };
        // It may have waited for one under its key that was not decided when it came. Its own
        // answer is no replay: what it became is found out and told elsewhere.
        match first_answer(&app, &key).await {
            Ok(Some(first)) if is_of(&first, &key) && first.at != at => {
                replay(&app.core, kind, &raw, first)
            }
            _ => refused,
        }
    })
    .await
}

/// A command of a key, however soon its client hangs up: whoever comes with that key waits until
/// what has begun has been answered, and hears the same.
#[allow(
    clippy::disallowed_methods,
    reason = "it ends when its command does, as it would if its client waited"
)]
async fn to_its_end(
    turn: OwnedMutexGuard<()>,
    command: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let mut command = Box::pin(command.in_current_span());
    // Begun here: a gate that it shuts waits for no other thread.
    if let Poll::Ready(response) = poll!(&mut command) {
        return response;
    }
    match tokio::spawn(async move { (command.await, turn) }).await {
        Ok((response, _turn)) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => ProblemResponse::of(&table::LOST_ANSWER)
                .undecided()
                .into_response(),
        },
    }
}

fn key(
    headers: &HeaderMap,
    actor: &str,
    path: &str,
    raw: &[u8],
    at: Timestamp,
) -> Result<Option<ClientKey>, ProblemResponse> {
    let mut given = headers.get_all("idempotency-key").iter();
    let Some(first) = given.next() else {
        return Ok(None);
    };
    let text = first
        .to_str()
        .ok()
        .filter(|text| (1..=KEY_LIMIT).contains(&text.len()));
    let (Some(text), None) = (text, given.next()) else {
        return Err(ProblemResponse::filled(
            &table::ONCE_MALFORMED,
            &[("limit", &KEY_LIMIT)],
        ));
    };
    let mut digest = Sha256::new();
    digest.update(path.as_bytes());
    digest.update([0]);
    digest.update(raw);
    let expires_at = at.checked_add(KEPT).unwrap_or(Timestamp::MAX);
    Ok(Some(ClientKey {
        caller: actor.to_owned(),
        route: path.to_owned(),
        key: text.to_owned(),
        digest: hex::encode(digest.finalize()),
        expires_at,
    }))
}

/// Whether an answer is to the same request as this one under its key.
fn is_of(answer: &CommandResponse, key: &ClientKey) -> bool {
    let own = answer.key.as_ref();
    own.is_some_and(|own| own.digest == key.digest)
}

/// Whether a key was used is not known.
struct KeyUnknown;

async fn first_answer(app: &App, key: &ClientKey) -> Result<Option<CommandResponse>, KeyUnknown> {
    let owed = app.core.latch.answered(key);
    let is_same = |answer: &CommandResponse| is_of(answer, key);
    if owed.as_ref().is_some_and(|owed| owed.told && is_same(owed)) {
        return Ok(owed);
    }
    // What a process before wrote down, and then perhaps told the ledger: what is there counts.
    let Some(ledger) = app.record.ledger.as_ref() else {
        return Ok(owed);
    };
    let found = match timeout(LOOK_UP, ledger.answered(key)).await {
        Ok(Ok(found)) => found.filter(|answer| {
            answer
                .key
                .as_ref()
                .is_some_and(|k| k.expires_at > app.core.clock.now())
        }),
        Ok(Err(error)) => {
            tracing::warn!(%error, "an Idempotency-Key could not be looked up");
            return owed.map(Some).ok_or(KeyUnknown);
        }
        Err(_) => {
            tracing::warn!("an Idempotency-Key could not be looked up in time");
            return owed.map(Some).ok_or(KeyUnknown);
        }
    };
    // The same kill may have been done again, since its key could not be looked up: the one that
    // holds counts.
    let is_over =
        |answer: &CommandResponse| answer.kill().is_some_and(|epoch| !holds(&app.core, epoch));
    Ok(match (found, owed) {
        (Some(found), Some(owed)) if is_same(&owed) && is_over(&found) && !is_over(&owed) => {
            Some(owed)
        }
        (found, owed) => found.or(owed),
    })
}
