//! What a command is answered, as it is sent and as the ledger keeps it for the key of its client.
//!
//! Knows neither a route nor what a member means: whoever learns a value sets it, and the door's
//! own words become the bytes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::hold::Epoch;

/// Members of an answer, in order.
type Members = serde_json::Map<String, serde_json::Value>;

/// What a command is answered. It is made before the command's effect is durable and kept with it,
/// in one transaction, if the client gave a key: so a command that was sent twice is done once and
/// answered alike, byte for byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct CommandResponse {
    /// The client's key, if it gave one; otherwise nothing is kept.
    pub key: Option<ClientKey>,
    /// HTTP status.
    pub status: u16,
    /// The body. Whoever learns the value of a member that is there sets it; the ledger sets
    /// `audit_id`.
    pub body: Members,
    /// When it was answered.
    pub at: Timestamp,
    /// How the body is written.
    pub wording: Wording,
    /// What the client is sent, once every member is known: nothing is changed any more, and this
    /// is what is kept. A number that is read and written again may come out with another last
    /// digit.
    pub sent: Option<String>,
    /// Whether it was sent to the client before the ledger knew: by this process, or by one before,
    /// whose journal says so. Of what else that wrote down nobody knows whether it was sent: what
    /// the ledger has counts then.
    pub told: bool,
    /// Whether it is what its key was answered before, and not what this command did.
    pub replayed: bool,
    /// Kills that held when a revival came, ended by it or not; of other answers, and of those kept
    /// before, nothing.
    pub stood: Option<Vec<Epoch>>,
}

impl CommandResponse {
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

    /// Sets a member that the body has; one that it does not have is not wanted. What was written
    /// is written.
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

    /// Whether it says that something was done. A refusal is not kept: what it says need not be
    /// true the next time.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// How the members of an answer become the bytes that are sent: the door's own, called by whoever
/// learns the last member.
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

/// An answer as it is kept. Format of before: members alone, since nothing was kept of how they
/// were sent.
#[derive(Serialize, Deserialize)]
struct Kept {
    key: Option<ClientKey>,
    status: u16,
    #[serde(default, skip_serializing_if = "Members::is_empty")]
    body: Members,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    told: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stood: Option<Vec<Epoch>>,
}

impl From<Kept> for CommandResponse {
    fn from(kept: Kept) -> Self {
        let Kept {
            key,
            status,
            body,
            at,
            sent,
            told,
            stood,
        } = kept;
        let written = sent
            .as_deref()
            .and_then(|sent| serde_json::from_str(sent).ok());
        Self {
            key,
            sent,
            told,
            stood,
            ..Self::new(status, written.unwrap_or(body), at)
        }
    }
}

impl From<CommandResponse> for Kept {
    fn from(answer: CommandResponse) -> Self {
        let CommandResponse {
            key,
            status,
            body,
            at,
            sent,
            told,
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
            told,
            stood,
        }
    }
}

/// The `Idempotency-Key` of a command. It is its caller's, for one route: neither another caller
/// nor another route meets it.
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
    /// Digest of path and raw body, hex: the same key with another digest is a mistake of the
    /// client.
    pub digest: String,
    /// From when on it may be forgotten.
    pub expires_at: Timestamp,
}

impl ClientKey {
    /// Whether another one is this one: the same key of the same caller for the same route. One
    /// that was kept without its caller is known only by being the same request.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let same = |one: &Self| (&one.caller, &one.route) == (&self.caller, &self.route);
        self.key == other.key
            && (same(other) || (other.caller.is_empty() && other.digest == self.digest))
    }
}
