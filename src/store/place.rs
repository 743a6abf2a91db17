//! Where a ledger is kept: what whoever waits for it asks of that place.
//!
//! Knows no backend but the reasons why one could not be opened.

use super::LedgerSnapshot;
use super::sqlite::OpenError;
use crate::domain::audit::{ClientKey, CommandResponse};
use crate::ports::{JournalEntry, Ledger, LedgerError, LedgerUpkeep};

/// A place where a ledger is kept: opened once that is possible, and read beside whoever serves
/// until then. All of it waits for a disk.
pub trait LedgerPlace: Clone + Send + Sync + 'static {
    /// What is opened there.
    type Ledger: Ledger + LedgerUpkeep + 'static;
    /// Opens it, makes it where there is none, and tells what it knows.
    ///
    /// # Errors
    /// Why it cannot be opened.
    fn open(&self) -> Result<(Self::Ledger, LedgerSnapshot), OpenError>;
    /// What it knows, where it can be read and not be opened.
    ///
    /// # Errors
    /// If it cannot be read.
    fn snapshot(&self) -> Result<LedgerSnapshot, LedgerError>;
    /// How many of these commands of a journal it lacks.
    ///
    /// # Errors
    /// If it cannot be read.
    fn lacks(&self, entries: &[JournalEntry]) -> Result<usize, LedgerError>;
    /// As [`Ledger::has`].
    ///
    /// # Errors
    /// If it cannot be read.
    fn has(&self, once: &str) -> Result<bool, LedgerError>;
    /// As [`Ledger::answered`].
    ///
    /// # Errors
    /// If it cannot be read.
    fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError>;
}
