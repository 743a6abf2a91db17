//! `POST /webhooks/stripe`: verified on raw bytes, stored, and only then acknowledged.
//!
//! A duplicate is answered like the first one and changes nothing.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::domain::audit::{AuditDraft, Change};
use crate::domain::payment::Storing;
use crate::source::stripe;

use super::App;
use super::answer::{Problem, body};
use super::refusal::table;

pub(super) async fn stripe(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    if app.stripe.is_empty() {
        return Err(Problem::of(&table::WEBHOOKS_OFF));
    }
    let raw = body(bytes)?;
    let received_at = app.clock.now();
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if stripe::verify(signature, &raw, &app.stripe, received_at.as_second()).is_err() {
        app.metrics.count_webhook(false);
        return Err(Problem::of(&table::SIGNATURE));
    }
    let evidence = match stripe::event(&raw, signature, received_at) {
        Ok(evidence) => evidence,
        Err(error) => {
            app.metrics.count_webhook(false);
            let entry = unreadable(received_at, &error.to_string());
            store(&app, Change { audit: vec![entry], ..Change::default() }).await?;
            return Err(Problem::filled(&table::NO_EVENT, &[("error", &error)]));
        }
    };
    let event_id = evidence.key.event_id.clone();
    let receipt = store(&app, Change { evidence: Some(evidence), ..Change::default() }).await?;
    app.metrics.count_webhook(true);
    if receipt.evidence == Some(Storing::Conflict) {
        tracing::error!(event_id, "an event came again with another meaning; the first one stays");
    }
    Ok(Json(json!({ "received": true, "event_id": event_id })))
}

/// Only a storage failure is a 5xx: Stripe then tries again, so nothing is lost.
async fn store(app: &App, change: Change) -> Result<crate::domain::audit::Receipt, Problem> {
    let Some(ledger) = &app.ledger else { return Err(Problem::of(&table::NOT_STORED)) };
    ledger.commit(change).await.map_err(|error| {
        tracing::error!(%error, "a webhook event was not stored");
        Problem::of(&table::NOT_STORED)
    })
}

fn unreadable(at: jiff::Timestamp, error: &str) -> AuditDraft {
    AuditDraft { reason: error.to_owned(), ..AuditDraft::new(at, "stripe", "webhook_unreadable") }
}
