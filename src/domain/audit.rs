//! What the ledger is asked to keep: audit entries, intents, and the changes they belong to.
//!
//! A [`Change`] is one transaction as a value. How it becomes durable is the store's business.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::drift::Drift;
use super::hold::{Epoch, ScopedHold};
use super::level::Level;
use super::offered::Offered;
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

/// Members of an answer, in order.
type Members = serde_json::Map<String, serde_json::Value>;

/// What a command is answered. It is made before the command's effect is durable and kept with it, in one transaction,
/// if the client gave a key: so a command that was sent twice is done once and answered alike, byte for byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct Answer {
    /// The client's key, if it gave one; otherwise nothing is kept.
    pub key: Option<ClientKey>,
    /// HTTP status.
    pub status: u16,
    /// The body. Whoever learns the value of a member that is there sets it; the ledger sets `audit_id`.
    pub body: Members,
    /// When it was answered.
    pub at: Timestamp,
    /// How the body is written.
    pub wording: Wording,
    /// What the client is sent, once every member is known: nothing is changed any more, and this is what is kept. A
    /// number that is read and written again may come out with another last digit.
    pub sent: Option<String>,
    /// Whether this process sent it to the client before the ledger knew. Of what a process before wrote down nobody knows
    /// whether it was sent: what the ledger has counts then.
    pub told: bool,
    /// Whether it is what its key was answered before, and not what this command did.
    pub replayed: bool,
    /// Kills that held when a revival came, ended by it or not; of other answers, and of those kept before, nothing.
    pub stood: Option<Vec<Epoch>>,
}

impl Answer {
    /// An answer that is not kept.
    #[must_use]
    pub fn new(status: u16, body: Members, at: Timestamp) -> Self {
        let wording = Wording::default();
        Self {
            key: None,
            status,
            body,
            at,
            wording,
            sent: None,
            told: false,
            replayed: false,
            stood: None,
        }
    }

    /// Sets a member that the body has; one that it does not have is not wanted. What was written is written.
    pub fn set(&mut self, member: &str, value: impl Into<serde_json::Value>) {
        if let Some(place) = self.body.get_mut(member).filter(|_| self.sent.is_none()) {
            *place = value.into();
        }
    }

    /// Adds a warning, behind one that is there.
    pub fn warn(&mut self, warning: &str) {
        if self.sent.is_none() {
            let before = self.body.get("warning").and_then(serde_json::Value::as_str);
            let all = before.map_or_else(
                || warning.to_owned(),
                |before| format!("{before} {warning}"),
            );
            self.body.insert("warning".to_owned(), all.into());
        }
    }

    /// Writes it: from here on it stays as it is.
    pub fn write(&mut self) -> &str {
        let (wording, body) = (self.wording, &self.body);
        self.sent.get_or_insert_with(|| (wording.0)(body))
    }

    /// The kill that it tells of, where it tells of one.
    #[must_use]
    pub fn kill(&self) -> Option<&str> {
        self.body.get("epoch").and_then(serde_json::Value::as_str)
    }

    /// Whether it says that something was done. A refusal is not kept: what it says need not be true the next time.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// How the members of an answer become the bytes that are sent: the door's own, called by whoever learns the last member.
#[derive(Clone, Copy)]
pub struct Wording(pub fn(&Members) -> String);

impl Default for Wording {
    fn default() -> Self {
        Self(|members| serde_json::to_string(members).unwrap_or_default()) // a map of values has no odd keys
    }
}

impl std::fmt::Debug for Wording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wording")
    }
}

/// Two answers of the same members are the same answer.
impl PartialEq for Wording {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// An answer as it is kept. Format of before: members alone, since nothing was kept of how they were sent.
#[derive(Serialize, Deserialize)]
struct Kept {
    key: Option<ClientKey>,
    status: u16,
    #[serde(default, skip_serializing_if = "Members::is_empty")]
    body: Members,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stood: Option<Vec<Epoch>>,
}

impl From<Kept> for Answer {
    fn from(kept: Kept) -> Self {
        let Kept {
            key,
            status,
            body,
            at,
            sent,
            stood,
        } = kept;
        let written = sent
            .as_deref()
            .and_then(|sent| serde_json::from_str(sent).ok());
        Self {
            key,
            sent,
            stood,
            ..Self::new(status, written.unwrap_or(body), at)
        }
    }
}

impl From<Answer> for Kept {
    fn from(answer: Answer) -> Self {
        let Answer {
            key,
            status,
            body,
            at,
            sent,
            stood,
            ..
        } = answer;
        let body = if sent.is_some() { Members::new() } else { body };
        Self {
            key,
            status,
            body,
            at,
            sent,
            stood,
        }
    }
}

/// The `Idempotency-Key` of a command. It is its caller's, for one route: neither another caller nor another route meets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKey {
    /// Whose it is: the name of the API key. Empty where a version kept it that did not ask.
    #[serde(default)]
    pub caller: String,
    /// The path that was asked. Empty as above.
    #[serde(default)]
    pub route: String,
    /// As the client gave it.
    pub key: String,
    /// Digest of path and raw body, hex: the same key with another digest is a mistake of the client.
    pub digest: String,
    /// From when on it may be forgotten.
    pub expires_at: Timestamp,
}

impl ClientKey {
    /// Whether another one is this one: the same key of the same caller for the same route. One that was kept without its
    /// caller is known only by being the same request.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let same = |one: &Self| (&one.caller, &one.route) == (&self.caller, &self.route);
        self.key == other.key
            && (same(other) || (other.caller.is_empty() && other.digest == self.digest))
    }
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
    /// Holds that begin by what the entries say. One that is already known (ended or not) begins no second time; all else of
    /// the change is made.
    pub holds_taken: Vec<ScopedHold>,
    /// Holds that begin by an entry of their own, which comes before the others: of one that is already known, neither is
    /// written.
    pub begins: Vec<(ScopedHold, AuditDraft)>,
    /// Holds that end.
    pub holds_ended: Vec<Epoch>,
    /// Whether it opens something that is not in the ledger itself.
    pub opens_elsewhere: bool,
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
    /// Id of the command behind it, which alone says whether it was here before: then the change does nothing.
    pub once: Option<String>,
    /// The answer the client gets. A client's key that was used already makes the change do nothing, entries included: unless it
    /// closes, tells of another kill, or was answered before.
    pub answer: Option<Answer>,
}

impl Change {
    /// A change that leaves this record.
    pub fn of(record: Record) -> Self {
        let Record {
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
    pub answer: Option<Answer>,
    /// How many rows were forgotten, where that was asked for.
    pub pruned: usize,
}
