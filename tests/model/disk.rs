//! Ledger and journal as a process has them, on disks that fail, hang and answer late. What is
//! written, and how, is the program's own doing: only its threads are not there, and who gives the
//! writers their turns is here.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use echo_phoenix::domain::audit::{Change, ClientKey, CommandResponse, Receipt};
use echo_phoenix::ports::{Journal, JournalEntry, Ledger, LedgerError, OutboxRow, Stored};
use echo_phoenix::store::{FileJournal, JournalWriter, SqliteLedger, Writer};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::commands::{DiskFault, LedgerFault};
use crate::outside::{Outside, Place};
use crate::seen::{Rare, sometimes};

/// What SQLite waits for somebody else's lock.
const BUSY: Duration = Duration::from_millis(250);

/// Lets the writer know that something is queued, and waits for what becomes of it.
async fn telling<T>(work: &Notify, asked: impl Future<Output = T>) -> T {
    let mut asked = pin!(asked);
    if let Poll::Ready(done) = futures::poll!(asked.as_mut()) {
        return done;
    }
    work.notify_one();
    asked.await
}

/// The ledger.
pub(crate) struct Channel {
    pub(crate) ledger: SqliteLedger,
    pub(crate) outside: Arc<Outside>,
    pub(crate) work: Arc<Notify>,
}

impl Channel {
    /// Anything that the writer has to do.
    pub(crate) async fn asks<T>(&self, asked: impl Future<Output = T>) -> T {
        telling(&self.work, asked).await
    }

    async fn reads<T>(
        &self,
        read: impl Future<Output = Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        match self.outside.reads() {
            None => read.await,
            Some(DiskFault::Fails) => {
                sometimes(Rare::ReadFailed);
                Err(LedgerError::Unavailable("a fault of the disk".to_owned()))
            }
            Some(DiskFault::Hangs) => {
                sometimes(Rare::ReadHung);
                self.outside.healed(Place::Reads).await;
                read.await
            }
            Some(DiskFault::HangsAfter) => {
                let found = read.await;
                self.outside.healed(Place::Reads).await;
                found
            }
        }
    }
}

#[async_trait]
impl Ledger for Channel {
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError> {
        let done = self.asks(self.ledger.commit(change)).await;
        if matches!(&done, Err(LedgerError::Unavailable(why)) if why.contains("did not begin")) {
            sometimes(Rare::Withdrawn);
        }
        done
    }

    async fn stored(&self) -> Result<Stored, LedgerError> {
        self.reads(self.ledger.stored()).await
    }

    async fn check(&self) -> Result<(), LedgerError> {
        self.asks(self.ledger.check()).await
    }

    async fn has(&self, once: &str) -> Result<bool, LedgerError> {
        self.reads(self.ledger.has(once)).await
    }

    async fn owed(&self, limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        self.reads(self.ledger.owed(limit)).await
    }

    async fn delivered(&self, rows: &[OutboxRow]) -> Result<(), LedgerError> {
        self.asks(self.ledger.delivered(rows)).await
    }

    async fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        self.reads(self.ledger.answered(key)).await
    }
}

/// Gives the ledger's writer its turns, as its disk lets it.
pub(crate) async fn write_ledger(outside: Arc<Outside>, mut writer: Writer, work: Arc<Notify>) {
    let failed = |why: &str| Err(LedgerError::Unavailable(why.to_owned()));
    loop {
        let Some(batch) = writer.queued() else {
            work.notified().await;
            continue;
        };
        let begun = match outside.ledger() {
            Some(LedgerFault::Refuses) => {
                sometimes(Rare::LedgerRefused);
                batch.begun(failed("the disk is full"))
            }
            Some(LedgerFault::Locked) => {
                sometimes(Rare::LedgerLocked);
                sleep(BUSY).await;
                let locked = outside.ledger() == Some(LedgerFault::Locked);
                if locked {
                    batch.begun(failed("the database is locked"))
                } else {
                    writer.begin(batch)
                }
            }
            Some(LedgerFault::HangsBefore) => {
                sometimes(Rare::LedgerHungBefore);
                outside.healed(Place::Ledger).await;
                writer.begin(batch)
            }
            Some(LedgerFault::HangsIn | LedgerFault::HangsAfter) | None => writer.begin(batch),
        };
        if outside.ledger() == Some(LedgerFault::HangsIn) {
            sometimes(Rare::LedgerHungIn);
            outside.healed(Place::Ledger).await;
        }
        let done = outside.writes(|| writer.commit(begun)).await;
        if outside.ledger() == Some(LedgerFault::HangsAfter) {
            sometimes(Rare::LedgerHungAfter);
            outside.healed(Place::Ledger).await;
        }
        done.tell();
    }
}

/// The journal.
pub(crate) struct Notebook {
    pub(crate) journal: FileJournal,
    pub(crate) work: Arc<Notify>,
}

#[async_trait]
impl Journal for Notebook {
    async fn append(&self, entry: &JournalEntry) -> io::Result<()> {
        telling(&self.work, self.journal.append(entry)).await
    }

    fn pending(&self) -> Vec<JournalEntry> {
        self.journal.pending()
    }

    async fn settle(&self, once: &str) -> io::Result<()> {
        telling(&self.work, self.journal.settle(once)).await
    }
}

thread_local! {
    /// Whether the journal's disk fails now; each world has a thread.
    static FAILS: Cell<bool> = const { Cell::new(false) };
}

/// What brings a journal to the disk.
pub(crate) fn sync(file: &std::fs::File) -> io::Result<()> {
    if FAILS.get() {
        Err(io::Error::other("a fault of the disk"))
    } else {
        file.sync_data()
    }
}

/// Gives the journal's writer its turns, as its disk lets it.
pub(crate) async fn write_journal(
    outside: Arc<Outside>,
    mut writer: JournalWriter,
    work: Arc<Notify>,
) {
    loop {
        let Some(mut batch) = writer.queued() else {
            work.notified().await;
            continue;
        };
        if outside.journal() == Some(DiskFault::Hangs) {
            sometimes(Rare::JournalHung);
            outside.healed(Place::Journal).await;
        }
        let failing = outside.journal() == Some(DiskFault::Fails);
        let failed = |did: bool| {
            FAILS.set(did);
            if did {
                sometimes(Rare::JournalFailed);
            }
        };
        let mut appended = None;
        if batch.appends() {
            appended = Some(
                outside
                    .writes(|| {
                        failed(failing);
                        let done = writer.append(&mut batch);
                        failed(false);
                        done
                    })
                    .await,
            );
        }
        if outside.journal() == Some(DiskFault::HangsAfter) {
            sometimes(Rare::JournalHungAfter);
            outside.healed(Place::Journal).await;
        }
        if let Some(done) = appended {
            done.tell();
        }
        let settles = outside.writes(|| {
            failed(failing);
            let done = writer.settle(batch);
            failed(false);
            done
        });
        settles.await.tell();
    }
}
