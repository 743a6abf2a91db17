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

use crate::domain::audit::{Answer, Change, StateRow};
use crate::domain::evidence::Evidence;
use crate::domain::throttle::ThrottleName;
use crate::ports::LedgerError;
use crate::source::rest::{ObserveBody, parse};

use super::App;
use super::answer::Problem;
use super::command::{Command, members};
use super::health;
use super::refusal::table;
use super::wire::{Observed, ObservedState};

/// How long an observation waits for the ledger.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn observe(
    State(app): State<Arc<App>>,
    Extension(command): Extension<Command>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let asked: ObserveBody = parse(&bytes)?;
    let name = asked.throttle.clone().unwrap_or_else(ThrottleName::default_throttle);
    let Some(standing) = app.gate.standing(&name) else {
        return Err(Problem::filled(&table::UNKNOWN, &[("throttle", &name)]));
    };
    let signals = asked.signals(standing.level)?;
    let kills = app.gate.kills(&name);
    let state =
        ObservedState { signals, killed: !kills.is_empty(), epoch: kills.first().map(|hold| hold.epoch.0.clone()) };
    let row = StateRow {
        at: command.at,
        source: asked.source.clone(),
        throttle: name.clone(),
        state: Value::Object(members(&state)).to_string(),
    };
    let body = Observed {
        state,
        health: health::standing(&app),
        observed_at: command.at.to_string(),
        throttle: name.to_string(),
        source: asked.source.clone(),
    };
    let answer = command.answer(StatusCode::OK, members(&body));
    let hear = || {
        if asked.measured() {
            app.desired.observe(&name, Evidence { signals, at: command.elapsed, source: Some(asked.source.clone()) });
            app.desired.wake();
        }
    };
    // What closes waits for no ledger; what may open counts once it is stored, since its caller is told if it is not.
    let declared = app.desired.declared().into_iter().find(|declared| declared.name == name);
    let law = declared.map_or(app.law, |declared| app.law.of(&declared.signals));
    let may_open = law.may_open(&signals);
    if !may_open {
        hear();
    }
    let answer = store(&app, row, answer).await?;
    // Nor is it what is measured now, where its key was used long ago.
    if may_open && !answer.replayed {
        hear();
    }
    Ok(command.said(&app, answer))
}

async fn store(app: &App, row: StateRow, answer: Answer) -> Result<Answer, Problem> {
    let Some(ledger) = &app.ledger else { return Ok(answer) };
    let change = Change { states: vec![row], answer: Some(answer.clone()), ..Change::default() };
    let stored = timeout(PATIENCE, ledger.commit(change)).await;
    let stored = stored.unwrap_or_else(|_| Err(LedgerError::Unavailable("it is slow".to_owned())));
    match stored {
        Ok(receipt) => Ok(receipt.answer.unwrap_or(answer)),
        Err(error) => {
            tracing::error!(%error, "an observation was not stored");
            Err(Problem::of(&table::NOT_OBSERVED))
        }
    }
}
