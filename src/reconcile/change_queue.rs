//! What the loop owes to the ledger: in order, bounded, and told again until it is taken.
//!
//! While nothing is owed, passes tell the ledger beside each other. Once it did not take something
//! nobody waits for it but the upkeep, which finds out whether it is back. Knows nothing of what a
//! change means, but for those that belong together.

use std::collections::VecDeque;
use std::fmt::Display;
use std::mem;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::domain::audit::Change;
use crate::ports::LedgerError;
use crate::sync::{Mutex, MutexGuard};

use super::patience::{LEDGER_LIMIT, LedgerPatience, Waited};
use super::ticks::LOOK_AGAIN;

/// Changes kept while the ledger is away: a kill of two thousand throttles has an intent and an
/// outcome for each, a kilobyte apiece. Older intents are closed at the next start.
const MOST: usize = 4_096;
/// Changes that passes tell beside each other: one group of the ledger's. Its queue is others' too.
const PLACES: usize = 64;
/// Entries that are told as one change.
const TOGETHER: usize = 64;

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

/// The changes that are owed.
pub(super) struct ChangeQueue {
    owed: Mutex<Owed>,
    /// Places of passes that ask the ledger themselves.
    places: Semaphore,
    /// Whoever tells what is owed: one at a time, so that it is told in order.
    telling: tokio::sync::Mutex<()>,
}

/// Oldest first.
#[derive(Default)]
struct Owed {
    changes: VecDeque<(u64, Change)>,
    /// How many there ever were: the number of the newest.
    ever: u64,
    /// The number of the one that is being told.
    told: Option<u64>,
    /// When it was last asked whether it is back.
    probed: Option<Duration>,
    /// The ledger did not take something: nobody waits for it until it is seen to be back.
    silent: bool,
    /// It was said that it takes nothing.
    away: bool,
}

impl Default for ChangeQueue {
    fn default() -> Self {
        Self {
            owed: Mutex::default(),
            places: Semaphore::new(PLACES),
            telling: tokio::sync::Mutex::default(),
        }
    }
}

impl ChangeQueue {
    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock()
    }

    /// The ledger did not take something: nobody waits for it. That is said when it begins, not at
    /// each pass.
    pub(super) fn away(&self, why: &dyn Display) {
        let mut owed = self.owed();
        owed.silent = true;
        let said = mem::replace(&mut owed.away, true);
        drop(owed);
        if said {
            tracing::debug!(%why, "nothing opens in this pass");
        } else {
            tracing::error!(%why, "nothing opens until the ledger is back");
        }
    }

    /// It took something.
    fn is_back(&self) {
        let mut owed = self.owed();
        owed.silent = false;
        let was_away = mem::take(&mut owed.away);
        drop(owed);
        if was_away {
            tracing::info!("the ledger takes what the loop does again");
        }
    }

    /// Whether nobody waits for the ledger.
    pub(super) fn is_silent(&self) -> bool {
        self.owed().silent
    }

    /// Whether the ledger takes changes, and nothing is owed to it.
    pub(super) fn is_clear(&self) -> bool {
        let owed = self.owed();
        !owed.silent && owed.changes.is_empty()
    }

    /// Finds out whether a ledger that did not take something is back; answers that, and not that
    /// it was never away.
    pub(super) async fn probe(&self, patience: &LedgerPatience<'_>) -> bool {
        let now = patience.parts.clock.elapsed();
        {
            let mut owed = self.owed();
            let rests = owed
                .probed
                .is_some_and(|at| now.saturating_sub(at) < LOOK_AGAIN);
            if !owed.silent || rests {
                return false;
            }
            owed.probed = Some(now);
        }
        match patience.wait(patience.parts.ledger.check()).await {
            Waited::Answered(Ok(())) => {
                self.owed().silent = false;
                return true;
            }
            Waited::Answered(Err(error)) => self.away(&error),
            Waited::Late => self.away(&late()),
            Waited::Overtaken => {}
        }
        false
    }

    /// Owes what became of a step, together with what became of others: told in one change, for as
    /// long as nobody tells it yet.
    pub(super) fn push_outcome(&self, change: Change) -> bool {
        let mut owed = self.owed();
        let told = owed.told;
        let joins = |number: u64, newest: &Change| {
            Some(number) != told
                && !newest.settles.is_empty()
                && newest.settles.len() < TOGETHER
                && newest.opens.is_empty()
        };
        if let Some((number, newest)) = owed.changes.back_mut()
            && joins(*number, newest)
        {
            newest.audit.extend(change.audit);
            newest.settles.extend(change.settles);
            newest.drifts.extend(change.drifts);
            return true;
        }
        drop(owed);
        self.push(change)
    }

    /// Owes a change; false if there is no room, and none can be made.
    pub(super) fn push(&self, change: Change) -> bool {
        let mut owed = self.owed();
        while owed.changes.len() >= MOST {
            tracing::error!(
                "an entry is lost to the ledger's absence; an intent it had is closed at the next start"
            );
            // Who was stopped and since when is not given up for what the loop did.
            let index = owed.changes.iter().position(|(_, one)| !one.moves_holds());
            let Some((_, lost)) = index.and_then(|index| owed.changes.remove(index)) else {
                return false;
            };
            // An outcome without its intent would be refused.
            owed.changes.retain(|(_, change)| {
                !change
                    .settles
                    .iter()
                    .any(|intent| lost.opens.contains(intent))
            });
        }
        owed.ever += 1;
        let number = owed.ever;
        owed.changes.push_back((number, change));
        true
    }

    /// Tells a change, behind what is owed; what is not taken is owed.
    pub(super) async fn tell(&self, patience: &LedgerPatience<'_>, change: Change) {
        match self.ask(patience, change.clone()).await {
            CommitOutcome::Taken => return,
            CommitOutcome::Not(Some(error @ LedgerError::Unavailable(_))) => self.away(&error),
            CommitOutcome::Not(Some(error)) => {
                return tracing::error!(%error, "an entry was refused for good");
            }
            CommitOutcome::Not(None) | CommitOutcome::Unheard => {}
        }
        let _kept = self.push(change);
    }

    /// Tells what is owed, oldest first, for as long as the ledger takes it.
    pub(super) async fn tell_owed(&self, patience: &LedgerPatience<'_>) {
        if self.owed().changes.is_empty() {
            return;
        }
        let Waited::Answered(_turn) = patience.wait(self.telling.lock()).await else {
            return;
        };
        loop {
            let next = {
                let mut owed = self.owed();
                let next = owed.changes.front().filter(|_| !owed.silent).cloned();
                owed.told = next.as_ref().map(|(number, _)| *number);
                next
            };
            let Some((number, change)) = next else { return };
            match patience.wait(patience.parts.ledger.commit(change)).await {
                Waited::Answered(Ok(_)) => self.is_back(),
                Waited::Answered(Err(
                    error @ (LedgerError::Unavailable(_) | LedgerError::Undecided),
                )) => return self.away(&error),
                Waited::Answered(Err(error)) => {
                    tracing::error!(%error, "an entry was refused for good");
                }
                Waited::Late => return self.away(&late()),
                Waited::Overtaken => return,
            }
            self.owed().changes.retain(|(one, _)| *one != number);
        }
    }

    /// Asks the ledger to take a change, once it has all that was owed before: a pass waits for
    /// that as long as for one change.
    pub(super) async fn ask(&self, patience: &LedgerPatience<'_>, change: Change) -> CommitOutcome {
        let Waited::Answered(()) = patience.wait(self.tell_owed(patience)).await else {
            return CommitOutcome::Not(None);
        };
        let Waited::Answered(_place) = patience.wait(self.places.acquire()).await else {
            return CommitOutcome::Not(None);
        };
        if !self.is_clear() {
            return CommitOutcome::Not(None);
        }
        match patience.wait(patience.parts.ledger.commit(change)).await {
            Waited::Answered(Ok(_)) => {
                self.is_back();
                CommitOutcome::Taken
            }
            Waited::Answered(Err(error @ LedgerError::Undecided)) => {
                self.away(&error);
                CommitOutcome::Unheard
            }
            Waited::Answered(Err(error)) => CommitOutcome::Not(Some(error)),
            Waited::Late => {
                self.away(&late());
                CommitOutcome::Unheard
            }
            Waited::Overtaken => CommitOutcome::Unheard,
        }
    }
}

fn late() -> String {
    format!("no answer within {} s", LEDGER_LIMIT.as_secs())
}
