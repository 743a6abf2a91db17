//! `POST /control`: declares a level, and says what the control law makes of what the caller
//! measured, if it did.
//!
//! It never acts: tightening closes the gate at once, everything else is the loop's to do.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::decide::law::{Binding, Input, Law};
use crate::domain::audit::AuditAction;
use crate::domain::hold::{HeldBy, Scope};
use crate::domain::level::Level;
use crate::domain::measurement::Measurement;
use crate::domain::observation::Signals;
use crate::domain::throttle::{Mode, ThrottleName};
use crate::gate::ThrottleSnapshot;
use crate::latch::{AuditState, LevelOrder};
use crate::ports::DesiredError;
use crate::source::rest::{BodyError, ControlBody, InvalidField, parse};

use super::AppCore;
use super::answer::ProblemResponse;
use super::command::{CommandContext, members};
use super::refusal::table;
use super::wire::ControlResponse;

/// What follows where a throttle is in mode Observe.
const OBSERVED: &str =
    "none: this throttle is in mode Observe, so its level is reported and not enforced; a kill is";

pub(super) async fn control(
    State(core): State<Arc<AppCore>>,
    Extension(command): Extension<CommandContext>,
    bytes: Bytes,
) -> Result<Response, ProblemResponse> {
    let asked: ControlBody = parse(&bytes)?;
    let target = asked.validated()?;
    let name = asked
        .throttle
        .clone()
        .unwrap_or_else(ThrottleName::default_throttle);
    let Some(standing) = core.gate.standing(&name) else {
        return Err(ProblemResponse::filled(
            &table::UNKNOWN,
            &[("throttle", &name)],
        ));
    };
    if standing.killed() {
        let held: Vec<_> = core.gate.kills(&name).iter().map(HeldBy::from).collect();
        let problem = ProblemResponse::filled(&table::KILLED, &[("throttle", &name)])
            .with("held_by", json!(held));
        return Err(command
            .refuse(&core, name.as_str(), "killed", problem)
            .await);
    }
    let declared = core.desired.find(&name);
    let observes = declared
        .as_ref()
        .is_some_and(|declared| declared.mode == Mode::Observe);
    let law = declared.map_or(core.law, |declared| core.law.of(&declared.signals));
    // A level that tightens is in force before the answer is given.
    let in_force = standing.level;
    let answered = answered(law, asked.current_state, target, in_force)?;
    let next = if observes {
        OBSERVED.to_owned()
    } else {
        next_step(in_force.safer(target), target)
    };
    let body = controlled(&standing, target, &answered, next);
    let answer = command.answer(StatusCode::OK, members(&body));
    let mut record = command.record(AuditAction::Control, name.as_str(), answer);
    (record.audit.before, record.audit.after) = (in_force.to_string(), target.to_string());
    answered
        .binding
        .clone_into(&mut record.audit.binding_signal);
    (record.audit.operator, record.audit.reason) = (asked.operator, asked.reason);
    // One act: what is declared and what was measured reach the loop together, and it is woken
    // once.
    let evidence = |signals| Measurement {
        signals,
        at: command.elapsed,
        source: None,
    };
    let measured = asked.current_state.map(evidence);
    let order = LevelOrder {
        throttle: name.clone(),
        level: target,
        measured,
        at: command.elapsed,
        record,
    };
    let declared = core.latch.declare(order).await.map_err(not_declared)?;
    core.wake.wake(&Scope::One(name));
    Ok(command.said(&core, declared.answer))
}

/// The answer to a level that is declared, before the latch and the ledger have filled it in.
fn controlled(
    standing: &ThrottleSnapshot,
    target: Level,
    answered: &Answered,
    next: String,
) -> ControlResponse {
    ControlResponse {
        throttle: standing.name.to_string(),
        throttle_pct: answered.level.fraction(),
        in_force: standing.level.fraction(),
        previous_throttle_pct: answered.before,
        target_throttle: target.fraction(),
        binding_signal: answered.binding,
        stress: answered.stress,
        next_step: next,
        generation: standing.generation,
        held_by: Vec::new(),
        replaced: Vec::new(),
        audit_id: None,
        audit: AuditState::Recorded.as_str(),
        durable: true,
    }
}

/// What is answered of what the caller measured.
struct Answered {
    level: Level,
    before: f64,
    binding: &'static str,
    stress: Option<f64>,
}

/// What the control law makes of it. Where nothing was measured, the declaration stands alone:
/// nobody knows how loaded the system is.
fn answered(
    law: Law,
    measured: Option<Signals>,
    target: Level,
    in_force: Level,
) -> Result<Answered, ProblemResponse> {
    let Some(signals) = measured else {
        let binding = Binding::Target.as_str();
        return Ok(Answered {
            level: target,
            before: in_force.fraction(),
            binding,
            stress: None,
        });
    };
    let input = Input {
        signals,
        target,
        killed: false,
        credit: 1.0,
        waiting_rpm: Some(0.0),
    };
    let law = law.evaluate(&input).map_err(|errors| {
        let fields = errors.into_iter().map(|e| InvalidField {
            field: e.field.to_owned(),
            expected: e.expected.to_owned(),
        });
        ProblemResponse::from(BodyError::Fields(fields.collect()))
    })?;
    let (binding, stress) = (law.binding.as_str(), Some(law.stress));
    Ok(Answered {
        level: law.level,
        before: signals.throttle_pct,
        binding,
        stress,
    })
}

fn not_declared(error: DesiredError) -> ProblemResponse {
    match error {
        DesiredError::Unknown(name) => {
            ProblemResponse::filled(&table::UNKNOWN, &[("throttle", &name)])
        }
        DesiredError::Unavailable(_)
        | DesiredError::Refused(_)
        | DesiredError::NotDeclaredHere(_) => {
            tracing::error!(%error, "an opening was refused");
            ProblemResponse::of(&table::OPENING_WAITS)
        }
        DesiredError::Undecided => {
            tracing::error!(%error, "an opening");
            ProblemResponse::of(&table::OPENING_UNDECIDED).undecided()
        }
    }
}

fn next_step(in_force: Level, target: Level) -> String {
    if in_force == target {
        return "none: the declared level is in force".to_owned();
    }
    if in_force < target {
        return "closes at the next look of the loop".to_owned();
    }
    "opens tick by tick (5 s) towards target_throttle, as fast as what is measured allows"
        .to_owned()
}
