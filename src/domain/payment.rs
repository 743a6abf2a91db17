//! Payment evidence: one accepted event of the payment provider, and what it says.
//!
//! Knows nothing of signatures (source/stripe.rs) or of how evidence is kept (store).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What makes an event the same event for ever: its id, within live or test mode of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventKey {
    /// Whether real money is meant.
    pub livemode: bool,
    /// Connected account; empty for our own.
    pub account: String,
    /// The provider's event id, `evt_…`.
    pub event_id: String,
}

/// What must be equal when the same event is told again (another rendering is normal, another
/// meaning is not).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMeaning {
    /// Event type, `payment_intent.succeeded` for example.
    pub kind: String,
    /// When the provider made it, seconds since 1970.
    pub created: i64,
    /// Id of the object it is about; empty where it names none.
    pub object_id: String,
}

/// One event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentEvidence {
    /// Its identity.
    pub key: EventKey,
    /// What it means.
    pub meaning: EventMeaning,
    /// Amount in the currency's smallest unit, where the object has one.
    pub amount: Option<i64>,
    /// ISO 4217, lower case, where the object has one.
    pub currency: Option<String>,
    /// The body exactly as it was signed.
    pub raw: Vec<u8>,
    /// The signature header exactly as it came.
    pub signature: String,
    /// When it came.
    pub received_at: Timestamp,
}

/// What storing an event found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storing {
    /// New, and now durable.
    Stored,
    /// Already there with the same meaning; nothing changed.
    Duplicate,
    /// Already there with another meaning; the first one stays and an alarm was recorded.
    Conflict,
}
