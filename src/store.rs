//! How the record of truth is kept: the ledger on SQLite, the journal beside it, and its verifier.
//!
//! May use domain and ports. Must not know Kubernetes, HTTP or the mirror's format, and reads no
//! clock: time comes with the values.

mod accounts;
mod chain;
mod had;
mod head;
mod journal;
mod last_state;
mod looks;
mod place;
pub mod private;
mod sqlite;
mod standby;
mod start;

pub use accounts::{Accounts, Unexplained};
pub use had::settle_had;
pub use journal::{
    FileJournal, JOURNAL_BYTES, JournalBatch, JournalDone, JournalFile, JournalFound, JournalWriter,
};
pub use last_state::{LAST_STATE_FILE, LastFound, LastState, StateFile};
pub use place::LedgerPlace;
pub use sqlite::{
    BackupError, Batch, BatchOutcome, OpenError, Saved, SealedBatch, SqliteFolder, SqliteLedger,
    Verified, VerifyError, Writer, backup, verify,
};
pub use standby::{AtStart, StandbyLedger};
pub use start::{LedgerSnapshot, Start, StartInputs, start};

/// File name of the ledger within its directory.
pub const LEDGER_FILE: &str = "ledger.db";
