//! Ending holds: the ledger first, the gate only then; what is not known to be done is found out.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::registry::Live;
use super::turn::Turn;
use super::undecided::CommandOutcome;
use super::{Latch, POLL_INTERVAL, log_lines, outcome, owned, whole};
use crate::domain::audit::CommandRecord;
use crate::domain::hold::{Epoch, Scope, ScopedHold};
use crate::domain::throttle::Declared;
use crate::ports::{DesiredError, ReviveFilter, ReviveOutcome};
use crate::sync::{MutexGuard, sleep};

impl Latch {
    /// Ends holds. The ledger first: what is not recorded does not open.
    ///
    /// # Errors
    /// [`DesiredError::Unavailable`] while the end cannot be made durable; every hold then stays.
    /// [`DesiredError::Undecided`] if that is not known: it is found out, and then gate, memory and
    /// record agree.
    pub async fn revive(
        self: &Arc<Self>,
        scope: Scope,
        epoch: Option<Epoch>,
        record: CommandRecord,
    ) -> Result<ReviveOutcome, DesiredError> {
        let latch = Arc::clone(self);
        whole(async move { latch.revive_whole(&scope, epoch.as_ref(), record).await }).await
    }

    async fn revive_whole(
        self: Arc<Self>,
        scope: &Scope,
        epoch: Option<&Epoch>,
        record: CommandRecord,
    ) -> Result<ReviveOutcome, DesiredError> {
        let turn = Turn::wait(
            &self,
            &self.reviving,
            &record,
            "an earlier revival is not decided yet",
        )
        .await?;
        self.begin_ending(scope, epoch).await?;
        // What an earlier one has on record to end is being ended, and recorded once.
        let carried = self.carried().clone();
        let spared = |epoch: &Epoch| carried.contains(epoch) || self.is_spared(epoch);
        let alone = self.ending_alone(scope, epoch);
        let declared = self.desired.declared();
        let standing = log_lines::HoldsBefore::of(declared.iter().map(Arc::as_ref));
        let before = epochs_of(&declared);
        let (audit, asked) = (record.audit.clone(), record.clone());
        let meant = ReviveFilter {
            scope,
            epoch,
            spared: &spared,
            alone: &alone,
        };
        let ending = self.desired.ending(meant);
        // Nor is what came since then to be ended: nobody would find out what became of it.
        let spared =
            |epoch: &Epoch| spared(epoch) || !(ending.contains(epoch) || before.contains(epoch));
        let ended = self
            .desired
            .end(
                ReviveFilter {
                    spared: &spared,
                    ..meant
                },
                record,
            )
            .await;
        if matches!(ended, Err(DesiredError::Undecided)) {
            // Its caller is told so. Nobody leans on these holds meanwhile, and no other revival
            // begins.
            self.doubts.undecided(&asked.once, &audit);
            let latch = Arc::clone(&self);
            let ending = ending.into_iter().collect();
            owned(async move { latch.decide(asked, ending, alone, turn).await });
            return ended;
        }
        let of = ended
            .as_ref()
            .map(|ended| ended.ended.as_slice())
            .unwrap_or_default();
        of.iter().for_each(|epoch| standing.ended(&epoch.0, &audit));
        self.over(of);
        let nothing = ended
            .as_ref()
            .is_ok_and(|ended| ended.ended.is_empty() && !ended.repeated);
        if nothing && self.carries(&carried, scope, epoch) {
            return Err(DesiredError::Unavailable(
                "an earlier revival is recorded and not done yet".to_owned(),
            ));
        }
        ended
    }

    /// What a revival means: that of the hold, if it names one that this door took.
    fn scope_of(&self, scope: &Scope, epoch: Option<&Epoch>) -> Scope {
        let held = |epoch: &Epoch| {
            self.holds
                .lock()
                .iter()
                .find(|live| live.held.hold.epoch == *epoch)
                .map(|l| l.held.clone())
        };
        epoch
            .and_then(held)
            .map_or_else(|| scope.clone(), |held| held.scope)
    }

    /// From here on a kill makes a hold of its own, which the revival spares: also while it waits
    /// for what came before. The record shall not say `killed` after it said `revived`.
    async fn begin_ending(&self, scope: &Scope, epoch: Option<&Epoch>) -> Result<(), DesiredError> {
        self.mark_ending(scope, epoch);
        let caught_up = self.catch_up(&self.scope_of(scope, epoch)).await;
        if caught_up.is_err() {
            self.over(&[]);
        }
        caught_up
    }

    /// Nobody leans on the holds that a revival may end.
    fn mark_ending(&self, scope: &Scope, epoch: Option<&Epoch>) {
        let within = |held: &ScopedHold| {
            *scope == Scope::All || held.scope == *scope || held.scope == Scope::All
        };
        let meant = |held: &ScopedHold| {
            epoch.map_or_else(|| within(held), |epoch| held.hold.epoch == *epoch)
        };
        self.holds
            .lock()
            .iter_mut()
            .filter(|live| meant(&live.held))
            .for_each(|live| live.ending = true);
    }

    /// Whether a hold is one that no revival may end that is under way.
    fn is_spared(&self, epoch: &Epoch) -> bool {
        self.holds
            .lock()
            .iter()
            .any(|live| !live.ending && live.held.hold.epoch == *epoch)
    }

    /// Holds that a revival ends and that nobody but this process has.
    fn ending_alone(&self, scope: &Scope, epoch: Option<&Epoch>) -> Vec<Epoch> {
        let ends =
            |held: &ScopedHold| epoch.is_some() || *scope == Scope::All || held.scope == *scope;
        self.holds
            .lock()
            .iter()
            .filter(|live| live.alone.is_some() && live.ending && ends(&live.held))
            .map(epoch_of)
            .collect()
    }

    /// Whether any of these holds is meant.
    fn carries(&self, carried: &BTreeSet<Epoch>, scope: &Scope, epoch: Option<&Epoch>) -> bool {
        let (declared, live) = (self.desired.declared(), self.holds.lock());
        let covered = declared
            .iter()
            .filter(|one| scope.covers(&one.name))
            .flat_map(|one| &one.holds);
        let alone = live
            .iter()
            .filter(|live| *scope == Scope::All || live.held.scope == *scope);
        let mut meant = covered
            .map(|hold| &hold.epoch)
            .chain(alone.map(|live| &live.held.hold.epoch));
        !carried.is_empty()
            && meant.any(|one| carried.contains(one) && epoch.is_none_or(|only| only == one))
    }

    /// Finds out what became of a revival that was not decided. Once that is known others may
    /// revive; what is recorded and not done yet is gone on with, each hold by itself.
    async fn decide(
        self: Arc<Self>,
        record: CommandRecord,
        ending: Vec<Epoch>,
        alone: Vec<Epoch>,
        turn: Turn,
    ) {
        let became = self.poll_outcome(&record.once, &ending).await;
        let mut left = Vec::new();
        if became.done {
            left.extend(
                ending
                    .into_iter()
                    .filter(|epoch| !became.ended.contains(epoch))
                    .chain(alone),
            );
        }
        let mut outcome = outcome(&became);
        self.carried().extend(left.iter().cloned());
        self.over(&became.ended);
        // Told once it is so, and before another revival begins.
        if left.is_empty() {
            self.doubts.decided(&record.once, outcome.clone());
        }
        drop(turn);
        if left.is_empty() {
            return;
        }
        while !left.is_empty() {
            match self.desired.resume_end(&record, &left).await {
                Ok(went) => {
                    let (stays, done): (Vec<_>, Vec<_>) = left
                        .into_iter()
                        .partition(|epoch| went.left.contains(epoch));
                    left = stays;
                    self.conclude(&done, &went.ended);
                    if went.refused {
                        outcome = CommandOutcome::NotDone;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, once = record.once, "a revival is not done yet")
                }
            }
            if !left.is_empty() {
                sleep(POLL_INTERVAL).await;
            }
        }
        self.doubts.decided(&record.once, outcome);
    }

    /// These holds have ended; those that were to end and did not, stay, but for those whose end is
    /// gone on with.
    fn over(&self, ended: &[Epoch]) {
        let mut live = self.holds.lock();
        let carried = self.carried();
        live.iter_mut()
            .filter(|live| !carried.contains(&live.held.hold.epoch))
            .for_each(|live| live.ending = false);
        drop(carried);
        live.retain(|live| !ended.contains(&live.held.hold.epoch));
        ended.iter().for_each(|epoch| self.doubts.over(epoch));
        drop(live);
        self.gone(ended);
    }

    /// It is known of these holds what became of their end: those have ended, the others stay.
    pub(super) fn conclude(&self, known: &[Epoch], ended: &[Epoch]) {
        let mut live = self.holds.lock();
        live.retain(|live| !ended.contains(&live.held.hold.epoch));
        live.iter_mut()
            .filter(|live| known.contains(&live.held.hold.epoch))
            .for_each(|live| live.ending = false);
        self.carried().retain(|epoch| !known.contains(epoch));
        ended.iter().for_each(|epoch| self.doubts.over(epoch));
        drop(live);
        self.gone(ended);
    }

    fn gone(&self, ended: &[Epoch]) {
        if !ended.is_empty() {
            self.wake.wake_each(&self.gate.end(ended));
        }
    }

    /// Taken after the lock of what is live, where both are.
    fn carried(&self) -> MutexGuard<'_, BTreeSet<Epoch>> {
        self.carried.lock()
    }
}

/// The holds of these throttles.
fn epochs_of(declared: &[Arc<Declared>]) -> BTreeSet<&Epoch> {
    declared
        .iter()
        .flat_map(|one| &one.holds)
        .map(|hold| &hold.epoch)
        .collect()
}

fn epoch_of(live: &Live) -> Epoch {
    live.held.hold.epoch.clone()
}
