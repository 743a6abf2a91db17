//! Declared state of a service without a cluster: it lives in the ledger, and in memory while the
//! service runs.
//!
//! A kill is in memory before the ledger is asked, so that no pass of the loop opens meanwhile;
//! everything that may open is in memory only once the ledger has it. Knows no SQL and no journal:
//! that one is the latch's.

mod added;
mod ledger_calls;
mod levels;
mod manifest;
mod manifest_diff;
mod state;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::audit::{Change, CommandRecord, CommandResponse};
use crate::domain::hold::{Epoch, HeldBy, Scope, ScopedHold};
use crate::domain::level::Level;
use crate::domain::measurement::Measurement;
use crate::domain::offered::Offered;
use crate::domain::report::PassReport;
use crate::domain::throttle::{Declared, ThrottleName};
use crate::ports::{
    Declarations, Desired, DesiredError, Effect, HoldTaken, JournalEntry, Leadership, Ledger,
    Measurements, Report, Resolution, ReviveFilter, ReviveOutcome, Stored, Wake, Woken,
};
use crate::sync::Mutex;
use crate::wake::WakeSet;
pub use manifest::Taken;
use manifest::Taking;
use state::{DeclaredState, hear, listens};

/// What the record says of a revival that leaves a kill behind.
const STILL_KILLED: &str = "killed";

/// Declared state kept in the ledger.
pub struct LedgerDesired {
    ledger: Arc<dyn Ledger>,
    state: Mutex<DeclaredState>,
    /// Declarations go one at a time: two with the same next generation would both be accepted.
    /// Kills never wait for it. A file gives its turn back again and again; what it has not
    /// declared yet is in here.
    declaring: tokio::sync::Mutex<Option<Taking>>,
    /// Files go one after the other, each whole.
    files: tokio::sync::Mutex<()>,
    woken: WakeSet,
}

impl LedgerDesired {
    /// Starts from what the ledger knew. The throttle `default` always exists; where it is new it
    /// is at STOP.
    pub fn new(ledger: Arc<dyn Ledger>, stored: Stored) -> Self {
        Self::over(ledger, DeclaredState::new(stored, true))
    }

    /// Starts from what the ledger knew; a manifest says what else there is.
    pub fn with_manifest(ledger: Arc<dyn Ledger>, stored: Stored) -> Self {
        Self::over(ledger, DeclaredState::new(stored, false))
    }

    fn over(ledger: Arc<dyn Ledger>, state: DeclaredState) -> Self {
        let state = Mutex::new(state);
        Self {
            ledger,
            state,
            declaring: tokio::sync::Mutex::default(),
            files: tokio::sync::Mutex::default(),
            woken: WakeSet::default(),
        }
    }

    /// The level now in force, and what was offered: what a declaration gives as stored from here
    /// on.
    pub fn effective(&self, throttle: &ThrottleName, level: Level, offered: Option<Offered>) {
        self.state.lock().change(throttle, |declared| {
            (declared.stored, declared.offered) = (level, offered)
        });
    }

    /// Takes over what the ledger knows, once it could be opened: what is safer of it, and what is
    /// newer.
    pub fn adopt(&self, stored: &Stored) {
        let mut state = self.state.lock();
        state.adopt_holds(&stored.holds);
        state.adopt(&stored.throttles);
        drop(state);
        self.woken.wake(&Scope::All);
    }

    /// What a start would go by if the ledger could not be read.
    pub fn last_state(&self) -> Stored {
        self.state.lock().stored()
    }

    /// These holds have ended: whom they held goes on without them.
    fn release(&self, ended: &[Epoch]) {
        let scopes = self.state.lock().release(ended);
        scopes.iter().for_each(|scope| self.woken.wake(scope));
    }

    /// The holds in memory whose own record is not still owed to the ledger.
    pub fn recorded(&self) -> Vec<ScopedHold> {
        self.state.lock().all_recorded()
    }

    /// Puts into memory what the journal has and the ledger lacks, before anything else is asked of
    /// us.
    pub fn owes(&self, entry: &JournalEntry) {
        let mut state = self.state.lock();
        match &entry.effect {
            Effect::Hold(hold) => {
                state.take(hold, &entry.record);
            }
            Effect::Level { throttle, level } => {
                state.tighten(throttle, *level, None);
                // What somebody else declares is held above that.
                let found = state.get(throttle);
                if let Some(hold) =
                    found.and_then(|found| added::added(&found, *level, &entry.record))
                {
                    state.take(&hold, &entry.record);
                }
            }
            Effect::Nothing => {}
        }
    }
}

#[async_trait]
impl Desired for LedgerDesired {
    fn declared(&self) -> Vec<Arc<Declared>> {
        self.state.lock().declared()
    }

    fn find(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        self.state.lock().find(name)
    }

    /// Looks at the ledger only where an earlier declaration may have arrived there without our
    /// knowing.
    async fn refresh(&self) {
        if !self.state.lock().unsure {
            return;
        }
        match self.decided().await {
            Ok(stored) => {
                self.state.lock().adopt(&stored.throttles);
                // Nobody knows which of them it is.
                self.woken.wake(&Scope::All);
            }
            Err(e) => tracing::debug!(error = %e, "the ledger cannot be asked what was declared"),
        }
    }

    fn declarations(&self) -> Option<&dyn Declarations> {
        Some(self)
    }

    /// Wakes nobody: the gates have it already, and the loop hears of it by them.
    fn hold(&self, hold: &ScopedHold, record: &CommandRecord) {
        self.state.lock().take(hold, record);
    }

    /// In memory at once, and there it stays if the ledger cannot take it: then the error says so,
    /// and the hold bites all the same. Whoever takes it again wakes nobody: a loop that brings it
    /// to the ledger in each pass would wake itself.
    async fn take(
        &self,
        hold: ScopedHold,
        record: CommandRecord,
    ) -> Result<HoldTaken, DesiredError> {
        let is_new = self.state.lock().take(&hold, &record);
        if is_new {
            self.woken.wake(&hold.scope);
        }
        self.record(hold, record).await
    }

    async fn end(
        &self,
        meant: ReviveFilter<'_>,
        mut record: CommandRecord,
    ) -> Result<ReviveOutcome, DesiredError> {
        let alone = meant.alone.to_vec();
        let (ending, held_by, unrecorded) = {
            let (scope, state) = (meant.scope, self.state.lock());
            let endings = state.endings(meant);
            if state.still_killed(scope, &endings.0) {
                STILL_KILLED.clone_into(&mut record.audit.after);
            }
            endings
        };
        record.answer.set(
            "held_by",
            serde_json::json!(held_by.iter().map(HeldBy::from).collect::<Vec<_>>()),
        );
        let ending = [ending, alone].concat();
        record.answer.set("ended", serde_json::json!(ending));
        if ending.is_empty() {
            return Ok(ReviveOutcome {
                held_by,
                answer: Some(record.answer),
                ..ReviveOutcome::default()
            });
        }
        // First into the ledger what it never got: the log shall not hold an end without its
        // beginning.
        for (hold, owed) in unrecorded {
            self.record(hold, owed).await?;
        }
        let receipt = self
            .commit(Change {
                holds_ended: ending.clone(),
                ..Change::of(record)
            })
            .await?;
        // Under a key that was used nothing ends that did not end then.
        let ended: Vec<_> = ending
            .into_iter()
            .filter(|epoch| receipt.over.contains(epoch))
            .collect();
        self.release(&ended);
        Ok(ReviveOutcome {
            ended,
            held_by,
            answer: receipt.answer,
            repeated: receipt.repeated,
        })
    }

    fn ending(&self, meant: ReviveFilter<'_>) -> BTreeSet<Epoch> {
        self.state.lock().endings(meant).0.into_iter().collect()
    }

    async fn resolve(&self, once: &str, ending: &[Epoch]) -> Result<Resolution, DesiredError> {
        // What is not recorded before the look need not be in it.
        let recorded = self.recorded();
        let stored = self.decided().await?;
        let done = self.has(once).await?;
        let is_recorded = |epoch: &&Epoch| recorded.iter().any(|held| held.hold.epoch == **epoch);
        let holds = |epoch: &&Epoch| stored.holds.iter().any(|held| held.hold.epoch == **epoch);
        let ended: Vec<Epoch> = ending
            .iter()
            .filter(is_recorded)
            .filter(|epoch| !holds(epoch))
            .cloned()
            .collect();
        let mut state = self.state.lock();
        state.adopt(&stored.throttles);
        // A level above what somebody else declares is a hold by the id of its command.
        let own = stored
            .holds
            .iter()
            .filter(|held| held.hold.epoch.0 == once)
            .cloned()
            .collect::<Vec<_>>();
        state.adopt_holds(&own);
        state.release(&ended);
        drop(state);
        self.woken.wake(&Scope::All);
        Ok(Resolution { done, ended })
    }

    async fn note(&self, record: CommandRecord) -> Result<CommandResponse, DesiredError> {
        let asked = record.answer.clone();
        Ok(self
            .commit(Change::of(record))
            .await?
            .answer
            .unwrap_or(asked))
    }
}

/// There is no other process.
impl Leadership for LedgerDesired {
    fn leads(&self) -> bool {
        true
    }
}

impl Measurements for LedgerDesired {
    fn observe(&self, throttle: &ThrottleName, evidence: Measurement) {
        self.state
            .lock()
            .change(throttle, |declared| hear(declared, evidence));
    }

    fn observe_unstored(
        &self,
        throttle: &ThrottleName,
        evidence: &Measurement,
        among: &dyn Fn(&[Measurement], &Measurement) -> Vec<Measurement>,
    ) {
        self.state.lock().change(throttle, |declared| {
            if listens(declared, evidence) {
                declared.evidence = among(&declared.evidence, evidence);
            }
        });
    }
}

#[async_trait]
impl Wake for LedgerDesired {
    fn wake(&self, whom: &Scope) {
        self.woken.wake(whom);
    }

    async fn woken(&self) -> Woken {
        self.woken.woken().await
    }
}

/// The level in force is what a declaration gives as `stored` from here on.
#[async_trait]
impl Report for LedgerDesired {
    async fn report(&self, outcome: &PassReport) {
        self.effective(
            &outcome.throttle.name,
            outcome.effective,
            Some(outcome.offered.clone()),
        );
    }
}
