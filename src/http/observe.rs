//! `POST /observe`: takes a measurement, answers the whole state.
//!
//! What was measured is evidence for three ticks; a body without any measurement only asks.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use tokio::time::timeout;

use crate::decide::law::Law;
use crate::decide::unstored::among;
use crate::domain::audit::{Change, CommandResponse, StateRow};
use crate::domain::hold::Scope;
use crate::domain::measurement::Measurement;
use crate::domain::throttle::ThrottleName;
use crate::ports::LedgerError;
use crate::source::rest::{ObserveBody, parse};

use super::answer::ProblemResponse;
use super::command::{CommandContext, members};
use super::health;
use super::refusal::table;
use super::wire::{ObserveResponse, ObservedState};
use super::{AppCore, AppDoors, AppRecord};

/// What is told where nobody waited for the ledger.
const GONE: &str = "its caller went away before the ledger answered";

/// How long an observation waits for the ledger.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn observe(
    State(core): State<Arc<AppCore>>,
    State(doors): State<Arc<AppDoors>>,
    State(record): State<Arc<AppRecord>>,
    Extension(command): Extension<CommandContext>,
    bytes: Bytes,
) -> Result<Response, ProblemResponse> {
    let asked: ObserveBody = parse(&bytes)?;
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
    let signals = asked.signals(standing.level)?;
    let kills = core.gate.kills(&name);
    let state = ObservedState {
        signals,
        killed: !kills.is_empty(),
        epoch: kills.first().map(|hold| hold.epoch.0.clone()),
    };
    let row = StateRow {
        at: command.at,
        source: asked.source.clone(),
        throttle: name.clone(),
        state: Value::Object(members(&state)).to_string(),
    };
    let body = ObserveResponse {
        state,
        health: health::standing(&core, &doors),
        observed_at: command.at.to_string(),
        throttle: name.to_string(),
        source: asked.source.clone(),
    };
    let answer = command.answer(StatusCode::OK, members(&body));
    let law = law(&core, &name);
    let measured = asked.measured().then(|| Measurement {
        signals,
        at: command.elapsed,
        source: Some(asked.source.clone()),
    });
    // What closes waits for no ledger; what may open counts once it is stored, since its caller is
    // told if it is not.
    let closes = measured.as_ref().filter(|_| !law.may_open(&signals));
    if let (Some(evidence), Some(measurements)) = (closes, &core.measurements) {
        measurements.observe_unstored(&name, evidence, &|heard, word| among(&law, heard, word));
        core.wake.wake(&Scope::One(name.clone()));
    }
    let unstored = Unstored {
        row: &row,
        command: &command,
        counts: closes.is_some(),
        why: Some(GONE.to_owned()),
    };
    let answer = store(&record, row.clone(), answer, unstored).await?;
    // It is not what is measured now, where its key was used long ago.
    let counts = measured.filter(|_| !answer.replayed);
    if let (Some(evidence), Some(measurements)) = (counts, &core.measurements) {
        measurements.observe(&name, evidence);
        core.wake.wake(&Scope::One(name));
    }
    Ok(command.said(&core, answer))
}

/// The control law of a throttle.
fn law(core: &AppCore, name: &ThrottleName) -> Law {
    let declared = core.desired.find(name);
    declared.map_or(core.law, |declared| core.law.of(&declared.signals))
}

/// An observation that the ledger does not have. What counts of it all the same is told with whose
/// it was, also where its caller did not wait to hear: nothing else would say.
struct Unstored<'a> {
    row: &'a StateRow,
    command: &'a CommandContext,
    /// Whether it is believed, since it closes.
    counts: bool,
    /// Why it is not stored; none where it is.
    why: Option<String>,
}

impl Drop for Unstored<'_> {
    fn drop(&mut self) {
        let Some(error) = &self.why else { return };
        let (
            CommandContext {
                actor, request_id, ..
            },
            StateRow {
                throttle, source, ..
            },
        ) = (self.command, self.row);
        let (throttle, counts) = (throttle.as_str(), self.counts);
        tracing::error!(
            error,
            actor,
            throttle,
            source,
            request_id,
            counts,
            "an observation was not stored"
        );
    }
}

async fn store(
    record: &AppRecord,
    row: StateRow,
    answer: CommandResponse,
    mut unstored: Unstored<'_>,
) -> Result<CommandResponse, ProblemResponse> {
    let Some(ledger) = &record.ledger else {
        unstored.why = None;
        return Ok(answer);
    };
    let change = Change {
        states: vec![row],
        answer: Some(answer.clone()),
        ..Change::default()
    };
    let stored = timeout(PATIENCE, ledger.commit(change)).await;
    let stored = stored.unwrap_or_else(|_| Err(LedgerError::Unavailable("it is slow".to_owned())));
    unstored.why = stored.as_ref().err().map(ToString::to_string);
    match stored {
        Ok(receipt) => Ok(receipt.answer.unwrap_or(answer)),
        Err(_) => Err(ProblemResponse::of(&table::NOT_OBSERVED)),
    }
}
