//! The folder of a ledger: opened for whoever writes, or read beside it by a connection of its own.
//!
//! Waits for its disk, and starts no thread but the writer's.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::opening::OpenError;
use super::{SqliteLedger, read, rows, unavailable};
use crate::domain::audit::{ClientKey, CommandResponse};
use crate::ports::{JournalEntry, LedgerError};
use crate::store::LedgerSnapshot;
use crate::store::place::LedgerPlace;

/// A folder with a ledger on SQLite, or where one is made.
#[derive(Clone, Debug)]
pub struct SqliteFolder(PathBuf);

impl SqliteFolder {
    /// This folder.
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Asks the ledger by a connection that only reads.
    fn ask<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        let asked = read::connect(&self.0).and_then(|conn| query(&conn));
        asked.map_err(unavailable)
    }
}

impl LedgerPlace for SqliteFolder {
    type Ledger = SqliteLedger;

    fn open(&self) -> Result<(SqliteLedger, LedgerSnapshot), OpenError> {
        SqliteLedger::open_and_account(&self.0)
    }

    fn snapshot(&self) -> Result<LedgerSnapshot, LedgerError> {
        self.ask(read::opened)
    }

    fn lacks(&self, entries: &[JournalEntry]) -> Result<usize, LedgerError> {
        if entries.is_empty() {
            return Ok(0);
        }
        self.ask(|conn| read::lacks(conn, entries))
    }

    fn has(&self, once: &str) -> Result<bool, LedgerError> {
        self.ask(|conn| read::has(conn, once))
    }

    fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        self.ask(|conn| rows::answered(conn, key))
    }
}
