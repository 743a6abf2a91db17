//! What the record costs: durable audit writes of 64 concurrent writers, against a bare
//! group-commit loop on the same disk.
//!
//! The bare loop is the least that makes the same rows durable in the same way, to be found by the
//! same filters: one thread takes what is queued, at most 64, inserts rows of the same columns,
//! bytes and indexes in one transaction under the same pragmas, and answers. It knows no chain, no
//! triggers, no savepoints and no exactly-once. The two take turns, batch by batch, and each pair gives one ratio: a disk that
//! others use too is another disk a second later. Prints, and asserts only that every write was
//! durable.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a measurement: it reads the clock, and stops when something fails"
)]

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use criterion::Criterion;
use echo_phoenix::domain::audit::{AuditAction, AuditDraft, Change};
use echo_phoenix::ports::Ledger;
use echo_phoenix::store::SqliteLedger;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Concurrent writers, and most writes of one transaction.
const WRITERS: usize = 64;
/// Writes of each writer in one batch, one after the other.
const EACH: usize = 25;

fn draft() -> AuditDraft {
    AuditDraft {
        at: Timestamp::UNIX_EPOCH,
        actor: "ops-key".to_owned(),
        operator: "dana".to_owned(),
        action: AuditAction::Control,
        throttle: "default".to_owned(),
        before: "0.25".to_owned(),
        after: "0.5".to_owned(),
        reason: "latency at the bank is three times what it was an hour ago".to_owned(),
        binding_signal: "latency".to_owned(),
        request_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
    }
}

type Job = (AuditDraft, oneshot::Sender<i64>);

/// The bare loop and its queue.
#[derive(Clone)]
struct Bare(SyncSender<Job>);

impl Bare {
    fn open(folder: &Path) -> Self {
        let conn = Connection::open(folder.join("bare.db")).unwrap();
        let mode: String = conn
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
        conn.pragma_update(None, "synchronous", "FULL").unwrap();
        conn.execute_batch(
            "CREATE TABLE audit_log (
                seq INTEGER PRIMARY KEY, format INTEGER NOT NULL,
                at TEXT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, throttle TEXT NOT NULL, before TEXT NOT NULL,
                after TEXT NOT NULL, reason TEXT NOT NULL, binding_signal TEXT NOT NULL, request_id TEXT NOT NULL,
                prev_hash TEXT NOT NULL, hash TEXT NOT NULL, operator TEXT NOT NULL, holds_taken TEXT NOT NULL,
                holds_ended TEXT NOT NULL, declares TEXT NOT NULL
            ) STRICT;
            CREATE INDEX audit_log_throttle ON audit_log (throttle);
            CREATE INDEX audit_log_action ON audit_log (action);
            CREATE INDEX audit_log_ends ON audit_log (seq) WHERE holds_ended <> '';",
        )
        .unwrap();
        let (queue, jobs) = sync_channel(8 * WRITERS);
        std::thread::spawn(move || Self::run(&conn, &jobs));
        Self(queue)
    }

    fn run(conn: &Connection, jobs: &Receiver<Job>) {
        let hash = "0".repeat(64);
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(WRITERS - 1));
            conn.prepare_cached("BEGIN IMMEDIATE")
                .unwrap()
                .execute([])
                .unwrap();
            let mut numbers = Vec::with_capacity(group.len());
            for (draft, _) in &group {
                let at = format!("{:.6}", draft.at);
                conn.prepare_cached(
                    "INSERT INTO audit_log (format, at, actor, action, throttle, before, after, reason, binding_signal,
                     request_id, prev_hash, hash, operator, holds_taken, holds_ended, declares)
                     VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, '', '', '')",
                )
                .unwrap()
                .execute(params![
                    at,
                    draft.actor,
                    draft.action.as_str(),
                    draft.throttle,
                    draft.before,
                    draft.after,
                    draft.reason,
                    draft.binding_signal,
                    draft.request_id,
                    hash,
                    draft.operator
                ])
                .unwrap();
                numbers.push(conn.last_insert_rowid());
            }
            conn.prepare_cached("COMMIT").unwrap().execute([]).unwrap();
            for ((_, reply), number) in group.into_iter().zip(numbers) {
                reply.send(number).unwrap();
            }
        }
    }

    async fn commit(&self, draft: AuditDraft) -> i64 {
        let (reply, answer) = oneshot::channel();
        self.0.try_send((draft, reply)).unwrap();
        answer.await.unwrap()
    }
}

/// One batch: every writer writes [`EACH`] times, each time waiting until it is durable; answers
/// how long all of it took.
async fn batch<W: Future<Output = i64> + Send + 'static>(
    write: impl Fn() -> W + Clone + Send + 'static,
) -> Duration {
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let write = write.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    assert!(write().await > 0);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    began.elapsed()
}

/// Both stores, and the pairs of times that were measured.
struct Pairs {
    runtime: Runtime,
    ledger: Arc<SqliteLedger>,
    bare: Bare,
    taken: RefCell<Vec<(f64, f64)>>,
}

impl Pairs {
    /// One batch on each, the order swapped with every pair; answers both times, the ledger's
    /// first.
    fn pair(&self) -> (Duration, Duration) {
        let ledger = || {
            let ledger = Arc::clone(&self.ledger);
            self.runtime.block_on(batch(move || {
                let ledger = Arc::clone(&ledger);
                async move {
                    ledger
                        .commit(Change {
                            audit: vec![draft()],
                            ..Change::default()
                        })
                        .await
                        .unwrap()
                        .audit[0]
                }
            }))
        };
        let bare = || {
            let bare = self.bare.clone();
            self.runtime.block_on(batch(move || {
                let bare = bare.clone();
                async move { bare.commit(draft()).await }
            }))
        };
        let mut taken = self.taken.borrow_mut();
        let (ours, theirs) = if taken.len().is_multiple_of(2) {
            (ledger(), bare())
        } else {
            let theirs = bare();
            (ledger(), theirs)
        };
        taken.push((ours.as_secs_f64(), theirs.as_secs_f64()));
        (ours, theirs)
    }
}

fn main() {
    // Beside the build, and not in a temporary folder: that may be memory, where nothing is durable
    // and all is fast.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (ledger, _) = SqliteLedger::open(folder.path()).unwrap();
    let pairs = Pairs {
        runtime,
        ledger: Arc::new(ledger),
        bare: Bare::open(folder.path()),
        taken: RefCell::default(),
    };
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    let mut group = criterion.benchmark_group(format!(
        "{WRITERS} writers, {EACH} durable audit writes each"
    ));
    group.throughput(criterion::Throughput::Elements((WRITERS * EACH) as u64));
    group.bench_function("ledger", |b| {
        b.iter_custom(|times| (0..times).map(|_| pairs.pair().0).sum())
    });
    group.bench_function("bare", |b| {
        b.iter_custom(|times| (0..times).map(|_| pairs.pair().1).sum())
    });
    group.finish();
    criterion.final_summary();
    let mut ratios: Vec<f64> = pairs
        .taken
        .borrow()
        .iter()
        .map(|(ours, theirs)| theirs / ours)
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |percent: usize| ratios[(ratios.len() - 1) * percent / 100];
    println!(
        "the ledger against a bare loop, {} pairs: {:.2} of its throughput (median; p10 {:.2}, p90 {:.2})",
        ratios.len(),
        at(50),
        at(10),
        at(90)
    );
}
