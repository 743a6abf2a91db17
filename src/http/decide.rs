//! `POST /v1/decide`: a verdict for an app or an SDK. Always 200, so that a verdict is never taken
//! for a fault.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;

use crate::decide::verdict::Reason;
use crate::gate::Question;
use crate::gate::dialect::path_of;
use crate::source::rest::{DecideBody, parse};

use super::answer::{ProblemResponse, body};
use super::wire::DecideResponse;
use super::{AppCore, AppDoors};

/// What this door is called in the log and in metrics.
const DOOR: &str = "decide";

pub(super) async fn decide(
    State(core): State<Arc<AppCore>>,
    State(doors): State<Arc<AppDoors>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<DecideResponse>, ProblemResponse> {
    let raw = body(bytes)?;
    let empty = raw.iter().all(u8::is_ascii_whitespace);
    let asked: DecideBody = if empty {
        DecideBody::default()
    } else {
        parse(&raw)?
    };
    let throttle = asked.throttle.unwrap_or_else(|| "default".to_owned());
    let route = asked.route.as_deref().unwrap_or_default();
    let (method, path) = route.split_once(' ').unwrap_or(("", route));
    let question = Question {
        method,
        path: path_of(path),
        key: asked.key.as_deref().map(str::as_bytes),
    };
    let reply = core.gate.ask(&throttle, question, core.clock.moment());
    if reply.verdict.reason == Reason::Unknown {
        core.metrics.count_unknown(DOOR);
        doors.strangers.unknown(&throttle, DOOR);
    }
    Ok(Json(DecideResponse {
        decision: if reply.verdict.admitted {
            "allow"
        } else {
            "deny"
        },
        throttle,
        reason: reply.verdict.reason.as_str(),
        generation: reply.verdict.generation,
        state_age_ms: reply.state_age_ms,
        retry_after_s: reply.retry_after_s,
    }))
}
