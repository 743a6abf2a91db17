//! What the ledger is asked to keep: audit entries, intents, and the changes they belong to.
//!
//! A [`Change`] is one transaction as a value. How it becomes durable is the store's business.

mod action;
mod answer;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::drift::Drift;
use super::hold::{Epoch, ScopedHold};
use super::level::Level;
use super::offered::Offered;
use super::payment;
use super::throttle::{Owner, Spec, ThrottleName};
pub use action::AuditAction;
pub use answer::{ClientKey, CommandResponse, Wording};

/// An audit entry before the ledger numbers and chains it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditDraft {
    /// When it happened.
    pub at: Timestamp,
    /// Whose key it was by its name, a field manager, `echo-phoenix` for the loop itself: what is
    /// proven.
    pub actor: String,
    /// Who it was, as they say; empty where nobody said.
    #[serde(default)]
    pub operator: String,
    /// What.
    pub action: AuditAction,
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
    /// An entry that says who did what and when, of all throttles; what else there is to say is
    /// filled in.
    pub fn new(at: Timestamp, actor: &str, action: AuditAction) -> Self {
        Self {
            at,
            actor: actor.to_owned(),
            operator: String::new(),
            action,
            throttle: String::new(),
            before: String::new(),
            after: String::new(),
            reason: String::new(),
            binding_signal: String::new(),
            request_id: String::new(),
        }
    }

    /// An entry of what this program did by itself.
    pub fn own(at: Timestamp, action: AuditAction) -> Self {
        Self::new(at, "echo-phoenix", action)
    }

    /// The same, of one throttle; of all, if the name is empty.
    #[must_use]
    pub fn on(self, throttle: impl Into<String>) -> Self {
        Self {
            throttle: throttle.into(),
            ..self
        }
    }
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
    /// What was offered; likewise.
    #[serde(default)]
    pub offered: Option<Offered>,
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

/// What a command leaves behind: its audit entry and its answer, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// Unique id of the command: however often it is brought to the ledger, it gets there once.
    pub once: String,
    /// Who, what, why.
    pub audit: AuditDraft,
    /// What the client is answered.
    pub answer: CommandResponse,
}

/// One transaction: everything in it becomes durable together, or nothing does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Entries for the audit log, in order.
    pub audit: Vec<AuditDraft>,
    /// The new state of throttles.
    pub throttles: Vec<ThrottleRow>,
    /// Holds that begin by what the entries say. One that is already known (ended or not) begins no
    /// second time; all else of the change is made.
    pub holds_taken: Vec<ScopedHold>,
    /// Holds that begin by an entry of their own, which comes before the others: of one that is
    /// already known, neither is written.
    pub begins: Vec<(ScopedHold, AuditDraft)>,
    /// Holds that end.
    pub holds_ended: Vec<Epoch>,
    /// Whether it opens something that is not in the ledger itself.
    pub opens_elsewhere: bool,
    /// Observations.
    pub states: Vec<StateRow>,
    /// A payment event; a duplicate changes nothing, entries of this change included.
    pub evidence: Option<payment::PaymentEvidence>,
    /// Drift records; each is also owed to the mirror.
    pub drifts: Vec<Drift>,
    /// Intents that begin.
    pub opens: Vec<IntentId>,
    /// Intents that now have their outcome.
    pub settles: Vec<IntentId>,
    /// Id of the command behind it, which alone says whether it was here before: then the change
    /// does nothing.
    pub once: Option<String>,
    /// The answer the client gets. A client's key that was used already makes the change do
    /// nothing, entries included: unless it closes, tells of another kill, or was answered before.
    pub answer: Option<CommandResponse>,
}

impl Change {
    /// A change that leaves this record.
    pub fn of(record: CommandRecord) -> Self {
        let CommandRecord {
            once,
            audit,
            answer,
        } = record;
        Self {
            audit: vec![audit],
            once: Some(once),
            answer: Some(answer),
            ..Self::default()
        }
    }

    /// Every hold that begins.
    pub fn takes(&self) -> impl Iterator<Item = &ScopedHold> {
        self.begins
            .iter()
            .map(|(hold, _)| hold)
            .chain(&self.holds_taken)
    }

    /// Whether a hold begins or ends.
    #[must_use]
    pub fn moves_holds(&self) -> bool {
        self.takes().next().is_some() || !self.holds_ended.is_empty()
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
    /// Of the holds that the change takes, those that were here before it.
    pub known: Vec<Epoch>,
    /// Of the holds that it takes or ends, those that have ended: by it, or before.
    pub over: Vec<Epoch>,
    /// The answer: of this change, or the first one with the same key.
    pub answer: Option<CommandResponse>,
    /// How many rows were forgotten, where that was asked for.
    pub pruned: usize,
}
