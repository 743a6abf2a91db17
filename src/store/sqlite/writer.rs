//! The one thread that writes: takes what is queued, commits it as one group, then answers.
//!
//! Knows transactions; what a change means to the tables is `apply`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::group::Group;
use super::{SharedIndex, apply, unavailable};
use crate::domain::audit::{Change, Receipt};
use crate::domain::hold::ScopedHold;
use crate::ports::{LedgerError, Owed};

/// Most changes that share one fsync. No timer: what queued up during the last fsync is the next group.
pub(super) const GROUP_LIMIT: usize = 64;

/// Something for the writer to do.
#[derive(Debug)]
pub(super) enum Work {
    /// A change, whole or not at all.
    Commit(Box<Change>),
    /// Changes nothing, but finds out whether the store can be written.
    Check,
    /// The mirror has these.
    Delivered(Vec<Owed>),
    /// Intents that a previous process left open.
    CloseInterrupted(Timestamp),
    /// A process starts: what is in force is recorded.
    Begin {
        /// When.
        at: Timestamp,
        /// The holds in force.
        holds: Vec<ScopedHold>,
    },
    /// How many records the journal ever had.
    SawJournal(u64),
    /// Observations made before this, and clients' keys that have expired by now.
    Prune {
        /// Observations from here on stay.
        states_before: Timestamp,
        /// The time.
        now: Timestamp,
    },
}

/// Work, and who waits for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Receipt, LedgerError>>,
    pub(super) claim: Arc<Claim>,
}

/// Whose a piece of work is: the writer's, who begins it, or its caller's, who withdraws it. Whoever takes it first has it
/// for ever; what was withdrawn is never made.
#[derive(Debug, Default)]
pub(super) struct Claim(AtomicBool);

impl Claim {
    /// Takes it; answers whether nobody had it.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}

/// Serves until the queue is closed and empty.
pub(super) fn run(conn: &Connection, index: &SharedIndex, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        group.extend(jobs.try_iter().take(GROUP_LIMIT - 1));
        // Who waits for the lock of another process may still withdraw; nobody may from here on.
        let begun = index.writable().and_then(|()| run_sql(conn, "BEGIN IMMEDIATE").map_err(unavailable));
        group.retain(|job| job.claim.take());
        let (works, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|job| (job.work, job.reply)).unzip();
        let committed = begun.and_then(|()| commit(conn, &works).map_err(unavailable));
        let answers = committed.unwrap_or_else(|e| works.iter().map(|_| Err(e.clone())).collect());
        for (reply, answer) in replies.into_iter().zip(answers) {
            // Whoever stopped waiting does not hear of it; the change stands all the same.
            let _gone = reply.send(answer);
        }
    }
}

type Answers = Vec<Result<Receipt, LedgerError>>;

/// The transaction of the group, which is open. An error means that nothing of the whole group was written.
fn commit(conn: &Connection, works: &[Work]) -> rusqlite::Result<Answers> {
    let answers = all(&Group::new(conn), works).and_then(|answers| run_sql(conn, "COMMIT").map(|()| answers));
    if answers.is_err()
        && !conn.is_autocommit()
        && let Err(e) = run_sql(conn, "ROLLBACK")
    {
        tracing::error!(error = %e, "the ledger could not roll back");
    }
    answers
}

/// Every change of the group. Nearly always all of them are made, and then none needs a savepoint of its own; if one is
/// refused, they are made anew, each to fail alone.
fn all(group: &Group<'_>, works: &[Work]) -> rusqlite::Result<Answers> {
    run_sql(group, "SAVEPOINT whole")?;
    let together: Result<Vec<_>, apply::Refusal> = works.iter().map(|work| apply::apply(group, work)).collect();
    match together {
        Ok(receipts) => Ok(receipts.into_iter().map(Ok).collect()),
        Err(_) => {
            run_sql(group, "ROLLBACK TO whole")?;
            group.forget();
            works.iter().map(|work| one(group, work)).collect()
        }
    }
}

/// One change of the group, which fails alone. The outer error means that the group's transaction itself is gone
/// (SQLite ends it by itself when the disk is full, for example): then the savepoint is gone with it.
fn one(group: &Group<'_>, work: &Work) -> rusqlite::Result<Result<Receipt, LedgerError>> {
    run_sql(group, "SAVEPOINT change")?;
    let answer = apply::apply(group, work);
    if answer.is_err() {
        run_sql(group, "ROLLBACK TO change")?;
        group.forget();
    }
    run_sql(group, "RELEASE change")?;
    Ok(answer.map_err(LedgerError::from))
}

fn run_sql(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}
