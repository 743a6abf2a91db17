//! Declared state as the cluster has it: Git owns specs, people own overrides, and every event
//! moves the gate at once.
//!
//! Implements `ports::Desired` over the index. Whether this process leads is the lease's word.

mod events;
mod lookups;
mod revived;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::domain::audit::{Change, CommandRecord, CommandResponse, Receipt};
use crate::domain::hold::{Epoch, HeldBy, Hold, Scope, ScopedHold};
use crate::domain::level::Level;
use crate::domain::measurement::Measurement;
use crate::domain::throttle::{Declared, ThrottleName};
use crate::latch::Latch;
use crate::ports::{
    Clock, Declaration, Desired, DesiredError, EndProgress, HoldTaken, Leadership, Ledger,
    LedgerError, Resolution, ReviveFilter, ReviveOutcome, Wake, Woken,
};
use crate::wake::WakeSet;

use super::index::{HoldState, Index};
use super::override_objects;
use super::sent_overrides::Sent;

/// How long the ledger may take to say what it knows.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an API server may take to make an object; a loop that waits for one lets itself be kept
/// for twice as long.
const MAKING: Duration = Duration::from_secs(1);

/// All three kinds have been listed once.
const ALL_LISTED: u8 = 0b111;

/// Declared state of a cluster.
pub struct ClusterDesired {
    client: Client,
    clock: Arc<dyn Clock>,
    ledger: Option<Arc<dyn Ledger>>,
    index: Mutex<Index>,
    latch: OnceLock<Arc<Latch>>,
    /// What was sent for holds of REST.
    sent: Sent,
    /// Something of a hold that has ended is there, or may be.
    left: Notify,
    leads: AtomicBool,
    /// How many looks at overrides there were: whose turn it is.
    looks: AtomicUsize,
    listed: AtomicU8,
    woken: WakeSet,
    gates_changed: Notify,
}

impl ClusterDesired {
    /// Nothing seen yet. Commands of people are written to `ledger`; a gate process has none and
    /// takes none.
    pub fn new(client: Client, clock: Arc<dyn Clock>, ledger: Option<Arc<dyn Ledger>>) -> Self {
        // Whoever has a ledger has a loop.
        let index = if ledger.is_some() {
            Index::looked_at()
        } else {
            Index::default()
        };
        Self {
            client,
            clock,
            ledger,
            index: Mutex::new(index),
            latch: OnceLock::new(),
            sent: Sent::default(),
            left: Notify::new(),
            leads: AtomicBool::new(false),
            looks: AtomicUsize::new(0),
            listed: AtomicU8::new(0),
            woken: WakeSet::default(),
            gates_changed: Notify::new(),
        }
    }

    /// From now on every event moves this latch's gate. Only the first call counts.
    pub fn attach_latch(&self, latch: Arc<Latch>) {
        // The latch needs us and we need it; `run` ties the knot once, before any event.
        let _ = self.latch.set(latch);
    }

    /// Whether this process leads from now on.
    pub fn set_leader(&self, leads: bool) {
        if self.leads.swap(leads, Ordering::AcqRel) != leads {
            tracing::info!(leads, "leadership changed");
            self.index().forget_shown();
            self.woken.wake(&Scope::All);
        }
    }

    /// A watch has shown everything there was at its start.
    pub fn listed(&self, kind: u8) {
        self.listed.fetch_or(1 << kind, Ordering::AcqRel);
        self.woken.wake(&Scope::All);
    }

    /// Whether every kind has been listed once: a gate knows all there is, the loop may act.
    pub fn loaded(&self) -> bool {
        self.listed.load(Ordering::Acquire) == ALL_LISTED
    }

    /// Waits until the kill lane has moved a gate.
    pub async fn gates_moved(&self) {
        self.gates_changed.notified().await;
    }

    /// What was seen, for reading.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Waits until something of a hold that has ended is there, or may be.
    pub(super) async fn left_behind(&self) {
        self.left.notified().await;
    }

    /// Where a look at overrides begins that comes this far.
    fn next_look(&self, far: usize) -> usize {
        self.looks.fetch_add(far, Ordering::Relaxed)
    }

    /// The time that this process goes by.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Holds that have ended and of which something that this process sent may be there, or come.
    pub(super) fn sent_and_over(&self) -> Vec<ScopedHold> {
        self.sent.left_behind(self.clock.elapsed())
    }

    /// Writes a person's command to the record, before anything of it is done.
    async fn record(&self, change: Change) -> Result<Receipt, DesiredError> {
        let Some(ledger) = &self.ledger else {
            return Ok(Receipt {
                answer: change.answer,
                ..Receipt::default()
            });
        };
        ledger.commit(change).await.map_err(not_recorded)
    }

    /// What a command to end holds comes to: the holds that stay, and those that end.
    fn endings(&self, meant: ReviveFilter<'_>) -> (Vec<Hold>, BTreeSet<Epoch>) {
        let all = self.declared();
        let names = all
            .iter()
            .map(|declared| &declared.name)
            .filter(|name| meant.scope.covers(name));
        let held: Vec<(Hold, HoldState)> =
            names.flat_map(|name| self.index().states(name)).collect();
        let is_meant = |hold: &Hold| {
            meant.epoch.is_none_or(|only| *only == hold.epoch) && !(meant.spared)(&hold.epoch)
        };
        let whole = meant.epoch.is_some() || *meant.scope == Scope::All;
        let ends = |hold: &Hold| {
            !hold.source.is_declared() && (whole || self.index().is_of_one(&hold.epoch))
        };
        let held = held
            .into_iter()
            .filter(|(_, state)| *state != HoldState::Over)
            .map(|(hold, _)| hold);
        let (end, stay): (Vec<_>, Vec<_>) = held.filter(is_meant).partition(ends);
        (stay, end.into_iter().map(|hold| hold.epoch).collect())
    }
}

fn not_recorded(error: LedgerError) -> DesiredError {
    match error {
        LedgerError::Undecided => DesiredError::Undecided,
        error => DesiredError::Unavailable(error.to_string()),
    }
}

#[async_trait]
impl Desired for ClusterDesired {
    fn declared(&self) -> Vec<Arc<Declared>> {
        self.index().declared()
    }

    fn find(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        self.index().find(name)
    }

    async fn refresh(&self) {
        if self.leads() {
            lookups::look(&self.client, self).await;
            let gone = self.index().let_go();
            self.follow(&gone);
            let ended = self.index().show();
            self.woken.wake_each(&ended);
        }
    }

    /// Git owns the levels: nothing tightens them here.
    fn tighten(&self, _throttle: &ThrottleName, _level: Level, _measured: Option<&Measurement>) {}

    async fn declare(
        &self,
        throttle: &ThrottleName,
        _level: Level,
        _measured: Option<Measurement>,
        _record: CommandRecord,
    ) -> Result<Declaration, DesiredError> {
        Err(DesiredError::Unavailable(format!(
            "in a cluster Git owns the level of {throttle}: change spec.throttlePercent, or create an EchoOverride to tighten it"
        )))
    }

    /// The object first: it is what every gate hears of, and a stop waits for no ledger.
    async fn take(
        &self,
        held: ScopedHold,
        record: CommandRecord,
    ) -> Result<HoldTaken, DesiredError> {
        let (asked, epoch) = (record.answer.clone(), held.hold.epoch.clone());
        self.announce(&held).await?;
        let receipt = self
            .record(Change {
                holds_taken: vec![held],
                ..Change::of(record)
            })
            .await?;
        let over = receipt.over.contains(&epoch);
        if over {
            self.over(&epoch);
        } else {
            self.sent.recorded(&epoch, self.clock.elapsed());
        }
        Ok(HoldTaken {
            over,
            answer: receipt.answer.unwrap_or(asked),
        })
    }

    async fn announce(&self, held: &ScopedHold) -> Result<(), DesiredError> {
        let epoch = &held.hold.epoch;
        if self.index().is_over(epoch) || !self.sent.begins(held, self.clock.elapsed()) {
            return Ok(());
        }
        let late = || {
            Err(DesiredError::Unavailable(
                "the API server does not answer".to_owned(),
            ))
        };
        // Who is not heard, by us or because nobody waits for this, may have made it all the same.
        let made = timeout(MAKING, override_objects::create(&self.client, held))
            .await
            .unwrap_or_else(|_| late());
        if self.sent.heard(epoch, &made, self.clock.elapsed()) {
            self.left.notify_one();
        }
        made
    }

    async fn end(
        &self,
        meant: ReviveFilter<'_>,
        mut record: CommandRecord,
    ) -> Result<ReviveOutcome, DesiredError> {
        let (held_by, mut epochs) = self.endings(meant);
        epochs.extend(meant.alone.iter().cloned());
        let mut ended = ReviveOutcome {
            held_by,
            ..ReviveOutcome::default()
        };
        record.answer.set(
            "held_by",
            serde_json::json!(ended.held_by.iter().map(HeldBy::from).collect::<Vec<_>>()),
        );
        record.answer.set("ended", serde_json::json!(epochs));
        if epochs.is_empty() {
            ended.answer = Some(record.answer);
            return Ok(ended);
        }
        let stays = |hold: &Hold| hold.is_kill() && !epochs.contains(&hold.epoch);
        let all = self.declared();
        let mut names = all
            .iter()
            .map(|declared| &declared.name)
            .filter(|name| meant.scope.covers(name));
        if names.any(|name| {
            self.index()
                .states(name)
                .iter()
                .any(|(hold, _)| stays(hold))
        }) {
            "killed".clone_into(&mut record.audit.after);
        }
        let epochs: Vec<Epoch> = epochs.into_iter().collect();
        self.end_recorded(record, epochs, ended).await
    }

    fn ending(&self, meant: ReviveFilter<'_>) -> BTreeSet<Epoch> {
        self.endings(meant).1
    }

    async fn resolve(&self, once: &str, ending: &[Epoch]) -> Result<Resolution, DesiredError> {
        let Some(ledger) = &self.ledger else {
            return Ok(Resolution::default());
        };
        let asked = async {
            ledger.check().await?;
            ledger.has(once).await
        };
        let late = LedgerError::Unavailable("it does not answer".to_owned());
        if !timeout(PATIENCE, asked)
            .await
            .unwrap_or(Err(late))
            .map_err(not_recorded)?
        {
            return Ok(Resolution::default());
        }
        let all = self.index().override_holds();
        let stays = |epoch: &Epoch| {
            all.get(epoch)
                .is_some_and(|(_, state)| *state != HoldState::Over)
        };
        Ok(Resolution {
            done: true,
            ended: ending
                .iter()
                .filter(|epoch| !stays(epoch))
                .cloned()
                .collect(),
        })
    }

    async fn resume_end(
        &self,
        record: &CommandRecord,
        ending: &[Epoch],
    ) -> Result<EndProgress, DesiredError> {
        let ending = self.ended_by(record, ending).await?;
        self.delete_overrides(record, &ending)
            .await
            .map(|(went, _)| went)
    }

    async fn note(&self, record: CommandRecord) -> Result<CommandResponse, DesiredError> {
        let asked = record.answer.clone();
        Ok(self
            .record(Change::of(record))
            .await?
            .answer
            .unwrap_or(asked))
    }
}

impl Leadership for ClusterDesired {
    fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire) && self.loaded()
    }
}

#[async_trait]
impl Wake for ClusterDesired {
    fn wake(&self, whom: &Scope) {
        self.woken.wake(whom);
    }

    async fn woken(&self) -> Woken {
        self.woken.woken().await
    }
}
