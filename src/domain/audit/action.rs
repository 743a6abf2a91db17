//! What an audit entry is about: one word of a fixed set, on the wire and in the ledger.
//!
//! Knows neither who did it nor what became of it.

use serde::{Deserialize, Serialize};
use strum::{AsRefStr, EnumString};

/// What was done, or was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AsRefStr, EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AuditAction {
    /// A level was declared by a command.
    Control,
    /// Such a command was refused.
    ControlRefused,
    /// A kill.
    Kill,
    /// A kill was refused.
    KillRefused,
    /// A revival.
    Revive,
    /// A revival was refused.
    ReviveRefused,
    /// A measurement was refused, for its role.
    ObserveRefused,
    /// A level, or a kill, was declared by a file.
    Declare,
    /// A temporary level of a cluster began.
    Override,
    /// A hold ended where it was declared.
    HoldEnded,
    /// A hold is in force, and no record tells that it ended.
    Unaccounted,
    /// Automation began to close.
    ShedStart,
    /// Automation ended it.
    ShedEnd,
    /// A workload is about to get other replicas.
    ScaleIntent,
    /// What became of that.
    Scale,
    /// Another site is about to be told something.
    RemoteIntent,
    /// What became of that.
    Remote,
    /// An intent whose process ended before its outcome.
    IntentInterrupted,
    /// Every live hold, and what is declared.
    Checkpoint,
    /// Commands that found no room while nothing could be written.
    CommandsNotKept,
    /// A payment event that was signed and could not be read.
    WebhookUnreadable,
    /// A payment event came twice with another meaning.
    EvidenceConflict,
    /// A word that is not written today: of another version's, or somebody's edit.
    #[serde(untagged)]
    #[strum(default, transparent)]
    Other(String),
}

impl AuditAction {
    /// The word on the wire and in the ledger.
    pub fn as_str(&self) -> &str {
        self.as_ref()
    }

    /// What a word of the ledger means.
    pub fn of_word(word: &str) -> Self {
        word.parse()
            .unwrap_or_else(|_| Self::Other(word.to_owned()))
    }
}
