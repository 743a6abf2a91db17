//! What the ledger is asked to keep: audit entries, intents, and the changes they belong to.
//!
//! A [`Change`] is one transaction as a value. How it becomes durable is the store's business.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::drift::Drift;
use super::hold::{Epoch, ScopedHold};
use super::level::Level;
use super::payment;
use super::throttle::ThrottleName;

/// An audit entry before the ledger numbers and chains it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditDraft {
    /// When it happened.
    pub at: Timestamp,
    /// Who: the name of a key, a field manager, `echo-phoenix` for the loop itself.
    pub actor: String,
    /// What, one word of a fixed set: `control`, `kill`, `revive`, `scale`, …
    pub action: String,
    /// On which throttle; empty for all.
    pub throttle: String,
    /// State before, as short text.
    pub before: String,
    /// State after, as short text.
    pub after: String,
    /// Why, in a person's words or the law's.
    pub reason: String,
    /// The signal that decided, where one did.
    pub binding_signal: String,
    /// The request that caused it, where one did.
    pub request_id: String,
}

/// An audit entry as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Number, from 1, without a gap.
    pub seq: i64,
    /// What was recorded.
    #[serde(flatten)]
    pub draft: AuditDraft,
    /// Hash of the entry before, hex; 64 zeros for the first.
    pub prev_hash: String,
    /// Hash of this entry, hex.
    pub hash: String,
}

/// The id of something about to be done; it gets exactly one outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentId(pub String);

/// The current state of one throttle as the ledger keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct ThrottleRow {
    /// Its name.
    pub name: ThrottleName,
    /// Level asked for.
    pub declared: Level,
    /// Level in force.
    pub effective: Level,
    /// Counts up with every change of the declaration; an older one is a conflict.
    pub generation: i64,
}

/// What was seen at one moment, for `system_state`.
#[derive(Clone, Debug, PartialEq)]
pub struct StateRow {
    /// When.
    pub at: Timestamp,
    /// Who saw it, as they said.
    pub source: String,
    /// On which throttle.
    pub throttle: ThrottleName,
    /// What, as JSON.
    pub state: String,
}

/// The answer to a command that bore an `Idempotency-Key`. It is kept with the command's effect, in one transaction, so
/// that a command which was sent twice is done once and answered alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The client's key.
    pub key: String,
    /// Digest of path and raw body, hex: the same key with another digest is a mistake of the client.
    pub digest: String,
    /// HTTP status.
    pub status: u16,
    /// The body. If it has a member `audit_id`, the ledger puts the number of the change's last audit entry there.
    pub body: serde_json::Map<String, serde_json::Value>,
    /// When it was answered.
    pub at: Timestamp,
    /// From when on the key may be forgotten.
    pub expires_at: Timestamp,
}

/// One transaction: everything in it becomes durable together, or nothing does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Entries for the audit log, in order.
    pub audit: Vec<AuditDraft>,
    /// The new state of throttles.
    pub throttles: Vec<ThrottleRow>,
    /// Holds that begin. One that is already known (ended or not) changes nothing, its entries included.
    pub holds_taken: Vec<ScopedHold>,
    /// Holds that end.
    pub holds_ended: Vec<Epoch>,
    /// Observations.
    pub states: Vec<StateRow>,
    /// A payment event; a duplicate changes nothing, entries of this change included.
    pub evidence: Option<payment::Evidence>,
    /// Drift records; each is also owed to the mirror.
    pub drifts: Vec<Drift>,
    /// Intents that begin.
    pub opens: Vec<IntentId>,
    /// Intents that now have their outcome.
    pub settles: Vec<IntentId>,
    /// The answer the client gets. A key that was used already makes the change do nothing, entries included.
    pub answer: Option<Answer>,
}

/// What a committed change became.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receipt {
    /// Numbers of the audit entries written, in order.
    pub audit: Vec<i64>,
    /// What storing the payment event found, if there was one.
    pub evidence: Option<payment::Storing>,
    /// The answer as it was kept: of this change, or of an earlier one with the same key.
    pub answer: Option<Answer>,
}
