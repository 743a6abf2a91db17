//! The seams on one screen: what the loop and the doors need of the world, as traits.
//!
//! Knows no Kubernetes, no HTTP, no SQL; who implements a seam is `run`'s choice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::audit::{
    Change, ClientKey, CommandRecord, CommandResponse, Receipt, ThrottleRow,
};
use crate::domain::history::{AuditItem, DriftItem, EvidenceItem, HistoryPage, PageAsk, StateItem};
use crate::domain::hold::{Epoch, Hold, Scope, ScopedHold};
use crate::domain::level::Level;
use crate::domain::measurement::Measurement;
use crate::domain::moment::Moment;
use crate::domain::target::{Action, ReadBack, TargetSpec};
use crate::domain::throttle::{Declared, ThrottleName};

/// Time is two: the wall clock for records and answers, the monotonic one for every age, ramp,
/// credit, lease and retry.
pub trait Clock: Send + Sync {
    /// Now, by the wall clock. It may step either way: no age is ever a difference of two such
    /// times.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment of this process, by a clock that nobody sets. Never runs
    /// backwards.
    fn elapsed(&self) -> Duration;
    /// Both at once.
    fn moment(&self) -> Moment {
        Moment {
            wall: self.now(),
            elapsed: self.elapsed(),
        }
    }
}

/// Why the ledger did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be written or read now; the same change may succeed later.
    #[error("the ledger is not available: {0}")]
    Unavailable(String),
    /// It was begun and not answered in time: whether it is made is not known yet.
    #[error("the ledger has begun to write this and does not answer: it may still happen")]
    Undecided,
    /// Somebody else changed what this change was based on.
    #[error("the ledger holds a newer state of throttle {0}")]
    Conflict(ThrottleName),
    /// It makes no sense to the ledger and never will: trying again is no use.
    #[error("the ledger refuses this change: {0}")]
    Refused(String),
}

/// What the ledger knew when it was opened.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Stored {
    /// Every throttle's state.
    pub throttles: Vec<ThrottleRow>,
    /// Holds that have not ended.
    pub holds: Vec<ScopedHold>,
}

/// A record the mirror owes: the newest version of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// The guide's table name.
    pub table: String,
    /// The row's key within it.
    pub key: String,
    /// Counts up with each version of the row.
    pub version: i64,
    /// The row, as JSON.
    pub row: String,
}

/// The record of truth. Acknowledged means committed.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Makes a change durable, whole. Whoever stops waiting withdraws a change that was not begun;
    /// one that was begun may be made all the same, and so may one that is answered as
    /// [`LedgerError::Undecided`].
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError>;
    /// The current state, for a start.
    async fn stored(&self) -> Result<Stored, LedgerError>;
    /// Whether it answers and can be written. What was begun before is decided when this succeeds.
    async fn check(&self) -> Result<(), LedgerError>;
    /// Whether it has the command of this id.
    async fn has(&self, once: &str) -> Result<bool, LedgerError>;
    /// What the mirror owes, oldest first, at most `limit`.
    async fn owed(&self, limit: usize) -> Result<Vec<OutboxRow>, LedgerError>;
    /// The mirror has delivered these versions (newer ones stay owed).
    async fn delivered(&self, rows: &[OutboxRow]) -> Result<(), LedgerError>;
    /// What a command with this `Idempotency-Key` of its caller and route was answered, if the key
    /// has not expired.
    async fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError>;
}

/// The past, page by page, newest first.
#[async_trait]
pub trait History: Send + Sync {
    /// Entries of the audit log.
    async fn audit(&self, ask: PageAsk) -> Result<HistoryPage<AuditItem>, LedgerError>;
    /// Versions of drifts.
    async fn drifts(&self, ask: PageAsk) -> Result<HistoryPage<DriftItem>, LedgerError>;
    /// Events of the payment provider.
    async fn evidence(&self, ask: PageAsk) -> Result<HistoryPage<EvidenceItem>, LedgerError>;
    /// Observations.
    async fn states(&self, ask: PageAsk) -> Result<HistoryPage<StateItem>, LedgerError>;
}

/// Where a tightening becomes durable before the ledger has it. Nobody who asks holds up the thread
/// it asks on.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends and syncs one entry; returns when it is on the disk. Whoever stops waiting does not
    /// take it back: it is written all the same. After an error nobody relies on it.
    async fn append(&self, entry: &JournalEntry) -> std::io::Result<()>;
    /// What is on the disk and not yet known to be in the ledger, oldest first: as it is known,
    /// without a wait.
    fn pending(&self) -> Vec<JournalEntry>;
    /// Whether the entry is among them whose record has this id.
    fn is_pending(&self, once: &str) -> bool {
        self.pending().iter().any(|entry| entry.record.once == once)
    }
    /// The ledger has the entry whose record has this id. It is pending no more at once, and on the
    /// disk when this returns.
    async fn settle(&self, once: &str) -> std::io::Result<()>;
}

/// One tightening as the journal keeps it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct JournalEntry {
    /// What became safer.
    pub effect: Effect,
    /// What is owed to the ledger for it.
    pub record: CommandRecord,
}

impl JournalEntry {
    /// The hold it took, if it took one.
    pub fn hold(self) -> Option<ScopedHold> {
        if let Effect::Hold(hold) = self.effect {
            Some(*hold)
        } else {
            None
        }
    }
}

/// What a journalled command did.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// A hold was taken.
    Hold(Box<ScopedHold>),
    /// A higher level was declared.
    Level {
        /// Of which throttle.
        throttle: ThrottleName,
        /// The level.
        level: Level,
    },
    /// Nothing moved, as in a second kill; only the record is owed.
    Nothing,
}

/// Why a declaration could not be changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DesiredError {
    /// The place where declarations live does not answer; nothing was changed.
    #[error("{0}")]
    Unavailable(String),
    /// Whether it is done is not known yet: it may still happen.
    #[error("not decided yet: it may still happen")]
    Undecided,
    /// There is no throttle of that name.
    #[error("there is no throttle `{0}`")]
    Unknown(ThrottleName),
    /// It is refused, and trying again is no use: why.
    #[error("{0}")]
    Refused(String),
}

/// Which holds a command to end them means.
#[derive(Clone, Copy)]
pub struct ReviveFilter<'a> {
    /// Holds on these throttles,
    pub scope: &'a Scope,
    /// or only this one.
    pub epoch: Option<&'a Epoch>,
    /// Never these: a kill that came after the command is not the command's to end.
    pub spared: &'a (dyn Fn(&Epoch) -> bool + Sync),
    /// And these, which nobody knows of but who asks.
    pub alone: &'a [Epoch],
}

/// What taking a hold came to.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldTaken {
    /// What the client is answered.
    pub answer: CommandResponse,
    /// Whether it was known, and has ended: it must not bite any more.
    pub over: bool,
}

/// What ending holds came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReviveOutcome {
    /// Whether nothing was done, since its client's key was used: `answer` is what was said then.
    pub repeated: bool,
    /// Holds that ended.
    pub ended: Vec<Epoch>,
    /// Holds that stay, and why they are not this door's to end.
    pub held_by: Vec<Hold>,
    /// What the client is answered.
    pub answer: Option<CommandResponse>,
}

/// What became of a command that was [`DesiredError::Undecided`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// Whether it was done.
    pub done: bool,
    /// Holds that ended by it.
    pub ended: Vec<Epoch>,
}

/// What going on with the end of holds came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndProgress {
    /// Holds that have ended.
    pub ended: Vec<Epoch>,
    /// Holds that could not be ended now: to be asked again.
    pub left: Vec<Epoch>,
    /// Whether the end of any was refused for good: then the record says so, and it stays.
    pub refused: bool,
}

/// What a declaration became.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// Generation it has.
    pub generation: i64,
    /// What the client is answered.
    pub answer: CommandResponse,
}

/// Declared state: where it lives differs (ledger, cluster), what can be asked of it does not.
#[async_trait]
pub trait Desired: Send + Sync {
    /// Everything declared now. Cheap; reads no network and no disk.
    fn declared(&self) -> Vec<Arc<Declared>>;
    /// Before a pass of the loop: look again at what only a live look can tell (is an override
    /// really gone).
    async fn refresh(&self);
    /// Whether this process may open, scale and correct.
    fn leads(&self) -> bool;
    /// What tightens holds from now on, with what was measured, and is declared next: no pass that
    /// begins after this opens beyond it. What would open changes nothing.
    fn tighten(&self, throttle: &ThrottleName, level: Level, measured: Option<&Measurement>);
    /// Declares a level, with what its caller measured: one act, so no pass of the loop sees one
    /// without the other. Durable when it returns. Sets `generation` in the answer. Wakes nobody:
    /// whoever commands wakes once, when all is said.
    async fn declare(
        &self,
        throttle: &ThrottleName,
        level: Level,
        measured: Option<Measurement>,
        record: CommandRecord,
    ) -> Result<Declaration, DesiredError>;
    /// A hold that is in force, and is taken next: it is declared from now on, where declarations
    /// are kept here. Nothing that counts records may count one whose hold nobody declares yet.
    fn hold(&self, _hold: &ScopedHold, _record: &CommandRecord) {}
    /// Takes a hold. Durable when it returns; a known epoch takes no second one.
    async fn take(
        &self,
        hold: ScopedHold,
        record: CommandRecord,
    ) -> Result<HoldTaken, DesiredError>;
    /// Lets others hear of a hold that the record does not have yet, where they hear of it by
    /// anything but the record. May be asked again and again.
    async fn announce(&self, _hold: &ScopedHold) -> Result<(), DesiredError> {
        Ok(())
    }
    /// Ends every hold that REST or an override made and that is meant, but for those that are
    /// spared. Durable when it returns. Sets `ended` and `held_by` in the answer.
    async fn end(
        &self,
        meant: ReviveFilter<'_>,
        record: CommandRecord,
    ) -> Result<ReviveOutcome, DesiredError>;
    /// What [`Desired::end`] would end by now. A specification's own holds stay, and so does what
    /// is not known to be of the command's throttle alone: opening one must not open others.
    fn ending(&self, meant: ReviveFilter<'_>) -> BTreeSet<Epoch>;
    /// What became of a command of this id that was [`DesiredError::Undecided`], and which of these
    /// holds, which it meant to end, have ended: they bite no more when this returns.
    ///
    /// # Errors
    /// While it is not known.
    async fn resolve(&self, once: &str, ending: &[Epoch]) -> Result<Resolution, DesiredError>;
    /// Goes on with the end of those of these holds that a command ended, as the record has it.
    /// Where holds live in the record itself there is nothing left to do.
    ///
    /// # Errors
    /// While it is not known which ones, or cannot be recorded which ones stay.
    async fn resume_end(
        &self,
        _record: &CommandRecord,
        _ending: &[Epoch],
    ) -> Result<EndProgress, DesiredError> {
        Ok(EndProgress::default())
    }
    /// Records a command that moved nothing. Durable when it returns.
    async fn note(&self, record: CommandRecord) -> Result<CommandResponse, DesiredError>;
    /// What somebody measured; the loop believes it for three ticks.
    fn observe(&self, throttle: &ThrottleName, evidence: Measurement);
    /// What somebody measured and is not stored; `among` says what of all that was heard is
    /// believed from here on. Nothing where no measurements are kept.
    fn observe_unstored(
        &self,
        _throttle: &ThrottleName,
        _evidence: &Measurement,
        _among: &dyn Fn(&[Measurement], &Measurement) -> Vec<Measurement>,
    ) {
    }
    /// Something changed: do not wait for the tick.
    fn wake(&self);
    /// Waits for the next wake.
    async fn woken(&self);
}

/// Why a target could not be read or moved.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TargetError {
    /// Nobody answered in time, or the answer was an error that may pass.
    #[error("{0}")]
    Unavailable(String),
    /// The object changed since it was read: look again.
    #[error("changed meanwhile: {0}")]
    Conflict(String),
    /// We may not; nothing but a changed role or spec helps.
    #[error("refused: {0}")]
    Refused(String),
    /// It took the order, and something of its own holds it where it is.
    #[error("{0}")]
    Held(String),
}

/// One kind of thing a throttle acts on. Applying is idempotent.
#[async_trait]
pub trait Target: Send + Sync {
    /// A pass begins: what it decides, it decides on what is declared from now on.
    fn begin(&self) {}
    /// What it is now.
    async fn read(&self, throttle: &Declared, spec: &TargetSpec) -> Result<ReadBack, TargetError>;
    /// Does one planned step.
    async fn apply(&self, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError>;
}

/// Where a pass of the loop tells what it found and did.
#[async_trait]
pub trait Report: Send + Sync {
    /// Tells; must not fail the pass (it is told again in the next).
    async fn report(&self, outcome: &crate::domain::report::PassReport);
}
