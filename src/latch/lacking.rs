//! What the ledger is not known to have: counted, and looked up.
//!
//! Reads alone: tells the ledger of nothing, and waits for nothing.

use super::in_flight::Teller;
use super::{Latch, UndecidedCommand};
use crate::domain::audit::{ClientKey, CommandResponse};
use crate::ports::JournalEntry;

/// How many commands the ledger lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// In the journal: they outlive a crash.
    pub on_disk: usize,
    /// In memory alone.
    pub in_memory: usize,
    /// Begun, and nobody knows yet whether it is done.
    pub undecided: usize,
}

impl Latch {
    /// Everything the ledger lacks, oldest first.
    pub(super) fn pending(&self) -> Vec<JournalEntry> {
        let owed = self.owed.all();
        let mut all = self
            .journal
            .as_ref()
            .map(|journal| journal.pending())
            .unwrap_or_default();
        // What the journal took too late for its caller was told as owed from memory.
        all.retain(|entry| {
            !owed
                .iter()
                .any(|owed| owed.record.once == entry.record.once)
        });
        all.extend(owed);
        all
    }

    /// How many commands the ledger lacks: those on the disk, and those in memory alone. Without
    /// those whose caller still waits.
    pub fn lacking(&self) -> Lacking {
        let on_disk = self
            .journal
            .as_ref()
            .map(|journal| journal.pending())
            .unwrap_or_default();
        let under_way = self.under_way();
        let on_disk = on_disk
            .iter()
            .filter(|entry| under_way.get(&entry.record.once) != Some(&Teller::Caller))
            .count();
        Lacking {
            on_disk,
            in_memory: self.owed.len(),
            undecided: self.doubts.count_undecided(),
        }
    }

    /// Commands whose outcome was not known when they were answered, or that hold here alone: the
    /// newest first.
    pub fn doubts(&self) -> Vec<UndecidedCommand> {
        self.doubts.all()
    }

    /// How many kills hold in this process alone, since what would tell others was refused for
    /// good.
    pub fn held_alone(&self) -> usize {
        self.holds
            .lock()
            .iter()
            .filter(|live| live.alone.is_some())
            .count()
    }

    /// What a command with this key was answered, while the ledger is not known to have it.
    pub fn answered(&self, key: &ClientKey) -> Option<CommandResponse> {
        let is_it = |answer: &CommandResponse| {
            answer.is_success() && answer.key.as_ref().is_some_and(|own| key.is(own))
        };
        let mut all = self.pending();
        all.retain(|entry| is_it(&entry.record.answer));
        // The same request may have been done again, since its key could not be looked up: what it
        // did last counts. To another one the key is that of the first.
        let is_same = |entry: &JournalEntry| {
            entry
                .record
                .answer
                .key
                .as_ref()
                .is_some_and(|own| own.digest == key.digest)
        };
        let index = all.iter().rposition(is_same).unwrap_or_default();
        let JournalEntry { record, .. } = all.into_iter().nth(index)?;
        Some(CommandResponse {
            told: self.told().contains(&record.once),
            ..record.answer
        })
    }
}
