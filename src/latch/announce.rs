//! Telling others of kills that they have not heard of: those that wait for their turn in the
//! record, and those that hold in this process alone, since what was refused may be let in now.
//!
//! Closes and opens nothing here.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use futures::stream::{self, StreamExt as _};

use super::Latch;
use super::registry::Live;
use crate::domain::audit::CommandRecord;
use crate::domain::hold::ScopedHold;
use crate::ports::{Effect, JournalEntry};
use crate::sync::atomic::Ordering;

/// How long the loop lets itself be kept by them.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Kills that others are told of at the same time.
const AT_ONCE: usize = 8;

impl Latch {
    /// Lets others hear of the holds among these, which the record has not: that has an order, a
    /// stop waits for none. And tries some of those again that hold here alone. Each time others
    /// come first, so that one that hangs keeps back no other.
    pub(super) async fn tell_others(&self, pending: &[JournalEntry]) {
        let turn = self.turn.fetch_add(AT_ONCE, Ordering::Relaxed);
        join(self.announce_all(pending, turn), self.share_some(turn)).await;
    }

    async fn announce_all(&self, pending: &[JournalEntry], turn: usize) {
        let held = pending
            .iter()
            .filter_map(|entry| Some((entry.record.once.clone(), entry.clone().hold()?)));
        let mut all: Vec<_> = held.map(|(once, held)| self.announce(once, held)).collect();
        let first = turn % all.len().max(1);
        all.rotate_left(first);
        stream::iter(all)
            .buffer_unordered(AT_ONCE)
            .collect::<()>()
            .await;
    }

    async fn share_some(&self, turn: usize) {
        let mut alone = self.all_alone();
        if alone.is_empty() {
            return;
        }
        // None of them ends meanwhile: what others hear of then would be there for ever.
        let Ok(_turn) = Arc::clone(&self.reviving).try_lock_owned() else {
            return;
        };
        let first = turn % alone.len();
        alone.rotate_left(first);
        let some: Vec<_> = alone
            .into_iter()
            .take(AT_ONCE)
            .map(|(held, record)| self.share(held, record))
            .collect();
        join_all(some).await;
    }

    async fn announce(&self, once: String, held: ScopedHold) {
        let stands = |live: &Live| !live.ending && live.held.hold.epoch == held.hold.epoch;
        if !self.lacks(&once) || self.is_unasked(&once) || !self.holds.lock().iter().any(stands) {
            return;
        }
        if let Err(error) = self.desired.announce(&held).await {
            tracing::debug!(epoch = %held.hold.epoch, %error, "others have not heard of a kill yet");
        }
    }

    async fn share(&self, held: ScopedHold, record: CommandRecord) {
        let entry = JournalEntry {
            effect: Effect::Hold(Box::new(held.clone())),
            record,
        };
        let (epoch, once) = (held.hold.epoch.clone(), &entry.record.once);
        match self.desired.take(held, entry.record.clone()).await {
            Ok(_) => {
                tracing::warn!(%epoch, once, "a kill that held in this process alone is told to others now");
                self.note_of(&entry, None);
            }
            Err(error) => {
                tracing::debug!(%epoch, %error, "a kill still holds in this process alone")
            }
        }
    }

    fn all_alone(&self) -> Vec<(ScopedHold, CommandRecord)> {
        let live = self.holds.lock();
        let alone = live.iter().filter(|live| !live.ending);
        alone
            .filter_map(|live| Some((live.held.clone(), live.alone.as_deref()?.clone())))
            .collect()
    }
}

/// What is recorded of a command once others hear of it: an entry of its own, by the same person
/// and for the same reason.
pub(super) fn shared(record: &CommandRecord) -> CommandRecord {
    let mut record = record.clone();
    record.once.push_str("-shared");
    record.audit.reason.push_str("; others hear of it now");
    record.answer.key = None;
    record
}
