//! Telling others of the kills that hold in this process alone: what was refused may be let in now.
//!
//! Closes and opens nothing here.

use std::sync::Arc;
use std::time::Duration;

use super::Latch;
use crate::domain::audit::Record;
use crate::domain::hold::ScopedHold;
use crate::ports::{Effect, JournalEntry};
use crate::sync::atomic::Ordering;
use crate::sync::timeout;

/// How long the loop lets itself be kept by one of them.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Kills tried in one go.
const AT_ONCE: usize = 8;

impl Latch {
    /// Tries some of them again, the next ones the next time.
    pub(super) async fn share(&self) {
        let alone = self.alone_now();
        if alone.is_empty() {
            return;
        }
        // None of them ends meanwhile: what others hear of then would be there for ever.
        let Ok(_turn) = Arc::clone(&self.reviving).try_lock_owned() else { return };
        for (held, record) in alone {
            let entry = JournalEntry { effect: Effect::Hold(Box::new(held.clone())), record };
            let (epoch, once) = (held.hold.epoch.clone(), &entry.record.once);
            match timeout(PATIENCE, self.desired.take(held, entry.record.clone())).await {
                Ok(Ok(_)) => {
                    tracing::warn!(%epoch, once, "a kill that held in this process alone is told to others now");
                    self.note_of(&entry, None);
                }
                Ok(Err(error)) => tracing::debug!(%epoch, %error, "a kill still holds in this process alone"),
                Err(_) => return,
            }
        }
    }

    fn alone_now(&self) -> Vec<(ScopedHold, Record)> {
        let live = self.lock();
        let alone = live.iter().filter(|live| !live.ending);
        let alone: Vec<_> = alone.filter_map(|live| Some((&live.held, live.alone.as_deref()?))).collect();
        let from = self.shared.fetch_add(AT_ONCE, Ordering::Relaxed) % alone.len().max(1);
        let next = alone.iter().cycle().skip(from).take(AT_ONCE.min(alone.len()));
        next.map(|(held, record)| (ScopedHold::clone(held), Record::clone(record))).collect()
    }
}

/// What is recorded of a command once others hear of it: an entry of its own, by the same person and for the same reason.
pub(super) fn shared(record: &Record) -> Record {
    let mut record = record.clone();
    record.once.push_str("-shared");
    record.audit.reason.push_str("; others hear of it now");
    record.answer.key = None;
    record
}
