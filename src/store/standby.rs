//! A ledger that may not be open yet. A brake starts, and stops, whatever its store does: until the
//! ledger can be opened every change is refused as unavailable, and opening it is tried again. A
//! disk that hangs keeps the attempt, and nobody else.
//!
//! Knows nothing of what is declared; who starts it gets what the ledger knew, when it is there.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::LedgerSnapshot;
use super::place::LedgerPlace;
use super::sqlite::{OpenError, SqliteFolder};
use crate::domain::audit::{Change, ClientKey, CommandResponse, Receipt};
use crate::domain::chain_head::ChainHead;
use crate::domain::history::{AuditItem, DriftItem, EvidenceItem, HistoryPage, PageAsk, StateItem};
use crate::domain::hold::ScopedHold;
use crate::ports::{
    History, JournalEntry, Ledger, LedgerError, LedgerUpkeep, Outbox, OutboxRow, Stored,
};
use crate::sync::Mutex;

/// How long whoever opens it waits for its disk, where it can be done without: as a rule that takes
/// milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The ledger of a place, open or not.
pub struct StandbyLedger<P: LedgerPlace = SqliteFolder> {
    place: P,
    open: OnceLock<P::Ledger>,
    /// An attempt to open it that its disk keeps: it goes on, and is waited for again.
    attempt: tokio::sync::Mutex<Option<Attempt<P::Ledger>>>,
    /// Why it could not be opened the last time, as anybody may hear it.
    why: Mutex<String>,
    /// Turns for whoever looks up a key while it is not open: a disk that hangs keeps a thread each.
    looking: Arc<Semaphore>,
}

/// Keys that are looked up at the same time while it is not open.
const LOOK_UPS: usize = 4;

type Attempt<L> = JoinHandle<Result<(L, LedgerSnapshot), OpenError>>;

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

impl<P: LedgerPlace> StandbyLedger<P> {
    /// Opens the ledger of a place, if that is possible now. `replaceable`: whether there is
    /// something else to start from that is as good, should its disk not answer.
    ///
    /// # Errors
    /// What trying again cannot mend: a file of a newer program, a library or a file system that
    /// must not be used.
    pub async fn start(
        place: P,
        at: Timestamp,
        replaceable: bool,
    ) -> Result<(Self, AtStart), OpenError> {
        let ledger = Self {
            place,
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
            if let Ok(Ok(known)) = timeout(PATIENCE, ledger.apart(P::snapshot)).await {
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
        let attempt = kept.get_or_insert_with(|| tokio::spawn(open(self.place.clone(), at)));
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
                *self.why.lock() = error.told();
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
        self.apart(move |place| place.lacks(&entries)).await
    }

    /// Asks beside whoever serves: also of a ledger that is not open.
    async fn apart<T: Send + 'static>(
        &self,
        asking: impl FnOnce(&P) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let place = self.place.clone();
        let asked = tokio::task::spawn_blocking(move || asking(&place)).await;
        asked.unwrap_or_else(|error| Err(LedgerError::Unavailable(error.to_string())))
    }

    /// The ledger, once it is open.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] until then.
    pub fn ledger(&self) -> Result<&P::Ledger, LedgerError> {
        self.open
            .get()
            .ok_or_else(|| match self.why.lock().as_str() {
                "" => LedgerError::Unavailable("it is not open yet".to_owned()),
                why => LedgerError::Unavailable(format!("it could not be opened yet: {why}")),
            })
    }
}

/// Opens the ledger of a place, and closes what the process before left open.
async fn open<P: LedgerPlace>(
    place: P,
    at: Timestamp,
) -> Result<(P::Ledger, LedgerSnapshot), OpenError> {
    let opened = tokio::task::spawn_blocking(move || place.open()).await;
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
impl<P: LedgerPlace> Ledger for StandbyLedger<P> {
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
        self.apart(move |place| place.has(&once)).await
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
        self.apart(move |place| {
            let _turn = turn;
            place.answered(&key)
        })
        .await
    }
}

#[async_trait]
impl<P: LedgerPlace> LedgerUpkeep for StandbyLedger<P> {
    async fn begin(&self, at: Timestamp, holds: Vec<ScopedHold>) -> Result<Receipt, LedgerError> {
        self.ledger()?.begin(at, holds).await
    }

    async fn close_interrupted(&self, at: Timestamp) -> Result<Receipt, LedgerError> {
        self.ledger()?.close_interrupted(at).await
    }

    async fn saw_journal(&self, ever: u64) -> Result<(), LedgerError> {
        self.ledger()?.saw_journal(ever).await
    }

    async fn prune(&self, states_before: Timestamp, now: Timestamp) -> Result<usize, LedgerError> {
        self.ledger()?.prune(states_before, now).await
    }

    async fn outbox(&self) -> Result<Outbox, LedgerError> {
        self.ledger()?.outbox().await
    }

    async fn heads(&self) -> Result<Vec<ChainHead>, LedgerError> {
        self.ledger()?.heads().await
    }

    fn can_close(&self) -> bool {
        self.open.get().is_none_or(LedgerUpkeep::can_close)
    }

    fn close(&self) {
        if let Some(ledger) = self.open.get() {
            ledger.close();
        }
    }
}

#[async_trait]
impl<P: LedgerPlace<Ledger: History>> History for StandbyLedger<P> {
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
