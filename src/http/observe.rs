//! `POST /observe`: takes a measurement, answers the whole state.
//!
//! What was measured is evidence for three ticks; a body without any measurement only asks.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::domain::audit::{Change, StateRow};
use crate::domain::evidence::Evidence;
use crate::domain::throttle::ThrottleName;
use crate::ports::DesiredError;
use crate::source::rest::{ObserveBody, parse};

use super::App;
use super::answer::{Problem, body};
use super::request_id::RequestId;

pub(super) async fn observe(
    State(app): State<Arc<App>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let asked: ObserveBody = parse(&body(bytes)?)?;
    let name = asked.throttle.clone().unwrap_or_else(ThrottleName::default_throttle);
    let Some(standing) = app.gate.standing(&name) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, DesiredError::Unknown(name).to_string()));
    };
    let signals = asked.signals(standing.level)?;
    let at = app.clock.now();
    let kills = app.gate.kills(&name);
    let mut state = serde_json::to_value(signals).unwrap_or_default();
    if let Some(fields) = state.as_object_mut() {
        fields.insert("killed".to_owned(), json!(!kills.is_empty()));
        fields.insert("epoch".to_owned(), json!(kills.first().map(|hold| &hold.epoch.0)));
    }
    if let Some(ledger) = &app.ledger {
        let row = StateRow { at, source: asked.source.clone(), throttle: name.clone(), state: state.to_string() };
        let change = Change { states: vec![row], ..Change::default() };
        if let Err(error) = ledger.commit(change).await {
            tracing::error!(%error, request_id, "an observation was not stored");
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The ledger is not available; the observation was not stored.",
            ));
        }
    }
    if asked.measured() {
        app.desired.observe(&name, Evidence { signals, at });
        app.desired.wake();
    }
    Ok(Json(json!({
        "state": state,
        "health": "healthy",
        "observed_at": at.to_string(),
        "throttle": name,
        "source": asked.source,
    })))
}
