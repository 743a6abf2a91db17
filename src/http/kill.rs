//! `POST /kill` and `POST /revive`.
//!
//! A kill's confirmation is looked at before anything else; what follows is the latch's.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::domain::audit::{AuditAction, CommandRecord};
use crate::domain::hold::{Epoch, HeldBy, Hold, Scope};
use crate::domain::moment::Moment;
use crate::domain::throttle::ThrottleName;
use crate::latch::{AuditState, KillOrder};
use crate::ports::DesiredError;
use crate::source::rest::{KillBody, ReviveBody, confirmed, lossy, parse};

use super::AppCore;
use super::answer::ProblemResponse;
use super::command::{CommandContext, live_kills, members};
use super::refusal::table;
use super::wire::{KillResponse, ReviveResponse};

pub(super) async fn kill(
    State(core): State<Arc<AppCore>>,
    Extension(command): Extension<CommandContext>,
    bytes: Bytes,
) -> Result<Response, ProblemResponse> {
    let bytes = lossy(&bytes);
    // Somebody with a key meant to stop: what bears no word is told and recorded, readable or not.
    let unconfirmed = match confirmed(&bytes) {
        Ok(true) => None,
        Ok(false) => Some(("confirmation", ProblemResponse::of(&table::UNCONFIRMED))),
        Err(error) => Some(("no JSON", error.into())),
    };
    if let Some((why, problem)) = unconfirmed {
        return Err(command.refuse(&core, "", why, problem).await);
    }
    let asked: KillBody = parse(&bytes)?;
    let body = KillResponse {
        killed: true,
        epoch: None,
        latched_at: None,
        already_killed: false,
        audit: AuditState::Recorded.as_str(),
        durable: true,
        targets: Vec::new(),
        audit_id: None,
        warning: command.key_warning,
    };
    let throttle = asked.throttle.as_ref().map_or("", ThrottleName::as_str);
    let answer = command.answer(StatusCode::OK, members(&body));
    let mut record = command.record(AuditAction::Kill, throttle, answer);
    (record.audit.reason, record.audit.operator) = (asked.reason.clone(), asked.operator.clone());
    "kill".clone_into(&mut record.audit.binding_signal);
    let order = KillOrder {
        scope: asked.throttle.map_or(Scope::All, Scope::One),
        reason: asked.reason,
        operator: asked.operator,
        epoch: Epoch(command.id.clone()),
        at: Moment {
            wall: command.at,
            elapsed: command.elapsed,
        },
        record,
    };
    let killed = core.latch.kill(order).await.map_err(not_killed)?;
    Ok(command.said(&core, killed.answer))
}

pub(super) async fn revive(
    State(core): State<Arc<AppCore>>,
    Extension(command): Extension<CommandContext>,
    bytes: Bytes,
) -> Result<Response, ProblemResponse> {
    let asked: ReviveBody = if bytes.iter().all(u8::is_ascii_whitespace) {
        ReviveBody::default()
    } else {
        parse(&bytes)?
    };
    asked.validated()?;
    let throttle = asked
        .throttle
        .as_ref()
        .map_or("", ThrottleName::as_str)
        .to_owned();
    let scope = asked.throttle.map_or(Scope::All, Scope::One);
    let throttles = core.gate.standings();
    if let Scope::One(name) = &scope
        && !throttles.iter().any(|standing| standing.name == *name)
    {
        return Err(unknown(name));
    }
    let held = throttles
        .iter()
        .any(|standing| scope.covers(&standing.name) && standing.killed());
    let mut record = record(&command, &throttle, held, live_kills(&core, &scope));
    (record.audit.reason, record.audit.operator) = (asked.reason, asked.operator);
    if !held {
        return Ok(command.said(&core, core.latch.record(record).await.answer));
    }
    let epoch = asked.epoch.map(Epoch);
    let ended = core
        .latch
        .revive(scope.clone(), epoch.clone(), record)
        .await
        .map_err(not_revived)?;
    if ended.ended.is_empty() && !ended.repeated {
        let (problem, why) = nothing_ended(&core, &scope, epoch, ended.held_by);
        return Err(command.refuse(&core, &throttle, &why, problem).await);
    }
    ended
        .answer
        .map(|answer| command.said(&core, answer))
        .ok_or_else(|| ProblemResponse::of(&table::LOST_ANSWER).undecided())
}

/// What a revival leaves behind; `live` are the kills that hold when it comes.
fn record(command: &CommandContext, throttle: &str, held: bool, live: Vec<Hold>) -> CommandRecord {
    let status = if held { "revived" } else { "already_running" };
    let body = ReviveResponse {
        status,
        ended: Vec::new(),
        held_by: Vec::new(),
        audit_id: None,
    };
    let answer = command.answer(StatusCode::OK, members(&body));
    let mut record = command.record(AuditAction::Revive, throttle, answer);
    record.answer.stood = Some(live.into_iter().map(|hold| hold.epoch).collect());
    (record.audit.before, record.audit.after) = match held {
        true => ("killed".to_owned(), "opening".to_owned()),
        false => ("running".to_owned(), "running".to_owned()),
    };
    record
}

/// The refusal of a revival that ended nothing, and why for the record.
fn nothing_ended(
    core: &AppCore,
    scope: &Scope,
    epoch: Option<Epoch>,
    held_by: Vec<Hold>,
) -> (ProblemResponse, String) {
    // Where the epoch is nobody's, who is meant can be told only by what there is.
    let (problem, why, held) = match epoch.filter(|_| held_by.is_empty()) {
        Some(epoch) => {
            let none = ProblemResponse::filled(&table::NO_HOLD, &[("epoch", &epoch)]);
            (none, format!("no hold {epoch}"), live_kills(core, scope))
        }
        None => (
            ProblemResponse::of(&table::NOTHING_ENDED),
            "nothing could end".to_owned(),
            held_by,
        ),
    };
    let held_by: Vec<_> = held.iter().map(HeldBy::from).collect();
    (problem.with("held_by", json!(held_by)), why)
}

fn not_revived(error: DesiredError) -> ProblemResponse {
    if let DesiredError::Undecided = error {
        tracing::error!(%error, "a revival");
        return ProblemResponse::of(&table::REVIVE_UNDECIDED).undecided();
    }
    tracing::error!(%error, "a revival was refused");
    ProblemResponse::of(&table::REVIVE_WAITS)
}

fn not_killed(error: DesiredError) -> ProblemResponse {
    match error {
        DesiredError::Unknown(name) => unknown(&name),
        DesiredError::Unavailable(_)
        | DesiredError::Undecided
        | DesiredError::Refused(_)
        | DesiredError::NotDeclaredHere(_) => {
            tracing::error!(%error, "a kill broke off");
            ProblemResponse::of(&table::KILL_BROKE).undecided()
        }
    }
}

fn unknown(name: &ThrottleName) -> ProblemResponse {
    ProblemResponse::filled(&table::UNKNOWN, &[("throttle", name)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_decided_is_never_said_to_have_done_nothing() {
        let said = |error| {
            not_revived(error)
                .members()
                .get("detail")
                .map(ToString::to_string)
                .unwrap_or_default()
        };
        let undecided = said(DesiredError::Undecided);
        assert!(
            undecided.contains("may still happen") && !undecided.contains("Nothing"),
            "{undecided}"
        );
        let refused = said(DesiredError::Unavailable("away".to_owned()));
        assert!(refused.contains("Nothing was opened"), "{refused}");
    }
}
