//! A verified body becomes payment evidence, whatever it holds: what we do not understand today is
//! evidence all the same.
//!
//! Knows nothing of signatures. Takes the few values that identify and order an event; the body
//! itself is kept whole.

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::domain::payment::{EventKey, EventMeaning, PaymentEvidence};

/// The body is no JSON, although it was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event is no JSON")]
pub struct NotAnEvent;

impl NotAnEvent {
    /// Fixed metric label. Sending the same again cannot help.
    pub const fn category(self) -> &'static str {
        "not_json"
    }
}

/// Reads an event. Unknown types and versions are evidence too; values that are missing are empty.
pub fn event(
    body: &[u8],
    signature: &str,
    received_at: Timestamp,
) -> Result<PaymentEvidence, NotAnEvent> {
    let text_of_body = str::from_utf8(body).map_err(|_| NotAnEvent)?;
    serde_json::from_str::<IgnoredAny>(text_of_body).map_err(|_| NotAnEvent)?;
    // JSON that is nested or has numbers beyond what we can hold is stored too, without a
    // projection.
    let event: Value = serde_json::from_str(text_of_body).unwrap_or_default();
    let projection = if event["object"] == "v2.core.event" {
        Projection::thin(&event)
    } else {
        Projection::snapshot(&event)
    };
    let Projection {
        account,
        created,
        object_id,
        amount,
        currency,
    } = projection;
    let key = EventKey {
        livemode: event["livemode"].as_bool().unwrap_or(false),
        account,
        event_id: event["id"]
            .as_str()
            .filter(|id| !id.is_empty())
            .map_or_else(|| digest_id(body), str::to_owned),
    };
    let meaning = EventMeaning {
        kind: text(&event["type"]),
        created,
        object_id,
    };
    let (raw, signature) = (body.to_vec(), signature.to_owned());
    Ok(PaymentEvidence {
        key,
        meaning,
        amount,
        currency,
        raw,
        signature,
        received_at,
    })
}

struct Projection {
    account: String,
    created: i64,
    object_id: String,
    amount: Option<i64>,
    currency: Option<String>,
}

impl Projection {
    /// An event that carries the object as it was then.
    fn snapshot(event: &Value) -> Self {
        let object = &event["data"]["object"];
        let amount = match event["type"].as_str() {
            // Cumulative: how much of the charge has been refunded so far, not how much was
            // charged.
            Some("charge.refunded") => &object["amount_refunded"],
            _ => &object["amount"],
        };
        Self {
            account: text(&event["account"]),
            created: event["created"].as_i64().unwrap_or(0),
            object_id: text(&object["id"]),
            amount: amount.as_i64(),
            currency: object["currency"].as_str().map(str::to_ascii_lowercase),
        }
    }

    /// A thin event names its object only, its account as `context`, and its time as text.
    fn thin(event: &Value) -> Self {
        let account = event["account"]
            .as_str()
            .or(event["context"].as_str())
            .unwrap_or_default();
        let created = event["created"]
            .as_str()
            .and_then(|t| t.parse::<Timestamp>().ok())
            .map(Timestamp::as_second);
        Self {
            account: account.to_owned(),
            created: created.or(event["created"].as_i64()).unwrap_or(0),
            object_id: text(&event["related_object"]["id"]),
            amount: None,
            currency: None,
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An id for what has none, so that two such bodies are two pieces of evidence and one sent twice
/// is one.
fn digest_id(body: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(body)))
}
