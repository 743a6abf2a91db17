//! What is asked of the ledger's writer, and made by `apply`.

use jiff::Timestamp;

use crate::domain::audit::Change;
use crate::domain::hold::ScopedHold;
use crate::ports::OutboxRow;

/// Something for the writer to do.
#[derive(Debug)]
pub(super) enum WriteOp {
    /// A change, whole or not at all.
    Commit(Box<Change>),
    /// Changes nothing, but finds out whether the store can be written.
    Check,
    /// The mirror has these.
    Delivered(Vec<OutboxRow>),
    /// Intents that a previous process left open.
    CloseInterrupted(Timestamp),
    /// A process starts: what is in force is recorded.
    Begin {
        /// When.
        at: Timestamp,
        /// The holds in force.
        holds: Vec<ScopedHold>,
    },
    /// How many records the journal ever had.
    SawJournal(u64),
    /// Observations made before this, and clients' keys that have expired by now.
    Prune {
        /// Observations from here on stay.
        states_before: Timestamp,
        /// The time.
        now: Timestamp,
    },
}
