//! What the client of a command is told of its record: where it stands, and whether it would
//! survive.
//!
//! Only words; brings nothing anywhere.

use strum::IntoStaticStr;

use crate::domain::audit::{CommandRecord, CommandResponse};
use crate::ports::{Effect, JournalEntry};

/// Where the record of a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum AuditState {
    /// In the ledger.
    Recorded,
    /// Owed to the ledger; it enters when the ledger is back.
    Pending,
}

impl AuditState {
    /// The word users see.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Says it in an answer.
    pub(super) fn tell(self, answer: &mut CommandResponse, durable: bool) {
        answer.set("audit", self.as_str());
        answer.set("durable", durable);
    }
}

/// What became of a command's record.
#[derive(Clone, Debug, PartialEq)]
pub struct Persisted {
    /// Where it stands.
    pub audit: AuditState,
    /// Whether it would survive the end of this process now.
    pub durable: bool,
    /// What the client is answered.
    pub answer: CommandResponse,
}

/// What the client of a command is told of its record, fixed before anything is stored.
pub(super) struct Telling<'a> {
    pub(super) effect: &'a Effect,
    pub(super) record: &'a CommandRecord,
    /// Where the record of the hold stands that a repeated kill repeats.
    pub(super) hold: Option<(AuditState, bool)>,
}

impl Telling<'_> {
    /// What is told where the command's own record stands so.
    pub(super) fn told(&self, audit: AuditState, durable: bool) -> (AuditState, bool) {
        match self.hold {
            Some((AuditState::Pending, holds)) => (AuditState::Pending, holds && durable),
            Some((AuditState::Recorded, durable)) => (audit, durable),
            None => (audit, durable),
        }
    }

    /// The command, with that for an answer.
    pub(super) fn entry(&self, audit: AuditState, durable: bool) -> JournalEntry {
        let mut record = self.record.clone();
        let (audit, durable) = self.told(audit, durable);
        audit.tell(&mut record.answer, durable);
        JournalEntry {
            effect: self.effect.clone(),
            record,
        }
    }

    /// It, while the ledger is owed it. Written here: what the client hears of a record that is
    /// owed must not change when the ledger gets it.
    pub(super) fn owing(&self, durable: bool) -> JournalEntry {
        let mut entry = self.entry(AuditState::Pending, durable);
        entry.record.answer.write();
        entry
    }
}
