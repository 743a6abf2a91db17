//! What the record is asked about the past, and what it answers: pages, newest first.
//!
//! Rows bear what the tables hold, times as they were written; raw bodies and signatures of events
//! are not among it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::throttle::ThrottleName;

/// Which page is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageAsk {
    /// Only rows with a smaller number; none: from the newest on.
    pub before: Option<i64>,
    /// Most rows.
    pub limit: usize,
    /// Only rows of this throttle.
    pub throttle: Option<ThrottleName>,
    /// Only rows of this kind: action of an audit entry or a drift, type of an event, source of a
    /// state.
    pub kind: Option<String>,
    /// Only rows from then on.
    pub since: Option<Timestamp>,
    /// Only rows before then.
    pub until: Option<Timestamp>,
}

/// One page.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryPage<T> {
    /// Rows, newest first.
    pub items: Vec<T>,
    /// `before` of the page that follows, also of an empty one; none: this was the last one.
    pub next: Option<i64>,
}

/// One entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AuditItem {
    /// Number, from 1, without a gap.
    pub seq: i64,
    /// When it happened.
    pub at: String,
    /// Whose key it was by its name, a field manager, `echo-phoenix` for the loop itself: what is proven.
    pub actor: String,
    /// Who it was, as they say; empty where nobody said.
    pub operator: String,
    /// What, one word.
    pub action: String,
    /// On which throttle; empty for all.
    pub throttle: String,
    /// State before.
    pub before: String,
    /// State after.
    pub after: String,
    /// Why.
    pub reason: String,
    /// The signal that decided, where one did.
    pub binding_signal: String,
    /// The request that caused it, where one did.
    pub request_id: String,
    /// Hash of the entry before, hex.
    pub prev_hash: String,
    /// Hash of this entry, hex.
    pub hash: String,
}

/// One version of a drift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DriftItem {
    /// Number of the row.
    pub seq: i64,
    /// The drift; the same in all its versions.
    pub id: String,
    /// The throttle.
    pub throttle: Option<String>,
    /// Target id within the throttle.
    pub target: Option<String>,
    /// The field that differs.
    pub field: Option<String>,
    /// What had been asked for.
    pub desired: Option<String>,
    /// What was found.
    pub actual: Option<String>,
    /// `safer` or `riskier`.
    pub side: Option<String>,
    /// Who wrote it, where known.
    pub who: Option<WhoItem>,
    /// First sight.
    pub first_seen: Option<String>,
    /// Last sight.
    pub last_seen: Option<String>,
    /// How often it was seen.
    pub count: Option<i64>,
    /// `corrected`, `reported` or `failed`.
    pub action: Option<String>,
    /// Why it failed, where it did.
    pub error: Option<String>,
}

/// Who wrote a differing value: a manager names a program, not a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WhoItem {
    /// Field manager.
    pub manager: String,
    /// `Update` or `Apply`.
    pub operation: String,
    /// `scale`, `status`, or empty.
    pub subresource: String,
    /// When, if it was recorded.
    pub time: Option<String>,
}

/// One event of the payment provider, without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EvidenceItem {
    /// Number, from 1, without a gap.
    pub seq: i64,
    /// Whether real money is meant.
    pub livemode: bool,
    /// Connected account; empty for our own.
    pub account: String,
    /// The provider's event id.
    pub event_id: String,
    /// Event type.
    pub kind: String,
    /// When the provider made it, seconds since 1970.
    pub created: i64,
    /// Id of the object it is about; empty where it names none.
    pub object_id: String,
    /// Amount in the currency's smallest unit.
    pub amount: Option<i64>,
    /// ISO 4217, lower case.
    pub currency: Option<String>,
    /// SHA-256 of the body as it was signed, hex.
    pub digest: String,
    /// When it came.
    pub received_at: String,
    /// Hash of the row before, hex.
    pub prev_hash: String,
    /// Hash of this row, hex.
    pub hash: String,
}

/// What was seen at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StateItem {
    /// Number of the row; rows that were pruned leave gaps.
    pub id: i64,
    /// When.
    pub at: String,
    /// Who saw it, as they said.
    pub source: String,
    /// On which throttle.
    pub throttle: String,
    /// What.
    pub state: Value,
}
