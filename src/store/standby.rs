//! A ledger that may not be open yet. A brake starts, and stops, whatever its store does: until the
//! ledger can be opened every change is refused as unavailable, and opening it is tried again. A
//! disk that hangs keeps the attempt, and nobody else.
//!
//! Knows nothing of what is declared; who starts it gets what the ledger knew, when it is there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::LedgerSnapshot;
use super::sqlite::{OpenError, SqliteLedger, read, rows};
use crate::domain::audit::{Change, ClientKey, CommandResponse, Receipt};
use crate::domain::history::{AuditItem, DriftItem, EvidenceItem, HistoryPage, PageAsk, StateItem};
use crate::ports::{History, JournalEntry, Ledger, LedgerError, OutboxRow, Stored};
use crate::sync::{Mutex, lock};

/// How long whoever opens it waits for its disk, where it can be done without: as a rule that takes
/// milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The ledger of a folder, open or not.
#[derive(Debug)]
pub struct StandbyLedger {
    folder: PathBuf,
    open: OnceLock<SqliteLedger>,
    /// An attempt to open it that its disk keeps: it goes on, and is waited for again.
    attempt: tokio::sync::Mutex<Option<Attempt>>,
    /// Why it could not be opened the last time, as anybody may hear it.
    why: Mutex<String>,
    /// Turns for whoever looks up a key while it is not open: a disk that hangs keeps a thread each.
    looking: Arc<Semaphore>,
}

/// Keys that are looked up at the same time while it is not open.
const LOOK_UPS: usize = 4;

type Attempt = JoinHandle<Result<(SqliteLedger, LedgerSnapshot), OpenError>>;

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
    ask(folder, |conn| read::lacks(conn, entries))
}

/// Asks the ledger of a folder by a connection of its own, which only reads. Waits for its disk.
fn ask<T>(
    folder: &Path,
    query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, LedgerError> {
    let asked = read::connect(folder).and_then(|conn| query(&conn));
    asked.map_err(|error| LedgerError::Unavailable(error.to_string()))
}

impl StandbyLedger {
    /// Opens the ledger of a folder, if that is possible now. `replaceable`: whether there is
    /// something else to start from that is as good, should its disk not answer.
    ///
    /// # Errors
    /// What trying again cannot mend: a file of a newer program, a library or a file system that
    /// must not be used.
    pub async fn start(
        folder: &Path,
        at: Timestamp,
        replaceable: bool,
    ) -> Result<(Self, AtStart), OpenError> {
        let ledger = Self {
            folder: folder.to_owned(),
            open: OnceLock::new(),
            attempt: tokio::sync::Mutex::default(),
            why: Mutex::default(),
            looking: Arc::new(Semaphore::new(LOOK_UPS)),
        };
        loop {
            let error = match ledger.try_open(at).await {
                Ok(known) => return Ok((ledger, AtStart::Open(known))),
                Err(error) if error.lasts() => return Err(error),
                Err(error) => error,
            };
            if let Ok(Ok(known)) = timeout(PATIENCE, ledger.ask_apart(read::opened)).await {
                return Ok((ledger, AtStart::ReadOnly(known, error)));
            }
            if replaceable || !matches!(error, OpenError::Slow(_)) {
                return Ok((ledger, AtStart::Away(error)));
            }
        }
    }

    /// Tries to open it, for as long as its disk answers; gives what it knows. Intents that the
    /// process before left open get their outcome first: once the ledger is open to others, an open
    /// intent is one of ours.
    ///
    /// # Errors
    /// Why it still cannot be opened; [`OpenError::Slow`] where that is still tried.
    #[allow(
        clippy::disallowed_methods,
        reason = "it ends once its disk answers, and is waited for here until then"
    )]
    pub async fn try_open(&self, at: Timestamp) -> Result<LedgerSnapshot, OpenError> {
        let mut kept = self.attempt.lock().await;
        let attempt = kept.get_or_insert_with(|| tokio::spawn(open(self.folder.clone(), at)));
        let opened = match timeout(PATIENCE, attempt).await {
            Err(_) => Err(OpenError::Slow(PATIENCE)),
            Ok(done) => {
                *kept = None;
                done.map_err(|broke_off| OpenError::Io(std::io::Error::other(broke_off)))
                    .flatten()
            }
        };
        match opened {
            Ok((ledger, known)) => {
                // Nobody else tries while this one holds the attempt.
                let _first = self.open.set(ledger);
                Ok(known)
            }
            Err(error) => {
                *lock(&self.why) = error.told();
                Err(error)
            }
        }
    }

    /// How many of these commands of a journal it lacks.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn lacks(&self, entries: &[JournalEntry]) -> Result<usize, LedgerError> {
        let entries = entries.to_vec();
        self.apart(move |folder| lacking(folder, &entries)).await
    }

    /// The same question, asked beside whoever serves: also of a ledger that is not open.
    async fn ask_apart<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.apart(move |folder| ask(folder, query)).await
    }

    async fn apart<T: Send + 'static>(
        &self,
        asking: impl FnOnce(&Path) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let folder = self.folder.clone();
        let asked = tokio::task::spawn_blocking(move || asking(&folder)).await;
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

/// Opens the ledger of a folder, and closes what the process before left open.
async fn open(folder: PathBuf, at: Timestamp) -> Result<(SqliteLedger, LedgerSnapshot), OpenError> {
    let opened = tokio::task::spawn_blocking(move || SqliteLedger::open_and_account(&folder)).await;
    let (ledger, known) = opened.map_err(std::io::Error::other)??;
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
    Ok((ledger, known))
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
        let once = once.to_owned();
        self.ask_apart(move |conn| read::has(conn, &once)).await
    }

    async fn owed(&self, limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        self.ledger()?.owed(limit).await
    }

    async fn delivered(&self, rows: &[OutboxRow]) -> Result<(), LedgerError> {
        self.ledger()?.delivered(rows).await
    }

    async fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        if let Ok(ledger) = self.ledger() {
            return ledger.answered(key).await;
        }
        let turn = Arc::clone(&self.looking).try_acquire_owned();
        let turn = turn.map_err(|_| {
            LedgerError::Unavailable("too many keys are being looked up in it".to_owned())
        })?;
        let key = key.clone();
        self.ask_apart(move |conn| {
            let _turn = turn;
            rows::answered(conn, &key)
        })
        .await
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
