//! Declared state of a service without a cluster: it lives in the ledger, and in memory while the service runs.
//!
//! A kill is in memory before the ledger is asked, so that no pass of the loop opens meanwhile; everything that may
//! open is in memory only once the ledger has it. Knows no SQL and no journal: that one is the latch's.

mod state;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::lock;
use crate::domain::audit::{AuditDraft, Change, Receipt, ThrottleRow};
use crate::domain::evidence::Evidence;
use crate::domain::hold::ScopedHold;
use crate::domain::level::Level;
use crate::domain::report::Outcome;
use crate::domain::throttle::{Declared, ThrottleName};
use crate::ports::{Desired, DesiredError, Ended, Ledger, LedgerError, Meant, Report, Stored};
use state::State;

/// How long a door waits for the ledger before it says that the ledger is away.
const PATIENCE: Duration = Duration::from_secs(2);

/// Declared state kept in the ledger.
pub struct LedgerDesired {
    ledger: Arc<dyn Ledger>,
    state: Mutex<State>,
    /// Declarations go one at a time: two with the same next generation would both be accepted. Kills never wait
    /// for it.
    declaring: tokio::sync::Mutex<()>,
    woken: Notify,
}

impl LedgerDesired {
    /// Starts from what the ledger knew. The throttle `default` always exists; where it is new it is at STOP.
    pub fn new(ledger: Arc<dyn Ledger>, stored: Stored) -> Self {
        let state = Mutex::new(State::new(stored));
        Self { ledger, state, declaring: tokio::sync::Mutex::new(()), woken: Notify::new() }
    }

    /// The level now in force: what a declaration gives as `stored` from here on.
    pub fn effective(&self, throttle: &ThrottleName, level: Level) {
        lock(&self.state).change(throttle, |declared| declared.stored = level);
    }

    async fn commit(&self, change: Change) -> Result<Receipt, DesiredError> {
        let answer = timeout(PATIENCE, self.ledger.commit(change)).await;
        answer.unwrap_or_else(|_| Err(away())).map_err(unavailable)
    }

    async fn stored(&self) -> Result<Stored, DesiredError> {
        timeout(PATIENCE, self.ledger.stored()).await.unwrap_or_else(|_| Err(away())).map_err(unavailable)
    }

    /// Brings a hold that is in memory into the ledger.
    async fn record(&self, hold: ScopedHold, audit: AuditDraft) -> Result<(), DesiredError> {
        let epoch = hold.hold.epoch.clone();
        let change = Change { holds_taken: vec![hold], audit: vec![audit], ..Change::default() };
        let receipt = self.commit(change).await?;
        // Nothing written: the epoch was known. If the ledger no longer lists it, it has ended, and must not bite.
        let ended =
            receipt.audit.is_empty() && !self.stored().await?.holds.iter().any(|stored| stored.hold.epoch == epoch);
        let mut state = lock(&self.state);
        state.recorded(&epoch);
        if ended {
            state.release(std::slice::from_ref(&epoch));
        }
        Ok(())
    }
}

#[async_trait]
impl Desired for LedgerDesired {
    fn declared(&self) -> Vec<Arc<Declared>> {
        lock(&self.state).declared()
    }

    /// Looks at the ledger only where an earlier declaration may have arrived there without our knowing.
    async fn refresh(&self) {
        if !lock(&self.state).unsure {
            return;
        }
        match self.stored().await {
            Ok(stored) => lock(&self.state).adopt(&stored.throttles),
            Err(e) => tracing::debug!(error = %e, "the ledger cannot be asked what was declared"),
        }
    }

    fn leads(&self) -> bool {
        true
    }

    async fn declare(
        &self,
        throttle: &ThrottleName,
        level: Level,
        audit: AuditDraft,
    ) -> Result<(i64, Option<i64>), DesiredError> {
        let _one_at_a_time = self.declaring.lock().await;
        let found = lock(&self.state).get(throttle).map(|declared| (declared.generation, declared.stored));
        let (generation, effective) = found.ok_or_else(|| DesiredError::Unknown(throttle.clone()))?;
        let generation = generation.saturating_add(1);
        // Tightening never waits for the ledger: the loop must not open what the gate has just closed. Should the ledger
        // not take it, the tighter level stays until it does.
        lock(&self.state).change(throttle, |declared| declared.level = declared.level.safer(level));
        let row = ThrottleRow { name: throttle.clone(), declared: level, effective, generation };
        let change = Change { throttles: vec![row], audit: vec![audit], ..Change::default() };
        let committed = self.commit(change).await;
        let mut state = lock(&self.state);
        match committed {
            Ok(receipt) => {
                state.change(throttle, |declared| (declared.level, declared.generation) = (level, generation));
                self.woken.notify_one();
                Ok((generation, receipt.audit.first().copied()))
            }
            Err(e) => {
                // It may have become durable after we stopped waiting: `refresh` finds out.
                state.unsure = true;
                Err(e)
            }
        }
    }

    /// In memory at once, and there it stays if the ledger cannot take it: then the error says so, and the hold
    /// bites all the same.
    async fn take(&self, hold: ScopedHold, audit: AuditDraft) -> Result<(), DesiredError> {
        lock(&self.state).take(&hold, &audit);
        self.woken.notify_one();
        self.record(hold, audit).await
    }

    async fn end(&self, meant: Meant<'_>, audit: AuditDraft) -> Result<Ended, DesiredError> {
        let (ending, held_by, unrecorded) = lock(&self.state).endings(meant);
        if ending.is_empty() {
            return Ok(Ended { held_by, ..Ended::default() });
        }
        // First into the ledger what it never got: the log shall not hold an end without its beginning.
        for (hold, audit) in unrecorded {
            self.record(hold, audit).await?;
        }
        let change = Change { holds_ended: ending.clone(), audit: vec![audit], ..Change::default() };
        let receipt = self.commit(change).await?;
        lock(&self.state).release(&ending);
        self.woken.notify_one();
        Ok(Ended { ended: ending, held_by, audit_id: receipt.audit.first().copied() })
    }

    fn observe(&self, throttle: &ThrottleName, evidence: Evidence) {
        lock(&self.state).change(throttle, |declared| declared.evidence = Some(evidence));
    }

    fn wake(&self) {
        self.woken.notify_one();
    }

    async fn woken(&self) {
        self.woken.notified().await;
    }
}

/// The level in force is what a declaration gives as `stored` from here on.
#[async_trait]
impl Report for LedgerDesired {
    async fn report(&self, outcome: &Outcome) {
        self.effective(&outcome.throttle.name, outcome.effective);
    }
}

fn away() -> LedgerError {
    LedgerError::Unavailable(format!("it did not answer within {} s", PATIENCE.as_secs()))
}

fn unavailable(error: LedgerError) -> DesiredError {
    DesiredError::Unavailable(error.to_string())
}
