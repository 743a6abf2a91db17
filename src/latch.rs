//! The kill path, once: whichever door a kill came through, the gate closes first, then the hold becomes durable, and the
//! loop does the rest.
//!
//! Nothing here waits for the ledger before it closes; nothing here opens before the ledger has it.

pub mod watch;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use crate::domain::audit::AuditDraft;
use crate::domain::hold::{Bite, Epoch, Hold, Scope, ScopedHold, Source};
use crate::domain::throttle::ThrottleName;
use crate::gate::Gate;
use crate::ports::{Desired, DesiredError, Ended, Journal, JournalEntry, Meant};

/// How long a kill waits for the ledger before it answers `pending`. The gate has been shut since before the wait.
const LEDGER_PATIENCE: Duration = Duration::from_secs(2);

/// A person's order to stop.
#[derive(Clone, Debug)]
pub struct KillOrder {
    /// What to stop.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// Who, as they say.
    pub operator: String,
    /// Whose key it was.
    pub actor: String,
    /// The request that brought it.
    pub request_id: String,
    /// The id a new hold gets; opaque and unique.
    pub epoch: Epoch,
    /// When it came.
    pub at: Timestamp,
}

/// Where the record of a kill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditState {
    /// In the ledger.
    Recorded,
    /// Owed to the ledger; it enters when the ledger is back.
    Pending,
}

/// What a kill did.
#[derive(Clone, Debug, PartialEq)]
pub struct Killed {
    /// The hold that is in force; an older one if the scope was already killed.
    pub epoch: Epoch,
    /// When the gates closed.
    pub latched_at: Timestamp,
    /// Where its record stands.
    pub audit: AuditState,
    /// Whether it would survive the end of this process now.
    pub durable: bool,
    /// The throttles that are shut.
    pub throttles: Vec<ThrottleName>,
}

/// The kill path.
pub struct Latch {
    gate: Arc<Gate>,
    desired: Arc<dyn Desired>,
    journal: Option<Arc<dyn Journal>>,
    live: Mutex<Vec<Live>>,
    /// Revivals go one at a time; kills never wait for it.
    reviving: tokio::sync::Mutex<()>,
}

/// A hold this door took.
struct Live {
    held: ScopedHold,
    audit: AuditState,
    durable: bool,
    /// A command to end it is under way: a kill that comes now must not lean on it.
    ending: bool,
}

impl Latch {
    /// A latch over these parts; `known` are the holds this door took before and that have not ended.
    pub fn new(
        gate: Arc<Gate>,
        desired: Arc<dyn Desired>,
        journal: Option<Arc<dyn Journal>>,
        known: Vec<ScopedHold>,
    ) -> Self {
        let known = known.into_iter();
        let live = known.map(|held| Live { held, audit: AuditState::Recorded, durable: true, ending: false }).collect();
        Self { gate, desired, journal, live: Mutex::new(live), reviving: tokio::sync::Mutex::default() }
    }

    /// Stops. The gates are shut before anything that can fail is tried.
    ///
    /// # Errors
    /// [`DesiredError::Unknown`] if one throttle was named and there is none of that name.
    pub async fn kill(self: &Arc<Self>, order: KillOrder) -> Result<Killed, DesiredError> {
        let latch = Arc::clone(self);
        whole(async move { latch.kill_whole(order).await }).await
    }

    async fn kill_whole(&self, order: KillOrder) -> Result<Killed, DesiredError> {
        if let Scope::One(name) = &order.scope
            && self.gate.standing(name).is_none()
        {
            return Err(DesiredError::Unknown(name.clone()));
        }
        let (scoped, fresh) = self.hold_for(&order);
        let throttles = self.gate.hold(&order.scope, &scoped.hold, order.at);
        if fresh {
            self.make_durable(&scoped, &order).await;
        }
        self.desired.wake();
        let (audit, durable) = self.record_of(&scoped.hold.epoch);
        Ok(Killed { epoch: scoped.hold.epoch, latched_at: scoped.hold.taken_at, audit, durable, throttles })
    }

    /// Ends holds. The ledger first: what is not recorded does not open.
    ///
    /// # Errors
    /// [`DesiredError::Unavailable`] while the end cannot be made durable; every hold then stays.
    pub async fn revive(
        self: &Arc<Self>,
        scope: Scope,
        epoch: Option<Epoch>,
        audit: AuditDraft,
    ) -> Result<Ended, DesiredError> {
        let latch = Arc::clone(self);
        whole(async move { latch.revive_whole(&scope, epoch.as_ref(), audit).await }).await
    }

    async fn revive_whole(
        &self,
        scope: &Scope,
        epoch: Option<&Epoch>,
        audit: AuditDraft,
    ) -> Result<Ended, DesiredError> {
        let _one_at_a_time = self.reviving.lock().await;
        // From here on a kill makes a hold of its own, which this command spares.
        let within = |held: &ScopedHold| *scope == Scope::All || held.scope == *scope || held.scope == Scope::All;
        let meant = |held: &ScopedHold| epoch.map_or_else(|| within(held), |epoch| held.hold.epoch == *epoch);
        self.lock().iter_mut().filter(|live| meant(&live.held)).for_each(|live| live.ending = true);
        let spared = |epoch: &Epoch| self.lock().iter().any(|live| !live.ending && live.held.hold.epoch == *epoch);
        let ended = self.desired.end(Meant { scope, epoch, spared: &spared }, audit).await;
        let mut live = self.lock();
        if let Ok(ended) = &ended {
            live.retain(|live| !ended.ended.contains(&live.held.hold.epoch));
        }
        live.iter_mut().for_each(|live| live.ending = false);
        drop(live);
        let ended = ended?;
        for standing in self.gate.standings() {
            for epoch in ended.ended.iter().filter(|epoch| standing.holds.contains(epoch)) {
                self.gate.release(&standing.name, epoch);
            }
        }
        self.desired.wake();
        Ok(ended)
    }

    /// Tells the ledger again what it does not have yet.
    pub async fn settle(&self) {
        let Some(journal) = &self.journal else { return };
        for entry in journal.pending() {
            self.enter(&entry).await;
        }
    }

    /// The hold an order asks for: the one in force if there is one that covers it, otherwise a new one.
    fn hold_for(&self, order: &KillOrder) -> (ScopedHold, bool) {
        let mut live = self.lock();
        let covers = |held: &Scope| *held == Scope::All || *held == order.scope;
        if let Some(known) =
            live.iter().find(|live| !live.ending && live.held.hold.is_kill() && covers(&live.held.scope))
        {
            return (known.held.clone(), false);
        }
        let hold = Hold {
            epoch: order.epoch.clone(),
            bite: Bite::Kill,
            source: Source::Rest,
            reason: order.reason.clone(),
            operator: order.operator.clone(),
            taken_at: order.at,
        };
        let scoped = ScopedHold { scope: order.scope.clone(), hold };
        live.push(Live { held: scoped.clone(), audit: AuditState::Pending, durable: false, ending: false });
        (scoped, true)
    }

    async fn make_durable(&self, scoped: &ScopedHold, order: &KillOrder) {
        let entry = JournalEntry { hold: scoped.clone(), audit: kill_entry(order) };
        if let Some(journal) = self.journal.clone() {
            let copy = entry.clone();
            let written = tokio::task::spawn_blocking(move || journal.append(&copy)).await;
            match written {
                Ok(Ok(())) => self.note(&scoped.hold.epoch, None, Some(true)),
                Ok(Err(error)) => tracing::error!(%error, "the journal did not take a kill; the gates stay shut"),
                Err(error) => tracing::error!(%error, "the journal's thread failed; the gates stay shut"),
            }
        }
        self.enter(&entry).await;
    }

    async fn enter(&self, entry: &JournalEntry) {
        let epoch = &entry.hold.hold.epoch;
        match timeout(LEDGER_PATIENCE, self.desired.take(entry.hold.clone(), entry.audit.clone())).await {
            Ok(Ok(())) => {
                self.note(epoch, Some(AuditState::Recorded), Some(true));
                if let Some(journal) = &self.journal
                    && let Err(error) = journal.settle(epoch)
                {
                    tracing::warn!(%error, "the journal could not be settled; it will be replayed, which changes nothing");
                }
            }
            Ok(Err(error)) => {
                tracing::error!(%error, %epoch, "the ledger did not take a kill yet; the gates stay shut")
            }
            Err(_) => tracing::error!(%epoch, "the ledger is slow to take a kill; the gates stay shut"),
        }
    }

    fn note(&self, epoch: &Epoch, audit: Option<AuditState>, durable: Option<bool>) {
        for live in self.lock().iter_mut().filter(|live| live.held.hold.epoch == *epoch) {
            live.audit = audit.unwrap_or(live.audit);
            live.durable = durable.unwrap_or(live.durable);
        }
    }

    fn record_of(&self, epoch: &Epoch) -> (AuditState, bool) {
        let live = self.lock();
        let found = live.iter().find(|live| live.held.hold.epoch == *epoch);
        found.map_or((AuditState::Pending, false), |live| (live.audit, live.durable))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a command to its end even if its caller hangs up: half a kill would be in the gate and in no record.
#[allow(
    clippy::disallowed_methods,
    reason = "it ends by itself within the ledger's patience, and its answer is waited for"
)]
async fn whole<T: Send + 'static>(
    command: impl Future<Output = Result<T, DesiredError>> + Send + 'static,
) -> Result<T, DesiredError> {
    let ended = tokio::spawn(command).await;
    ended.unwrap_or_else(|error| Err(DesiredError::Unavailable(format!("the command broke off: {error}"))))
}

fn kill_entry(order: &KillOrder) -> AuditDraft {
    let throttle = match &order.scope {
        Scope::All => String::new(),
        Scope::One(name) => name.to_string(),
    };
    AuditDraft {
        at: order.at,
        actor: order.actor.clone(),
        action: "kill".to_owned(),
        throttle,
        before: String::new(),
        after: format!("killed {}", order.epoch),
        reason: format!("{} ({})", order.reason, order.operator),
        binding_signal: "kill".to_owned(),
        request_id: order.request_id.clone(),
    }
}
