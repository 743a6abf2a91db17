//! What the loop owes to the ledger: in order, bounded, and told again until it is taken.
//!
//! A ledger that hangs keeps a pass for one limit, and for none where a kill waits for the next
//! pass. Knows nothing of what a change means, but for those that belong together.

use std::collections::VecDeque;
use std::fmt::Display;
use std::mem;
use std::time::Duration;

use tokio::time::timeout;

use crate::domain::audit::Change;
use crate::ports::LedgerError;

use super::ReconcileContext;

/// How long the ledger may take for a change.
const LIMIT: Duration = Duration::from_secs(2);
/// Changes kept while the ledger is away: at one a second, four minutes. Older intents are closed
/// at the next start.
const MOST: usize = 256;

/// What became of a change.
pub(super) enum CommitOutcome {
    /// The ledger has it.
    Taken,
    /// It has not, and will not have it from this; no error: it was not asked, since it lacks what
    /// was before.
    Not(Option<LedgerError>),
    /// It was not heard in time: it may have it yet.
    Unheard,
}

/// The changes, oldest first.
#[derive(Default)]
pub(super) struct ChangeQueue {
    changes: VecDeque<Change>,
    /// The newest tightening of the gates when the pass under way began.
    known: u64,
    /// It did not take something in this pass: nothing more of this pass waits for it.
    silent: bool,
    /// It was said that it takes nothing.
    away: bool,
}

impl ChangeQueue {
    /// A pass begins: the ledger is asked again.
    pub(super) fn begin(&mut self, known: u64) {
        (self.known, self.silent) = (known, false);
    }

    /// It did not take something: nothing more of this pass waits for it. That is said when it
    /// begins, not in each pass.
    pub(super) fn away(&mut self, why: &dyn Display) {
        match mem::replace(&mut self.away, true) {
            false => tracing::error!(%why, "nothing opens until the ledger is back"),
            true => tracing::debug!(%why, "nothing opens in this pass"),
        }
        self.give_up();
    }

    /// Nothing was heard of a change: the ledger is away, or a kill came that waits for nothing.
    pub(super) fn unheard(&mut self, parts: &ReconcileContext) {
        if parts.gate.tightenings() > self.known {
            tracing::debug!("nothing opens in this pass: a kill came first");
            self.give_up();
        } else {
            self.away(&format_args!("no answer within {} s", LIMIT.as_secs()));
        }
    }

    /// It took something.
    fn is_back(&mut self) {
        if mem::take(&mut self.away) {
            tracing::info!("the ledger takes what the loop does again");
        }
    }

    /// Nothing more of this pass waits for the ledger.
    pub(super) fn give_up(&mut self) {
        self.silent = true;
    }

    /// Whether nothing more of this pass waits for it.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Owes a change; false if there is no room, and none can be made.
    pub(super) fn push(&mut self, change: Change) -> bool {
        while self.changes.len() >= MOST {
            tracing::error!(
                "an entry is lost to the ledger's absence; an intent it had is closed at the next start"
            );
            // Who was stopped and since when is not given up for what the loop did.
            let Some(index) = self.changes.iter().position(|change| !change.moves_holds()) else {
                return false;
            };
            let Some(lost) = self.changes.remove(index) else {
                return false;
            };
            // An outcome without its intent would be refused.
            self.changes.retain(|change| {
                !change
                    .settles
                    .iter()
                    .any(|intent| lost.opens.contains(intent))
            });
        }
        self.changes.push_back(change);
        true
    }

    /// Tells a change at once if nothing comes before it; what is not taken is owed.
    pub(super) async fn tell(&mut self, parts: &ReconcileContext, change: Change) {
        let _kept_or_told = self.push(change);
        self.tell_all(parts).await;
    }

    /// Tells again what the ledger did not take.
    pub(super) async fn tell_all(&mut self, parts: &ReconcileContext) {
        while let Some(change) = self.changes.front().filter(|_| !self.silent) {
            match self
                .within(parts, parts.ledger.commit(change.clone()))
                .await
            {
                Some(Ok(_)) => self.is_back(),
                Some(Err(error @ (LedgerError::Unavailable(_) | LedgerError::Undecided))) => {
                    return self.away(&error);
                }
                Some(Err(error)) => tracing::error!(%error, "an entry was refused for good"),
                None => return self.unheard(parts),
            }
            self.changes.pop_front();
        }
    }

    /// Asks the ledger to take a change, if it has all that was before.
    pub(super) async fn ask(&mut self, parts: &ReconcileContext, change: Change) -> CommitOutcome {
        if self.silent || !self.changes.is_empty() {
            return CommitOutcome::Not(None);
        }
        match self.within(parts, parts.ledger.commit(change)).await {
            Some(Ok(_)) => {
                self.is_back();
                CommitOutcome::Taken
            }
            Some(Err(LedgerError::Undecided)) | None => CommitOutcome::Unheard,
            Some(Err(error)) => CommitOutcome::Not(Some(error)),
        }
    }

    /// Waits for an answer, for as long as it may take and no kill waits for the next pass; none
    /// otherwise.
    pub(super) async fn within<T>(
        &self,
        parts: &ReconcileContext,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            answer = timeout(LIMIT, answer) => answer.ok(),
            () = parts.gate.held_after(self.known) => None,
        }
    }
}
