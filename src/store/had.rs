//! What of a journal the ledger has already: settled at a start, before anything goes by it.
//!
//! An entry that was answered as not written may be on the disk all the same, and what it closed
//! has been opened since. So may one that was settled while another was still owed: the file says
//! it of all at once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;

use crate::domain::audit::Change;
use crate::domain::hold::Epoch;
use crate::ports::{Effect, Journal, JournalEntry, Ledger};
use crate::sync::timeout;

/// How long a start waits for the ledger to say it, and to take what clients were told.
const LIMIT: Duration = Duration::from_secs(2);

/// How long it waits for the journal's disk to know it too.
const SETTLE_LIMIT: Duration = Duration::from_millis(250);

/// Settles what has ended, which was brought to the ledger before: it does not bite until it has
/// been brought there again; and every command that the ledger has. A retry hears from there what
/// its client was told before that was known. What cannot be asked in time stays.
pub async fn settle_had(journal: &dyn Journal, ended: &BTreeSet<Epoch>, ledger: &dyn Ledger) {
    let has_ended = |entry: &JournalEntry| matches!(&entry.effect, Effect::Hold(held) if ended.contains(&held.hold.epoch));
    let (ended, open): (Vec<_>, Vec<_>) = journal.pending().into_iter().partition(has_ended);
    let mut settled: Vec<_> = ended.into_iter().map(|entry| entry.record.once).collect();
    let mut all_asked = false;
    let asking = async {
        let mut told = Vec::new();
        for JournalEntry { record, .. } in open {
            if ledger.has(&record.once).await.unwrap_or(false) {
                settled.push(record.once.clone());
                told.extend(record.answer.told.then_some(record));
            }
        }
        all_asked = true;
        // Settled whether or not these get there: an entry that stays may close again what was
        // opened since, and a retry that hears other words does no harm.
        let notes = told.into_iter().map(Change::of);
        join_all(notes.map(|note| ledger.commit(note))).await
    };
    let _notes = timeout(LIMIT, asking).await;
    if !all_asked {
        tracing::warn!(
            "the ledger does not say which commands of the journal it has; they are brought to it again"
        );
    }
    // Pending no more at once, and the journal's own thread tells its file.
    let settling = join_all(settled.iter().map(|once| journal.settle(once)));
    let known = timeout(SETTLE_LIMIT, settling).await.unwrap_or_default();
    if let Some(error) = known.into_iter().find_map(Result::err) {
        tracing::warn!(%error, "the journal could not be settled; what the ledger has of it is settled at the next start");
    }
}
