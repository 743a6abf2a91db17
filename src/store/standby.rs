//! A ledger that may not be open yet. A brake starts, and stops, whatever its store does: until the
//! ledger can be opened every change is refused as unavailable, and opening it is tried again.
//!
//! Knows nothing of what is declared; who starts it gets what the ledger knew, when it is there.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use async_trait::async_trait;
use jiff::Timestamp;

use super::LedgerSnapshot;
use super::sqlite::{OpenError, SqliteLedger, read};
use crate::domain::audit::{Change, ClientKey, CommandResponse, Receipt};
use crate::domain::history::{AuditItem, DriftItem, EvidenceItem, HistoryPage, PageAsk, StateItem};
use crate::ports::{History, JournalEntry, Ledger, LedgerError, OutboxRow, Stored};
use crate::sync::{Mutex, lock};

/// The ledger of a folder, open or not.
#[derive(Debug)]
pub struct StandbyLedger {
    folder: PathBuf,
    open: OnceLock<SqliteLedger>,
    /// Why it could not be opened the last time, as anybody may hear it.
    why: Mutex<String>,
}

/// What is known of a ledger at the start.
#[derive(Debug)]
pub enum AtStart {
    /// It is open, and knew this.
    Open(LedgerSnapshot),
    /// It cannot be written now; it could still be read.
    ReadOnly(LedgerSnapshot, OpenError),
    /// It can neither be written nor read now.
    Away(OpenError),
}

/// How many of these commands of a journal the ledger of a folder lacks. Waits for its disk.
///
/// # Errors
/// If it cannot be read.
pub fn lacking(folder: &Path, entries: &[JournalEntry]) -> Result<usize, LedgerError> {
    if entries.is_empty() {
        return Ok(0);
    }
    let asked = read::connect(folder).and_then(|conn| read::lacks(&conn, entries));
    asked.map_err(|error| LedgerError::Unavailable(error.to_string()))
}

impl StandbyLedger {
    /// Opens the ledger of a folder, if that is possible now.
    ///
    /// # Errors
    /// What trying again cannot mend: a file of a newer program, a library or a file system that
    /// must not be used.
    pub async fn start(folder: &Path, at: Timestamp) -> Result<(Self, AtStart), OpenError> {
        let ledger = Self {
            folder: folder.to_owned(),
            open: OnceLock::new(),
            why: Mutex::default(),
        };
        let found = match ledger.try_open(at).await {
            Ok(opened) => AtStart::Open(opened),
            Err(error) if error.lasts() => return Err(error),
            Err(error) => match read::connect(folder).and_then(|conn| read::opened(&conn)) {
                Ok(opened) => AtStart::ReadOnly(opened, error),
                Err(_) => AtStart::Away(error),
            },
        };
        Ok((ledger, found))
    }

    /// Tries to open it; gives what it knows. Intents that the process before left open get their
    /// outcome first: once the ledger is open to others, an open intent is one of ours.
    ///
    /// # Errors
    /// Why it still cannot be opened.
    pub async fn try_open(&self, at: Timestamp) -> Result<LedgerSnapshot, OpenError> {
        let opened = self.opened(at).await;
        if let Err(error) = &opened {
            *lock(&self.why) = error.told();
        }
        opened
    }

    async fn opened(&self, at: Timestamp) -> Result<LedgerSnapshot, OpenError> {
        let folder = self.folder.clone();
        let opened =
            tokio::task::spawn_blocking(move || SqliteLedger::open_and_account(&folder)).await;
        let (ledger, opened) = opened.map_err(std::io::Error::other)??;
        let closed = match ledger.close_interrupted(at).await {
            Ok(closed) => closed,
            Err(error) => {
                // It waits for its thread and its disk as it closes: not on a thread that answers.
                drop(tokio::task::spawn_blocking(move || drop(ledger)));
                return Err(error.into());
            }
        };
        if !closed.audit.is_empty() {
            tracing::warn!(
                intents = closed.audit.len(),
                "the last process was interrupted; its intents are closed"
            );
        }
        // Only one task tries; should two have, the second's closes again here.
        let _second = self.open.set(ledger);
        Ok(opened)
    }

    /// How many of these commands of a journal it lacks.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn lacks(&self, entries: &[JournalEntry]) -> Result<usize, LedgerError> {
        let (folder, entries) = (self.folder.clone(), entries.to_vec());
        let asked = tokio::task::spawn_blocking(move || lacking(&folder, &entries)).await;
        asked.unwrap_or_else(|error| Err(LedgerError::Unavailable(error.to_string())))
    }

    /// The ledger, once it is open.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] until then.
    pub fn ledger(&self) -> Result<&SqliteLedger, LedgerError> {
        self.open
            .get()
            .ok_or_else(|| match lock(&self.why).as_str() {
                "" => LedgerError::Unavailable("it is not open yet".to_owned()),
                why => LedgerError::Unavailable(format!("it could not be opened yet: {why}")),
            })
    }

    /// Whether closing it can succeed.
    pub fn can_close(&self) -> bool {
        self.open.get().is_none_or(SqliteLedger::can_close)
    }

    /// Writes what is queued, then closes. Blocks until that is done.
    pub fn close(&self) {
        if let Some(ledger) = self.open.get() {
            ledger.close();
        }
    }
}

#[async_trait]
impl Ledger for StandbyLedger {
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError> {
        self.ledger()?.commit(change).await
    }

    async fn stored(&self) -> Result<Stored, LedgerError> {
        self.ledger()?.stored().await
    }

    async fn check(&self) -> Result<(), LedgerError> {
        self.ledger()?.check().await
    }

    /// One that cannot be written can be asked this all the same.
    async fn has(&self, once: &str) -> Result<bool, LedgerError> {
        if let Ok(ledger) = self.ledger() {
            return ledger.has(once).await;
        }
        let (folder, once) = (self.folder.clone(), once.to_owned());
        let asked = move || read::connect(&folder).and_then(|conn| read::has(&conn, &once));
        let asked = tokio::task::spawn_blocking(asked).await;
        let asked = asked.map_err(|error| LedgerError::Unavailable(error.to_string()))?;
        asked.map_err(|error| LedgerError::Unavailable(error.to_string()))
    }

    async fn owed(&self, limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        self.ledger()?.owed(limit).await
    }

    async fn delivered(&self, rows: &[OutboxRow]) -> Result<(), LedgerError> {
        self.ledger()?.delivered(rows).await
    }

    async fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        self.ledger()?.answered(key).await
    }
}

#[async_trait]
impl History for StandbyLedger {
    async fn audit(&self, ask: PageAsk) -> Result<HistoryPage<AuditItem>, LedgerError> {
        self.ledger()?.audit(ask).await
    }

    async fn drifts(&self, ask: PageAsk) -> Result<HistoryPage<DriftItem>, LedgerError> {
        self.ledger()?.drifts(ask).await
    }

    async fn evidence(&self, ask: PageAsk) -> Result<HistoryPage<EvidenceItem>, LedgerError> {
        self.ledger()?.evidence(ask).await
    }

    async fn states(&self, ask: PageAsk) -> Result<HistoryPage<StateItem>, LedgerError> {
        self.ledger()?.states(ask).await
    }
}
