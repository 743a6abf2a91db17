//! The seams on one screen: what the loop and the doors need of the world, as traits.
//!
//! Knows no Kubernetes, no HTTP, no SQL; who implements a seam is `run`'s choice.

mod desired;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::audit::{
    Change, ClientKey, CommandRecord, CommandResponse, Receipt, ThrottleRow,
};
use crate::domain::chain_head::ChainHead;
use crate::domain::history::{AuditItem, DriftItem, EvidenceItem, HistoryPage, PageAsk, StateItem};
use crate::domain::hold::ScopedHold;
use crate::domain::level::Level;
use crate::domain::moment::Moment;
use crate::domain::target::{Action, ReadBack, TargetSpec};
use crate::domain::throttle::{Declared, ThrottleName};

pub use desired::{
    Declaration, Declarations, Desired, DesiredError, EndProgress, HoldTaken, Leadership,
    Measurements, Resolution, ReviveFilter, ReviveOutcome, Wake, Woken,
};

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

/// What the mirror is owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outbox {
    /// Rows that wait for it.
    pub rows: i64,
    /// Rows it was owed and will not get, since too many waited; the ledger has them.
    pub dropped: i64,
}

/// What a ledger needs beside commands: from its start, once a minute, and at its end.
#[async_trait]
pub trait LedgerUpkeep: Send + Sync {
    /// Records what this process starts from: the holds in force, those that nobody accounts for by
    /// an entry of their own.
    async fn begin(&self, at: Timestamp, holds: Vec<ScopedHold>) -> Result<Receipt, LedgerError>;
    /// Gives every intent that a previous process left open its one outcome, `intent_interrupted`.
    /// To be called once, at start, before an intent is opened.
    async fn close_interrupted(&self, at: Timestamp) -> Result<Receipt, LedgerError>;
    /// Remembers how many records the journal ever had.
    async fn saw_journal(&self, ever: u64) -> Result<(), LedgerError>;
    /// Forgets observations made before this, and clients' keys that have expired by now: the only
    /// rows here that may be forgotten. Answers how many went; a few thousand at a time, so that
    /// commands do not wait.
    async fn prune(&self, states_before: Timestamp, now: Timestamp) -> Result<usize, LedgerError>;
    /// How much the mirror is owed.
    async fn outbox(&self) -> Result<Outbox, LedgerError>;
    /// The newest row of each chained table, the audit log first, all of one moment; to be kept
    /// elsewhere.
    async fn heads(&self) -> Result<Vec<ChainHead>, LedgerError>;
    /// Whether closing it can succeed.
    fn can_close(&self) -> bool;
    /// Writes what is queued, then closes. Blocks until that is done; later calls find the ledger
    /// unavailable.
    fn close(&self);
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
    /// A pass of this throttle begins: what it decides, it decides on what is declared from now on.
    fn begin(&self, _throttle: &ThrottleName) {}
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
