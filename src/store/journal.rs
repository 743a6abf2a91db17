//! The journal: where a kill becomes durable when the ledger cannot take it.
//!
//! One thread owns the file, so that nobody who serves ever waits for a disk; commands that queue
//! up while it writes share the next sync. Knows records and files; when to write one and what it
//! means is the latch's.

mod file;
mod headless;
mod pending;
mod sector;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::ports::{Journal, JournalEntry};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use crate::sync::thread::{self, JoinHandle};
use pending::Pending;
use writer::{JournalOp, JournalRequest};

pub use file::{JOURNAL_BYTES, JournalFile, JournalFound};
pub use writer::{JournalBatch, JournalDone, JournalWriter};

/// Commands that wait for the disk: as many as the file has room for. What finds no room is refused
/// at once, and not written later.
const QUEUE_LIMIT: usize = 1024;

/// The journal of a process that serves.
#[derive(Debug)]
pub struct FileJournal {
    shown: Arc<Shown>,
    queue: Mutex<Option<SyncSender<JournalRequest>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What is known of the file without asking it. Nobody holds the lock while a disk is waited for.
#[derive(Debug, Default)]
struct Shown {
    pending: Mutex<Pending>,
    ever: AtomicU64,
}

impl FileJournal {
    /// Opens a journal, or makes one, at its full size, whatever it was found to be; and starts its
    /// thread.
    ///
    /// # Errors
    /// If it can neither be read nor made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (mut file, found) = JournalFile::read(path)?;
        if let Err(error) = file.mend(0, false)
            && found == JournalFound::Missing
        {
            return Err(error);
        }
        Self::start(file)
    }

    /// Starts the thread that owns the file from here on.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(file: JournalFile) -> io::Result<Self> {
        let (journal, mut writer) = Self::without_thread(file);
        let thread = thread::Builder::new().name("journal".to_owned());
        *journal.writer.lock() = Some(thread.spawn(move || writer.run())?);
        Ok(journal)
    }

    /// The same, for whoever gives the writer its turns.
    pub fn without_thread(file: JournalFile) -> (Self, JournalWriter) {
        let shown = Arc::clone(file.shown());
        let (queue, jobs) = sync_channel(QUEUE_LIMIT);
        let journal = Self {
            shown,
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(None),
        };
        (journal, JournalWriter { file, jobs })
    }

    /// How many records there ever were.
    pub fn ever(&self) -> u64 {
        self.shown.ever.load(Ordering::SeqCst)
    }

    /// Writes what is queued, then ends the thread. Blocks until that is done; what comes later is
    /// refused.
    pub fn close(&self) {
        drop(self.queue.lock().take());
        let writer = self.writer.lock().take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the journal's thread had panicked");
        }
    }

    /// Puts something into the queue, now or never, and waits for what becomes of it. Whoever stops
    /// waiting changes nothing about that.
    async fn ask(&self, work: JournalOp) -> io::Result<()> {
        let (reply, answer) = oneshot::channel();
        let queued = self
            .queue
            .lock()
            .as_ref()
            .map(|queue| queue.try_send(JournalRequest { work, reply }));
        match queued {
            Some(Ok(())) => {}
            Some(Err(TrySendError::Full(_))) => {
                let why = format!(
                    "the journal's disk does not answer: {QUEUE_LIMIT} commands wait for it"
                );
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
            }
            Some(Err(TrySendError::Disconnected(_))) | None => return Err(ended()),
        }
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn ended() -> io::Error {
    io::Error::other("the journal's thread has ended")
}

#[async_trait]
impl Journal for FileJournal {
    async fn append(&self, entry: &JournalEntry) -> io::Result<()> {
        let content = serde_json::to_vec(entry)?;
        self.ask(JournalOp::Append((Box::new(entry.clone()), content)))
            .await
    }

    fn pending(&self) -> Vec<JournalEntry> {
        self.shown.pending.lock().entries()
    }

    fn is_pending(&self, once: &str) -> bool {
        self.shown.pending.lock().has(once)
    }

    async fn settle(&self, once: &str) -> io::Result<()> {
        // Known at once: it is only what the file says of it that has to wait.
        self.shown.pending.lock().settle_ahead(once);
        let settled = self.ask(JournalOp::Settle(once.to_owned())).await;
        if settled.is_err() {
            self.shown.pending.lock().forget_ahead(once);
        }
        settled
    }
}
