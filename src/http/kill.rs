//! `POST /kill` and `POST /revive`.
//!
//! A kill's confirmation is looked at before anything else; what follows is the latch's.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::domain::audit::{AuditDraft, Change};
use crate::domain::hold::{Epoch, Scope};
use crate::latch::{AuditState, KillOrder};
use crate::ports::DesiredError;
use crate::source::rest::{BodyError, FieldError, KillBody, ReviveBody, confirmed, parse};

use super::App;
use super::answer::{Problem, body};
use super::control::held_by;
use super::keys::Actor;
use super::request_id::RequestId;

/// Longest operator and reason, characters: what the custom resources take.
const OPERATOR_LIMIT: usize = 256;
const REASON_LIMIT: usize = 1024;

pub(super) async fn kill(
    State(app): State<Arc<App>>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let bytes = body(bytes)?;
    if !confirmed(&bytes)? {
        refuse(&app, &actor, &request_id, "kill_refused", "confirmation").await;
        let detail = "A kill needs \"confirmation\":\"CONFIRM_KILL\". Nothing was stopped.";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let asked: KillBody = parse(&bytes)?;
    check_words(&asked)?;
    let at = app.clock.now();
    let order = KillOrder {
        scope: asked.throttle.map_or(Scope::All, Scope::One),
        reason: asked.reason,
        operator: asked.operator,
        actor,
        request_id,
        epoch: Epoch(ulid::Ulid::generate().to_string()),
        at,
    };
    let killed = app.latch.kill(order).await.map_err(not_killed)?;
    let targets: Vec<_> = killed
        .throttles
        .iter()
        .map(|name| json!({ "throttle": name, "target": "gate", "enforced": !app.gate.kills(name).is_empty() }))
        .collect();
    Ok(Json(json!({
        "killed": true,
        "epoch": killed.epoch.0,
        "latched_at": killed.latched_at.to_string(),
        "audit": if killed.audit == AuditState::Recorded { "recorded" } else { "pending" },
        "durable": killed.durable,
        "targets": targets,
    })))
}

pub(super) async fn revive(
    State(app): State<Arc<App>>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let bytes = body(bytes)?;
    let asked: ReviveBody =
        if bytes.iter().all(u8::is_ascii_whitespace) { ReviveBody::default() } else { parse(&bytes)? };
    let scope = asked.throttle.map_or(Scope::All, Scope::One);
    let throttles = app.gate.standings();
    if let Scope::One(name) = &scope
        && !throttles.iter().any(|standing| standing.name == *name)
    {
        return Err(unknown(DesiredError::Unknown(name.clone())));
    }
    let held = throttles.iter().any(|standing| scope.covers(&standing.name) && !standing.holds.is_empty());
    if !held {
        return Ok(Json(json!({ "status": "already_running" })));
    }
    let audit = AuditDraft {
        at: app.clock.now(),
        actor: actor.clone(),
        action: "revive".to_owned(),
        throttle: if let Scope::One(name) = &scope { name.to_string() } else { String::new() },
        before: "killed".to_owned(),
        after: "opening".to_owned(),
        reason: if asked.operator.is_empty() { asked.reason } else { format!("{} ({})", asked.reason, asked.operator) },
        binding_signal: String::new(),
        request_id: request_id.clone(),
    };
    let epoch = asked.epoch.map(Epoch);
    let ended = app.latch.revive(scope, epoch, audit).await.map_err(|error| {
        tracing::error!(%error, "a revival was refused");
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The record is not available: ending a kill waits for it. Nothing was opened.",
        )
    })?;
    let held_by: Vec<_> = ended.held_by.iter().map(held_by).collect();
    if ended.ended.is_empty() {
        refuse(&app, &actor, &request_id, "revive_refused", "nothing could end").await;
        let detail = "Nothing could be ended here; see held_by for who holds what.";
        return Err(Problem::new(StatusCode::CONFLICT, detail).with("held_by", json!(held_by)));
    }
    let epochs: Vec<_> = ended.ended.iter().map(|epoch| epoch.0.as_str()).collect();
    Ok(Json(json!({ "status": "revived", "ended": epochs, "held_by": held_by, "audit_id": ended.audit_id })))
}

fn check_words(asked: &KillBody) -> Result<(), Problem> {
    let mut wrong = Vec::new();
    for (field, value, limit) in
        [("reason", &asked.reason, REASON_LIMIT), ("operator", &asked.operator, OPERATOR_LIMIT)]
    {
        if value.trim().is_empty() || value.chars().count() > limit {
            wrong.push(FieldError { field: field.to_owned(), expected: format!("1 to {limit} characters") });
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(BodyError::Fields(wrong).into()) }
}

fn not_killed(error: DesiredError) -> Problem {
    match error {
        DesiredError::Unknown(_) => unknown(error),
        DesiredError::Unavailable(_) => {
            tracing::error!(%error, "a kill broke off");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The kill broke off; look at /health and send it again.")
        }
    }
}

fn unknown(error: DesiredError) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, error.to_string())
}

async fn refuse(app: &App, actor: &str, request_id: &str, action: &str, reason: &str) {
    let entry = AuditDraft {
        at: app.clock.now(),
        actor: actor.to_owned(),
        action: action.to_owned(),
        throttle: String::new(),
        before: String::new(),
        after: String::new(),
        reason: reason.to_owned(),
        binding_signal: String::new(),
        request_id: request_id.to_owned(),
    };
    if let Some(ledger) = &app.ledger
        && let Err(error) = ledger.commit(Change { audit: vec![entry], ..Change::default() }).await
    {
        tracing::error!(%error, action, "a refusal could not be audited");
    }
}
