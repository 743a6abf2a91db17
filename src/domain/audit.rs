//! What the ledger is asked to keep: audit entries, intents, and the changes they belong to.
//!
//! A [`Change`] is one transaction as a value. How it becomes durable is the store's business.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::drift::Drift;
use super::hold::{Epoch, ScopedHold};
use super::level::Level;
use super::payment;
use super::throttle::{Owner, Spec, ThrottleName};

/// An audit entry before the ledger numbers and chains it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditDraft {
    /// When it happened.
    pub at: Timestamp,
    /// Whose key it was by its name, a field manager, `echo-phoenix` for the loop itself: what is proven.
    pub actor: String,
    /// Who it was, as they say; empty where nobody said.
    #[serde(default)]
    pub operator: String,
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

impl AuditDraft {
    /// An entry that says who did what and when, of all throttles; what else there is to say is filled in.
    pub fn new(at: Timestamp, actor: &str, action: &str) -> Self {
        Self {
            at,
            actor: actor.to_owned(),
            operator: String::new(),
            action: action.to_owned(),
            throttle: String::new(),
            before: String::new(),
            after: String::new(),
            reason: String::new(),
            binding_signal: String::new(),
            request_id: String::new(),
        }
    }
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThrottleRow {
    /// Its name.
    pub name: ThrottleName,
    /// Level asked for.
    pub declared: Level,
    /// Level in force.
    pub effective: Level,
    /// Counts up with every change of the declaration; an older one is a conflict.
    pub generation: i64,
    /// Who owns the declaration.
    pub owner: Owner,
    /// What is declared besides the level; what is stored stays if this is absent.
    pub spec: Option<Spec>,
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

/// What a command is answered. It is made before the command's effect is durable and kept with it, in one transaction,
/// if the client gave a key: so a command that was sent twice is done once and answered alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The client's key, if it gave one; otherwise nothing is kept.
    pub key: Option<ClientKey>,
    /// HTTP status.
    pub status: u16,
    /// The body. Whoever learns the value of a member that is there sets it; the ledger sets `audit_id`.
    pub body: serde_json::Map<String, serde_json::Value>,
    /// When it was answered.
    pub at: Timestamp,
}

impl Answer {
    /// Sets a member that the body has; one that it does not have is not wanted.
    pub fn set(&mut self, member: &str, value: impl Into<serde_json::Value>) {
        if let Some(place) = self.body.get_mut(member) {
            *place = value.into();
        }
    }
}

/// The `Idempotency-Key` of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKey {
    /// As the client gave it.
    pub key: String,
    /// Digest of path and raw body, hex: the same key with another digest is a mistake of the client.
    pub digest: String,
    /// From when on it may be forgotten.
    pub expires_at: Timestamp,
}

/// What a command leaves behind: its audit entry and its answer, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Unique id of the command: however often it is brought to the ledger, it gets there once.
    pub once: String,
    /// Who, what, why.
    pub audit: AuditDraft,
    /// What the client is answered.
    pub answer: Answer,
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
    /// Id of the command behind it. A change whose command was here before does nothing.
    pub once: Option<String>,
    /// The answer the client gets. A client's key that was used already makes the change do nothing, entries included.
    pub answer: Option<Answer>,
}

impl Change {
    /// A change that leaves this record.
    pub fn of(record: Record) -> Self {
        let Record { once, audit, answer } = record;
        Self { audit: vec![audit], once: Some(once), answer: Some(answer), ..Self::default() }
    }
}

/// What a committed change became.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receipt {
    /// Numbers of the audit entries written, in order.
    pub audit: Vec<i64>,
    /// What storing the payment event found, if there was one.
    pub evidence: Option<payment::Storing>,
    /// Whether the command or the client's key was here before, so that nothing was written.
    pub repeated: bool,
    /// The answer: of this change, or the first one with the same key.
    pub answer: Option<Answer>,
    /// How many rows were forgotten, where that was asked for.
    pub pruned: usize,
}
