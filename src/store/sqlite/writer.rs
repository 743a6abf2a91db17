//! The one thread that writes: takes what is queued, commits it as one group, then answers.
//!
//! Knows transactions; what a change means to the tables is `apply`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::group::{Group, run_sql};
use super::write_op::WriteOp;
use super::{SharedIndex, apply, rehearsal, unavailable};
use crate::domain::audit::Receipt;
use crate::ports::LedgerError;

/// Most changes that share one fsync. No timer: what queued up during the last fsync is the next
/// group.
pub(super) const GROUP_LIMIT: usize = 64;

/// Work, and who waits for it.
#[derive(Debug)]
pub(super) struct WriteRequest {
    pub(super) work: WriteOp,
    pub(super) reply: oneshot::Sender<Result<Receipt, LedgerError>>,
    pub(super) claim: Arc<Claim>,
}

/// Whose a piece of work is: the writer's, who begins it, or its caller's, who withdraws it.
/// Whoever takes it first has it for ever; what was withdrawn is never made.
#[derive(Debug, Default)]
pub(super) struct Claim(AtomicBool);

impl Claim {
    /// Takes it; answers whether nobody had it.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}

/// The one who writes, with what is queued for it. It does nothing by itself: a ledger's thread
/// gives it its turns, or whoever says when a disk answers.
#[derive(Debug)]
pub struct Writer {
    pub(super) conn: Connection,
    pub(super) index: SharedIndex,
    pub(super) jobs: Receiver<WriteRequest>,
    /// Whether its disk failed in the last commit: that is told once.
    pub(super) failing: bool,
}

type Reply = oneshot::Sender<Result<Receipt, LedgerError>>;

/// What was queued together and shares a transaction. Who waits for it may still withdraw.
#[derive(Debug)]
pub struct Batch(Vec<WriteRequest>);

/// A batch from which nobody withdraws any more, and its transaction, if there could be one.
#[derive(Debug)]
pub struct SealedBatch {
    works: Vec<WriteOp>,
    replies: Vec<Reply>,
    transaction: Result<(), LedgerError>,
}

/// What became of a batch, before anybody was told.
#[derive(Debug)]
pub struct BatchOutcome(Vec<(Reply, Result<Receipt, LedgerError>)>);

impl Writer {
    /// Serves until the queue is closed and empty.
    pub(super) fn run(&mut self) {
        if let Err(error) = self
            .index
            .writable()
            .and_then(|()| rehearsal::run(&self.conn))
        {
            tracing::debug!(%error, "the ledger's statements are not prepared: the first kill does it");
        }
        while let Ok(first) = self.jobs.recv() {
            let begun = self.begin(self.batch(first));
            self.commit(begun).tell();
        }
    }

    /// What is queued, if anything is.
    pub fn queued(&self) -> Option<Batch> {
        self.jobs.try_recv().ok().map(|first| self.batch(first))
    }

    fn batch(&self, first: WriteRequest) -> Batch {
        Batch(
            std::iter::once(first)
                .chain(self.jobs.try_iter().take(GROUP_LIMIT - 1))
                .collect(),
        )
    }

    /// Begins the transaction of a batch. Who waits for the lock of another process may still
    /// withdraw.
    pub fn begin(&mut self, batch: Batch) -> SealedBatch {
        let begun = self
            .index
            .writable()
            .and_then(|()| run_sql(&self.conn, "BEGIN IMMEDIATE").map_err(unavailable));
        batch.begun(begun)
    }

    /// Makes it durable.
    pub fn commit(&mut self, begun: SealedBatch) -> BatchOutcome {
        let SealedBatch {
            works,
            replies,
            transaction,
        } = begun;
        let committed = transaction.and_then(|()| commit(&self.conn, &works, &mut self.failing));
        let answers = committed.unwrap_or_else(|e| works.iter().map(|_| Err(e.clone())).collect());
        BatchOutcome(replies.into_iter().zip(answers).collect())
    }
}

impl Batch {
    /// Nobody withdraws from here on.
    pub fn begun(self, transaction: Result<(), LedgerError>) -> SealedBatch {
        let claimed = self.0.into_iter().filter(|job| job.claim.take());
        let (works, replies) = claimed.map(|job| (job.work, job.reply)).unzip();
        SealedBatch {
            works,
            replies,
            transaction,
        }
    }
}

impl BatchOutcome {
    /// Answers everybody. Whoever stopped waiting does not hear of it; the change stands all the
    /// same.
    pub fn tell(self) {
        for (reply, answer) in self.0 {
            let _gone = reply.send(answer);
        }
    }
}

type Answers = Vec<Result<Receipt, LedgerError>>;

/// The transaction of the group, which is open. An error means that nothing of the whole group was
/// written, or that this is not known.
fn commit(
    conn: &Connection,
    works: &[WriteOp],
    failing: &mut bool,
) -> Result<Answers, LedgerError> {
    let made = all(&Group::new(conn), works).map_err(unavailable);
    let answers = made.and_then(|answers| {
        run_sql(conn, "COMMIT")
            .map(|()| answers)
            .map_err(|e| not_committed(&e, failing))
    });
    *failing &= answers.is_err();
    if answers.is_err()
        && !conn.is_autocommit()
        && let Err(e) = run_sql(conn, "ROLLBACK")
    {
        tracing::error!(error = %e, "the ledger could not roll back");
    }
    answers
}

/// Why a commit failed. What the disk failed at while it was written or synced may be in the file,
/// whole: a start would read it there, unless another commit is written over it.
fn not_committed(error: &rusqlite::Error, failing: &mut bool) -> LedgerError {
    if error.sqlite_error_code() != Some(ErrorCode::SystemIoFailure) {
        return unavailable(error);
    }
    if !std::mem::replace(failing, true) {
        tracing::error!(%error, "the ledger's disk fails: what was being written may be there or not");
    }
    LedgerError::Undecided
}

/// Every change of the group. Nearly always all of them are made, and then none needs a savepoint
/// of its own; if one is refused, they are made anew, each to fail alone. There is none around them
/// either: within one, SQLite keeps what each statement would undo until the whole ends.
fn all(group: &Group<'_>, works: &[WriteOp]) -> rusqlite::Result<Answers> {
    let together: Result<Vec<_>, apply::ApplyError> =
        works.iter().map(|work| apply::apply(group, work)).collect();
    match together {
        Ok(receipts) => Ok(receipts.into_iter().map(Ok).collect()),
        Err(_) => {
            run_sql(group, "ROLLBACK")?;
            group.forget();
            run_sql(group, "BEGIN IMMEDIATE")?;
            works.iter().map(|work| one(group, work)).collect()
        }
    }
}

/// One change of the group, which fails alone. The outer error means that the group's transaction
/// itself is gone (SQLite ends it by itself when the disk is full, for example): then the savepoint
/// is gone with it.
fn one(group: &Group<'_>, work: &WriteOp) -> rusqlite::Result<Result<Receipt, LedgerError>> {
    run_sql(group, "SAVEPOINT change")?;
    let answer = apply::apply(group, work);
    if answer.is_err() {
        run_sql(group, "ROLLBACK TO change")?;
        group.forget();
    }
    run_sql(group, "RELEASE change")?;
    Ok(answer.map_err(LedgerError::from))
}
