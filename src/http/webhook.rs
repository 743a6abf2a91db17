//! `POST /webhooks/stripe`: verified on raw bytes, stored, and only then acknowledged.
//!
//! A duplicate is answered like the first one and changes nothing. An event that holds spends
//! nobody's limit, however many come from one address; what turns out to be nobody's event does,
//! and whoever has spent the limit so is refused before its body is read. Whatever came is counted,
//! whatever became of it.

mod account;

use std::net::IpAddr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::domain::audit::{AuditAction, AuditDraft, Change, Receipt};
use crate::domain::payment::Storing;
use crate::source::stripe;
use crate::telemetry::Metrics;

use super::answer::{ProblemResponse, too_large};
use super::client_ip::{self, ClientIp};
use super::limits::{self, Unread};
use super::refusal::table;
use super::route::{BodyLimit, Route};
use super::{App, AppRecord, rate};

pub use account::WebhookAccount;
use account::Why;

/// An event that was not accepted, and what is answered.
type Refused = (Why, ProblemResponse);

/// Makes every reason to refuse an event a series of the metrics, before the first one comes.
pub(super) fn expect(metrics: &Metrics) {
    metrics.expect_webhooks(Why::all().map(Why::category));
}

pub(super) async fn stripe(
    State(app): State<App>,
    Extension(route): Extension<&'static Route>,
    request: Request,
) -> Response {
    let from = client_ip::origin(&app.doors, &request);
    let (found, response) = match app.doors.rates.may(from) {
        Err(wait) => (
            Err(Why::Limited),
            rate::limited(&app.core, rate::CLIENT, wait),
        ),
        Ok(()) => match take(&app, from, route.body, request).await {
            Ok(event_id) => (
                Ok(()),
                Json(json!({ "received": true, "event_id": event_id })).into_response(),
            ),
            Err((why, problem)) => {
                if why.is_nobodys() {
                    // Those that came at the same time may have spent it before: then it is spent.
                    let _ = app.doors.rates.take(from);
                }
                (Err(why), problem.into_response())
            }
        },
    };
    app.core.metrics.count_webhook(found.map_err(Why::category));
    app.doors
        .webhooks
        .note(found, app.core.clock.now(), app.core.clock.elapsed());
    response
}

/// Takes an event; answers its id.
async fn take(
    app: &App,
    from: IpAddr,
    limit: BodyLimit,
    request: Request,
) -> Result<String, Refused> {
    if app.doors.stripe.is_empty() {
        return Err((Why::Off, ProblemResponse::of(&table::WEBHOOKS_OFF)));
    }
    let (parts, content) = request.into_parts();
    let header = signature(&parts.headers);
    let promise = stripe::promises(&header, app.core.clock.now().as_second());
    if let Err(why @ (stripe::BadSignature::NoHeader | stripe::BadSignature::Malformed)) = promise {
        return Err(unsigned(why)); // whatever the body is
    }
    let gathered = limits::gather(
        content,
        limit,
        &app.doors.large,
        ClientIp::of(from),
        promise,
    )
    .await;
    let (raw, _place) = gathered.map_err(unread)?;
    limits::in_time(accept(app, &header, raw))
        .await
        .unwrap_or_else(|problem| Err((Why::NotStored, problem)))
}

fn signature(headers: &HeaderMap) -> String {
    headers
        .get("stripe-signature")
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}

fn unsigned(why: stripe::BadSignature) -> Refused {
    (Why::Signature(why), ProblemResponse::of(&table::SIGNATURE))
}

fn unread(why: Unread<stripe::BadSignature>) -> Refused {
    match why {
        Unread::Broken => (Why::Broken, ProblemResponse::of(&table::BROKEN)),
        Unread::Late => (Why::Late, limits::late()),
        Unread::TooLarge => (Why::TooLarge, too_large()),
        Unread::Crowded => (Why::Crowded, ProblemResponse::of(&table::MANY_LARGE)),
        Unread::Refused(why) => unsigned(why),
    }
}

/// Verifies what arrived, and stores it.
async fn accept(app: &App, header: &str, raw: Bytes) -> Result<String, Refused> {
    let received_at = app.core.clock.now();
    stripe::verify(header, &raw, &app.doors.stripe, received_at.as_second()).map_err(unsigned)?;
    let evidence = match stripe::event(&raw, header, received_at) {
        Ok(evidence) => evidence,
        Err(error) => {
            let entry = unreadable(received_at, &error.to_string());
            store(
                &app.record,
                Change {
                    audit: vec![entry],
                    ..Change::default()
                },
            )
            .await?;
            return Err((
                Why::NoEvent,
                ProblemResponse::filled(&table::NO_EVENT, &[("error", &error)]),
            ));
        }
    };
    let event_id = evidence.key.event_id.clone();
    let receipt = store(
        &app.record,
        Change {
            evidence: Some(evidence),
            ..Change::default()
        },
    )
    .await?;
    if receipt.evidence == Some(Storing::Conflict) {
        tracing::error!(
            event_id,
            "an event came again with another meaning; the first one stays"
        );
    }
    Ok(event_id)
}

/// Only a storage failure is a 5xx: Stripe then tries again, so nothing is lost.
async fn store(record: &AppRecord, change: Change) -> Result<Receipt, Refused> {
    let not_stored = || (Why::NotStored, ProblemResponse::of(&table::NOT_STORED));
    let Some(ledger) = &record.ledger else {
        return Err(not_stored());
    };
    ledger.commit(change).await.map_err(|error| {
        tracing::error!(%error, "a webhook event was not stored");
        not_stored()
    })
}

fn unreadable(at: jiff::Timestamp, error: &str) -> AuditDraft {
    AuditDraft {
        reason: error.to_owned(),
        ..AuditDraft::new(at, "stripe", AuditAction::WebhookUnreadable)
    }
}
