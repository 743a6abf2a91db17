//! What of a journal the ledger has already: settled at a start, before anything goes by it.
//!
//! An entry that was answered as not written may be on the disk all the same, and what it closed has been opened since.

use std::collections::BTreeSet;

use super::JournalFile;
use crate::domain::hold::Epoch;
use crate::ports::{Effect, JournalEntry, Ledger};

/// Settles what has ended, which was brought to the ledger before: it does not bite until it has been brought there again;
/// and every command that the ledger has. What cannot be asked stays.
pub async fn settle_had(journal: &mut JournalFile, ended: &BTreeSet<Epoch>, ledger: &dyn Ledger) {
    let has_ended =
        |entry: &JournalEntry| matches!(&entry.effect, Effect::Hold(held) if ended.contains(&held.hold.epoch));
    let mut settled = Vec::new();
    for entry in journal.pending() {
        if has_ended(&entry) || ledger.has(&entry.record.once).await.unwrap_or(false) {
            settled.push(entry.record.once);
        }
    }
    if !settled.is_empty()
        && let Err(error) = journal.settle(&settled)
    {
        tracing::warn!(%error, "the journal could not be settled; what the ledger has of it is settled at the next start");
    }
}
