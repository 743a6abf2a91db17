//! What of a journal is not yet known to be in the ledger.
//!
//! A ledger may be quicker than the journal's disk: what it has is settled before its entry is
//! written, and is never pending then. Knows no file.

use std::collections::BTreeSet;

use crate::ports::JournalEntry;

/// Entries that are not yet known to be in the ledger, oldest first.
#[derive(Debug, Default)]
pub(super) struct Pending {
    entries: Vec<JournalEntry>,
    /// Ids of records that were settled, and of which the file was not told yet: their entry may
    /// still be on its way to the disk. At most as many as the writer's queue has places for.
    ahead: BTreeSet<String>,
}

impl Pending {
    /// A snapshot.
    pub(super) fn entries(&self) -> Vec<JournalEntry> {
        self.entries.clone()
    }

    /// Whether the entry is among them whose record has this id.
    pub(super) fn has(&self, once: &str) -> bool {
        self.entries.iter().any(|entry| entry.record.once == once)
    }

    /// Whether the ledger has everything.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An entry that is on the disk; it stands for one before of the same record.
    pub(super) fn push(&mut self, entry: JournalEntry) {
        let once = &entry.record.once;
        if self.ahead.contains(once) {
            return;
        }
        match self.entries.iter_mut().find(|one| one.record.once == *once) {
            Some(before) => *before = entry,
            None => self.entries.push(entry),
        }
    }

    /// The ledger has the entry whose record has this id, written or not.
    pub(super) fn settle_ahead(&mut self, once: &str) {
        self.entries.retain(|entry| entry.record.once != once);
        self.ahead.insert(once.to_owned());
    }

    /// The file will not be told of it.
    pub(super) fn forget_ahead(&mut self, once: &str) {
        self.ahead.remove(once);
    }

    /// It is the turn of the file to be told of these: nothing of them is on its way any longer.
    pub(super) fn settle(&mut self, settled: &[String]) {
        self.entries
            .retain(|entry| !settled.contains(&entry.record.once));
        for once in settled {
            self.ahead.remove(once);
        }
    }
}
