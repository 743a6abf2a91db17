//! The ledger on SQLite: the embedded default, for one process on one machine.
//!
//! One thread writes (`writer`), a few connections read (`pool`); what a change does to the tables
//! is `apply`'s. Knows nothing of who asks or why.

mod apply;
mod backup;
mod cancel;
mod folder;
mod group;
mod history;
mod index;
mod opening;
mod pending_write;
mod pool;
pub(super) mod read;
mod rehearsal;
pub(super) mod rows;
pub(super) mod schema;
mod told;
mod verify;
pub(super) mod walk;
mod write_op;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::LedgerSnapshot;
use crate::domain::audit::{Change, ClientKey, CommandResponse, Receipt};
use crate::domain::chain_head::ChainHead;
use crate::domain::hold::ScopedHold;
use crate::ports::{Ledger, LedgerError, LedgerUpkeep, Outbox, OutboxRow, Stored};
pub use backup::{BackupError, Saved, backup};
use cancel::CancelGuard;
pub use folder::SqliteFolder;
use index::SharedIndex;
pub use opening::OpenError;
use pending_write::PendingWrite;
use pool::Pool;
pub use verify::{Verified, verify};
pub use walk::VerifyError;
use write_op::WriteOp;
pub use writer::{Batch, BatchOutcome, SealedBatch, Writer};
use writer::{Claim, GROUP_LIMIT, WriteRequest};

/// Eight full groups. A group on a locked store fails after [`opening::BUSY_TIMEOUT`], so whatever
/// stands further back would be answered after more than two seconds, when its caller has given up:
/// better refused at once.
const QUEUE_LIMIT: usize = 8 * GROUP_LIMIT;

/// Pages of the past that are read at the same time: half of the connections, so that a command
/// finds one free.
const PAGES_AT_ONCE: usize = 2;

/// The ledger in `ledger.db`.
#[derive(Debug)]
pub struct SqliteLedger {
    queue: Mutex<Option<SyncSender<WriteRequest>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: Arc<Pool>,
    /// Turns for pages of the past.
    pages: Arc<Semaphore>,
    index: SharedIndex,
    /// Where what reads is done.
    apart: fn(Reading),
}

/// Something that waits for a disk.
type Reading = Box<dyn FnOnce() + Send>;

impl SqliteLedger {
    /// Opens the ledger of a directory, makes it where there is none, and tells what it knows.
    pub fn open(dir: &Path) -> Result<(Self, Stored), OpenError> {
        Self::open_and_account(dir).map(|(ledger, opened)| (ledger, opened.stored))
    }

    /// The same, with the accounts of its holds.
    pub fn open_and_account(dir: &Path) -> Result<(Self, LedgerSnapshot), OpenError> {
        let (mut ledger, mut writer, opened) = Self::open_without_threads(dir)?;
        let thread = std::thread::Builder::new().name("ledger-writer".to_owned());
        ledger.writer = Mutex::new(Some(thread.spawn(move || writer.run())?));
        ledger.apart = |reading| drop(tokio::task::spawn_blocking(reading));
        Ok((ledger, opened))
    }

    /// The same, for whoever gives the writer its turns and does not mind to wait for what is read.
    pub fn open_without_threads(dir: &Path) -> Result<(Self, Writer, LedgerSnapshot), OpenError> {
        let conn = opening::connection(dir)?;
        let readers = Pool::open(dir)?;
        let opened = readers
            .ask(read::opened)
            .unwrap_or_else(|| Ok(LedgerSnapshot::default()))?;
        let (queue, jobs) = sync_channel(QUEUE_LIMIT);
        let index = SharedIndex::of(dir);
        let ledger = Self {
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(None),
            readers: Arc::new(readers),
            pages: Arc::new(Semaphore::new(PAGES_AT_ONCE)),
            index: index.clone(),
            apart: |reading| reading(),
        };
        Ok((
            ledger,
            Writer {
                conn,
                index,
                jobs,
                failing: false,
            },
            opened,
        ))
    }

    async fn submit(&self, work: WriteOp) -> Result<Receipt, LedgerError> {
        self.queued(work)?.answer().await
    }

    fn queued(&self, work: WriteOp) -> Result<PendingWrite, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let claim = Arc::new(Claim::default());
        match &*self.queue.lock() {
            None => return Err(unavailable("it is closed")),
            Some(queue) => queue
                .try_send(WriteRequest {
                    work,
                    reply,
                    claim: Arc::clone(&claim),
                })
                .map_err(|e| match e {
                    TrySendError::Full(_) => unavailable("its queue is full"),
                    TrySendError::Disconnected(_) => unavailable("its writer has stopped"),
                })?,
        }
        Ok(PendingWrite { answer, claim })
    }

    /// Reads a page of the past: few at a time, so that connections are left for commands; and not
    /// for a client that left.
    async fn page<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let turn = Arc::clone(&self.pages)
            .acquire_owned()
            .await
            .map_err(unavailable)?;
        let asking = CancelGuard::default();
        let asked = asking.asked();
        self.read(move |conn| {
            let _turn = turn;
            asked.run(conn, query)
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (readers, index) = (Arc::clone(&self.readers), self.index.clone());
        let (reply, answer) = oneshot::channel();
        (self.apart)(Box::new(move || {
            let asked = readers.ask(|conn| {
                index
                    .writable()
                    .and_then(|()| query(conn).map_err(unavailable))
            });
            let _gone = reply.send(asked.unwrap_or_else(|| Err(unavailable("it is closed"))));
        }));
        answer
            .await
            .unwrap_or_else(|_| Err(unavailable("reading it broke off")))
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError> {
        self.queued(WriteOp::Commit(Box::new(change)))?
            .answer_in_time()
            .await
    }

    async fn stored(&self) -> Result<Stored, LedgerError> {
        self.read(read::stored).await
    }

    async fn check(&self) -> Result<(), LedgerError> {
        self.submit(WriteOp::Check)
            .await
            .map(drop)
            .map_err(|error| match error {
                LedgerError::Undecided => unavailable("its disk does not sync what is written"),
                error => error,
            })
    }

    async fn has(&self, once: &str) -> Result<bool, LedgerError> {
        let once = once.to_owned();
        self.read(move |conn| read::has(conn, &once)).await
    }

    async fn owed(&self, limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        self.read(move |conn| read::owed(conn, limit)).await
    }

    async fn delivered(&self, rows: &[OutboxRow]) -> Result<(), LedgerError> {
        self.submit(WriteOp::Delivered(rows.to_vec()))
            .await
            .map(drop)
    }

    async fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        let key = key.clone();
        self.read(move |conn| rows::answered(conn, &key)).await
    }
}

#[async_trait]
impl LedgerUpkeep for SqliteLedger {
    async fn begin(&self, at: Timestamp, holds: Vec<ScopedHold>) -> Result<Receipt, LedgerError> {
        self.submit(WriteOp::Begin { at, holds }).await
    }

    async fn saw_journal(&self, ever: u64) -> Result<(), LedgerError> {
        self.submit(WriteOp::SawJournal(ever)).await.map(drop)
    }

    async fn close_interrupted(&self, at: Timestamp) -> Result<Receipt, LedgerError> {
        self.submit(WriteOp::CloseInterrupted(at)).await
    }

    async fn prune(&self, states_before: Timestamp, now: Timestamp) -> Result<usize, LedgerError> {
        self.submit(WriteOp::Prune { states_before, now })
            .await
            .map(|receipt| receipt.pruned)
    }

    async fn outbox(&self) -> Result<Outbox, LedgerError> {
        self.read(rows::outbox).await
    }

    async fn heads(&self) -> Result<Vec<ChainHead>, LedgerError> {
        self.read(rows::heads).await
    }

    /// Closing writes to its index, which is memory, and a process that may not write there ends by
    /// a signal.
    fn can_close(&self) -> bool {
        self.index.writable().is_ok()
    }

    fn close(&self) {
        // The readers go first: only a last connection that can write folds the log into the file
        // as it closes, and the writer ends as soon as its queue is closed.
        self.readers.close();
        drop(self.queue.lock().take());
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the ledger's writer had panicked");
        }
    }
}

fn unavailable(why: impl std::fmt::Display) -> LedgerError {
    LedgerError::Unavailable(why.to_string())
}
