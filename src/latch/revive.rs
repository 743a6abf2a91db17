//! Ending holds: the ledger first, the gate only then; what is not known to be done is found out.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use super::doubts::Outcome;
use super::record::LEDGER_PATIENCE;
use super::{Latch, owned, told, whole};
use crate::domain::audit::Record;
use crate::domain::hold::{Epoch, Scope, ScopedHold};
use crate::ports::{DesiredError, Ended, Meant};

impl Latch {
    /// Ends holds. The ledger first: what is not recorded does not open.
    ///
    /// # Errors
    /// [`DesiredError::Unavailable`] while the end cannot be made durable; every hold then stays. [`DesiredError::Undecided`]
    /// if that is not known: it is found out, and then gate, memory and record agree.
    pub async fn revive(
        self: &Arc<Self>,
        scope: Scope,
        epoch: Option<Epoch>,
        record: Record,
    ) -> Result<Ended, DesiredError> {
        let latch = Arc::clone(self);
        whole(async move { latch.revive_whole(&scope, epoch.as_ref(), record).await }).await
    }

    async fn revive_whole(
        self: Arc<Self>,
        scope: &Scope,
        epoch: Option<&Epoch>,
        record: Record,
    ) -> Result<Ended, DesiredError> {
        let waits = |_| DesiredError::Unavailable("an earlier revival is not decided yet".to_owned());
        let turn = timeout(LEDGER_PATIENCE, Arc::clone(&self.reviving).lock_owned()).await.map_err(waits)?;
        let held =
            |epoch: &Epoch| self.lock().iter().find(|live| live.held.hold.epoch == *epoch).map(|l| l.held.clone());
        let of = epoch.and_then(held).map_or_else(|| scope.clone(), |held| held.scope);
        // The record shall not say `killed` after it said `revived`.
        self.catch_up(&of).await?;
        // From here on a kill makes a hold of its own, which this command spares.
        let within = |held: &ScopedHold| *scope == Scope::All || held.scope == *scope || held.scope == Scope::All;
        let meant = |held: &ScopedHold| epoch.map_or_else(|| within(held), |epoch| held.hold.epoch == *epoch);
        self.lock().iter_mut().filter(|live| meant(&live.held)).for_each(|live| live.ending = true);
        let spared = |epoch: &Epoch| self.lock().iter().any(|live| !live.ending && live.held.hold.epoch == *epoch);
        let ends = |held: &ScopedHold| epoch.is_some() || *scope == Scope::All || held.scope == *scope;
        let alone =
            self.lock().iter().filter(|live| live.alone && live.ending && ends(&live.held)).map(epoch_of).collect();
        let standing = told::Standing::of(self.desired.declared().iter().map(Arc::as_ref));
        let (audit, once) = (record.audit.clone(), record.once.clone());
        let (ending, alone): (_, Vec<Epoch>) = (self.ending(scope, epoch, &spared), alone);
        let meant = Meant { scope, epoch, spared: &spared, alone: &alone };
        let ended = self.desired.end(meant, record).await;
        if matches!(ended, Err(DesiredError::Undecided)) {
            // Its caller is told so. Nobody leans on these holds meanwhile, and no other revival begins.
            self.doubts.push(&once, &audit, Outcome::Undecided);
            let latch = Arc::clone(&self);
            owned(async move { latch.decide(&once, ending, alone, turn).await });
            return ended;
        }
        let of = ended.as_ref().map(|ended| ended.ended.as_slice()).unwrap_or_default();
        of.iter().for_each(|epoch| standing.ended(&epoch.0, &audit));
        self.over(of);
        ended
    }

    /// Everything that a revival may end: all that is declared and meant, but for what it spares.
    fn ending(&self, scope: &Scope, epoch: Option<&Epoch>, spared: &dyn Fn(&Epoch) -> bool) -> Vec<Epoch> {
        let declared = self.desired.declared();
        let holds = declared.iter().filter(|one| scope.covers(&one.name)).flat_map(|one| &one.holds);
        let meant = holds.filter(|hold| !hold.source.is_declared() && epoch.is_none_or(|only| *only == hold.epoch));
        let ending: BTreeSet<_> = meant.map(|hold| hold.epoch.clone()).filter(|epoch| !spared(epoch)).collect();
        ending.into_iter().collect()
    }

    /// Finds out what became of a revival that was not decided.
    async fn decide(self: Arc<Self>, once: &str, ending: Vec<Epoch>, alone: Vec<Epoch>, _turn: OwnedMutexGuard<()>) {
        let became = self.find_out(once, &ending).await;
        let alone = if became.done { alone } else { Vec::new() };
        self.over(&[became.ended, alone].concat());
    }

    /// These holds have ended; those that were to end and did not, stay.
    fn over(&self, ended: &[Epoch]) {
        let mut live = self.lock();
        live.retain(|live| !ended.contains(&live.held.hold.epoch));
        live.iter_mut().for_each(|live| live.ending = false);
        drop(live);
        if !ended.is_empty() {
            self.gate.end(ended);
            self.desired.wake();
        }
    }
}

fn epoch_of(live: &super::Live) -> Epoch {
    live.held.hold.epoch.clone()
}
