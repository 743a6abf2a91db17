//! `POST /control`: declares a level, and says what the control law makes of what the caller measured.
//!
//! It never acts: tightening closes the gate at once, everything else is the loop's to do.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::decide::law::{Answer, Input};
use crate::decide::verdict::Reason;
use crate::domain::audit::{AuditDraft, Change};
use crate::domain::evidence::Evidence;
use crate::domain::hold::Hold;
use crate::domain::level::Level;
use crate::domain::throttle::ThrottleName;
use crate::gate::{Setting, Standing};
use crate::ports::DesiredError;
use crate::source::rest::{BodyError, ControlBody, FieldError, parse};

use super::App;
use super::answer::{Problem, body};
use super::keys::Actor;
use super::request_id::RequestId;

/// The answer, in the order of http-api.
#[derive(Serialize)]
pub(super) struct Controlled {
    throttle: ThrottleName,
    throttle_pct: f64,
    in_force: f64,
    previous_throttle_pct: f64,
    target_throttle: f64,
    binding_signal: &'static str,
    stress: f64,
    next_step: String,
    generation: i64,
    audit_id: Option<i64>,
    audit: &'static str,
    durable: bool,
}

pub(super) async fn control(
    State(app): State<Arc<App>>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Controlled>, Problem> {
    let asked: ControlBody = parse(&body(bytes)?)?;
    let target = asked.validated()?;
    let name = asked.throttle.clone().unwrap_or_else(ThrottleName::default_throttle);
    let Some(standing) = app.gate.standing(&name) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, DesiredError::Unknown(name).to_string()));
    };
    let audit = draft(&app, &actor, &request_id, &name, &standing, target);
    if !standing.holds.is_empty() {
        return Err(refuse_killed(&app, audit, &name).await);
    }
    let input = Input { signals: asked.current_state, target, killed: false, credit: 1.0, floor_rpm: 0.0 };
    let answer = app.law.evaluate(&input).map_err(|errors| {
        let fields =
            errors.into_iter().map(|e| FieldError { field: e.field.to_owned(), expected: e.expected.to_owned() });
        Problem::from(BodyError::Fields(fields.collect()))
    })?;
    let audit = AuditDraft { binding_signal: answer.binding.as_str().to_owned(), ..audit };
    declare(&app, &name, &asked, target, &answer, audit, &standing).await
}

/// Tightens at once, then declares; what opens waits for the ledger.
async fn declare(
    app: &App,
    name: &ThrottleName,
    asked: &ControlBody,
    target: Level,
    answer: &Answer,
    audit: AuditDraft,
    standing: &Standing,
) -> Result<Json<Controlled>, Problem> {
    let now = audit.at;
    let tightens = target >= standing.level;
    if target > standing.level {
        let setting = Setting { level: target, reason: Reason::Target, generation: standing.generation, at: now };
        app.gate.tighten(name, setting);
    }
    let (generation, audit_id, recorded) = match app.desired.declare(name, target, audit).await {
        Ok((generation, audit_id)) => (generation, audit_id, true),
        Err(DesiredError::Unavailable(_)) if tightens => (standing.generation, None, false),
        Err(error) => {
            tracing::error!(%error, throttle = %name, "an opening was refused");
            let detail = "The ledger is not available: an opening waits for it, tightening and /kill do not. Nothing was changed.";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
    };
    app.desired.observe(name, Evidence { signals: asked.current_state, at: now });
    app.desired.wake();
    let in_force = app.gate.standing(name).map_or(standing.level, |standing| standing.level);
    Ok(Json(Controlled {
        throttle: name.clone(),
        throttle_pct: answer.level.fraction(),
        in_force: in_force.fraction(),
        previous_throttle_pct: asked.current_state.throttle_pct,
        target_throttle: target.fraction(),
        binding_signal: answer.binding.as_str(),
        stress: answer.stress,
        next_step: next_step(in_force, target),
        generation,
        audit_id,
        audit: if recorded { "recorded" } else { "pending" },
        durable: recorded,
    }))
}

fn next_step(in_force: Level, target: Level) -> String {
    if in_force == target {
        return "none: the declared level is in force".to_owned();
    }
    if in_force < target {
        return "closes at the next look of the loop".to_owned();
    }
    "opens tick by tick (5 s) towards target_throttle, as fast as what is measured allows".to_owned()
}

async fn refuse_killed(app: &App, audit: AuditDraft, name: &ThrottleName) -> Problem {
    let refusal = AuditDraft { action: "control_refused".to_owned(), reason: "killed".to_owned(), ..audit };
    if let Some(ledger) = &app.ledger
        && let Err(error) = ledger.commit(Change { audit: vec![refusal], ..Change::default() }).await
    {
        tracing::error!(%error, "a refusal could not be audited");
    }
    Problem::new(StatusCode::CONFLICT, format!("Throttle {name} is killed; end the kill with POST /revive first."))
        .with("held_by", json!(app.gate.kills(name).iter().map(held_by).collect::<Vec<_>>()))
}

/// A hold as answers name it.
pub(super) fn held_by(hold: &Hold) -> serde_json::Value {
    json!({
        "epoch": hold.epoch.0, "source": hold.source.to_string(), "operator": hold.operator, "reason": hold.reason,
        "since": hold.taken_at.to_string(),
    })
}

fn draft(
    app: &App,
    actor: &str,
    request_id: &str,
    name: &ThrottleName,
    standing: &Standing,
    target: Level,
) -> AuditDraft {
    AuditDraft {
        at: app.clock.now(),
        actor: actor.to_owned(),
        action: "control".to_owned(),
        throttle: name.to_string(),
        before: standing.level.to_string(),
        after: target.to_string(),
        reason: String::new(),
        binding_signal: String::new(),
        request_id: request_id.to_owned(),
    }
}
