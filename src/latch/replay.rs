//! Kills of a journal whose process before ended, where others hear of a kill before the record has
//! it: the record is asked first whether it has the command. Then others heard of it then, and it
//! holds for as long as they have it.
//!
//! Nobody is told of such a kill before that is known, or cannot be found out in time. Closes and
//! opens no gate.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::in_flight::InFlightCommand;
use super::{Latch, POLL_INTERVAL, owned};
use crate::domain::audit::CommandRecord;
use crate::domain::hold::ScopedHold;
use crate::ports::Ledger;
use crate::sync::{MutexGuard, sleep, timeout};

/// How long a record may take to say it. Then others are told all the same: a kill that nobody but
/// a journal has stops nothing, one that has ended and comes again stops, is seen and is ended by a
/// person.
const LIMIT: Duration = Duration::from_secs(4);

impl Latch {
    /// Asks this record which of the journal's kills it has; others are told of the rest. To be
    /// called before anybody is told.
    pub fn asks(self: &Arc<Self>, record: Arc<dyn Ledger>) {
        let pending = self
            .journal
            .as_ref()
            .map(|journal| journal.pending())
            .unwrap_or_default();
        let held = pending
            .into_iter()
            .filter_map(|entry| Some((entry.record.clone(), entry.hold()?)));
        let held: Vec<_> = held.collect();
        if held.is_empty() {
            return;
        }
        // What a record has not seen end may have ended: no kill leans on it either.
        held.iter().for_each(|(_, held)| {
            self.holds
                .note(&held.hold.epoch, |live| live.replayed = true)
        });
        self.unasked()
            .extend(held.iter().map(|(record, _)| record.once.clone()));
        let latch = Arc::clone(self);
        owned(async move {
            if timeout(LIMIT, latch.ask_all(record.as_ref(), &held))
                .await
                .is_err()
            {
                latch.ask_no_more();
            }
            held.iter()
                .for_each(|(_, held)| latch.wake.wake(&held.scope));
        });
    }

    async fn ask_all(&self, ledger: &dyn Ledger, held: &[(CommandRecord, ScopedHold)]) {
        for (record, held) in held {
            let (once, epoch) = (&record.once, &held.hold.epoch);
            let has = loop {
                match ledger.has(once).await {
                    Ok(has) => break has,
                    Err(error) => {
                        tracing::debug!(%error, once, "the record does not say whether it has a kill")
                    }
                }
                sleep(POLL_INTERVAL).await;
            };
            if has {
                tracing::warn!(%epoch, once, "a kill of the journal is on record: it holds where others have it");
                let _under_way = InFlightCommand::again(self, once).await;
                self.entered(once).await;
                self.holds.forget([epoch].into_iter());
                if record.answer.told {
                    // A retry hears what its client was told, and not what was recorded then. It is
                    // waited for by nobody: what others are told hangs on no write.
                    let (desired, record) = (Arc::clone(&self.desired), record.clone());
                    owned(async move { drop(desired.note(record).await) });
                }
            }
            self.unasked().remove(once);
        }
    }

    fn ask_no_more(&self) {
        for once in std::mem::take(&mut *self.unasked()) {
            tracing::error!(
                once,
                "the record does not say whether it has a kill of the journal: others are told of it"
            );
        }
    }

    /// Whether it is not known yet whether the record has this command.
    pub(super) fn is_unasked(&self, once: &str) -> bool {
        self.unasked().contains(once)
    }

    fn unasked(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unasked.lock()
    }
}
