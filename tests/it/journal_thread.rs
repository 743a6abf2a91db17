//! R5: the journal's disk is waited for by its own thread and by nobody who serves, and by those
//! who wait together once.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it has tasks of its own"
)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::audit::CommandRecord;
use echo_phoenix::domain::hold::{Epoch, Scope};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::moment::Moment;
use echo_phoenix::domain::target::GateSpec;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::gate::{Gate, LevelSetting, Question};
use echo_phoenix::latch::{AuditState, KillOrder, Lacking, Latch};
use echo_phoenix::ports::{Effect, Journal, JournalEntry};
use echo_phoenix::store::{FileJournal, JOURNAL_BYTES, JournalFile, JournalFound, SqliteLedger};
use jiff::Timestamp;

use crate::ledger_suite::values::{kill, record};
use crate::support::eventually;

const NOW: Moment = Moment {
    wall: Timestamp::UNIX_EPOCH,
    elapsed: Duration::ZERO,
};

/// A disk whose syncs wait until they are let through, and then go well or not.
struct Disk {
    state: Mutex<State>,
    changed: Condvar,
    asked: AtomicUsize,
}

struct State {
    hangs: bool,
    fails: bool,
    /// Syncs that go through though it hangs.
    through: usize,
}

impl Disk {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                hangs: false,
                fails: false,
                through: 0,
            }),
            changed: Condvar::new(),
            asked: AtomicUsize::new(0),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let hangs = |state: &mut State| state.hangs && state.through == 0;
        let mut state = self
            .changed
            .wait_while(self.state.lock().unwrap(), hangs)
            .unwrap();
        state.through = state.through.saturating_sub(1);
        if state.fails {
            Err(io::Error::other("a broken disk"))
        } else {
            file.sync_data()
        }
    }

    fn be(&self, hangs: bool, fails: bool) {
        *self.state.lock().unwrap() = State {
            hangs,
            fails,
            through: 0,
        };
        self.changed.notify_all();
    }

    fn let_one_through(&self) {
        self.state.lock().unwrap().through += 1;
        self.changed.notify_all();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Until somebody waits for this sync.
    async fn is_asked(&self, times: usize) {
        eventually("the disk is asked", Duration::from_secs(20), async || {
            (self.asked() >= times).then_some(())
        })
        .await;
    }
}

fn entry(once: &str) -> JournalEntry {
    let record = CommandRecord {
        once: once.to_owned(),
        ..record("kill")
    };
    JournalEntry {
        effect: Effect::Hold(Box::new(kill(once))),
        record,
    }
}

/// As long as a quarter of the journal.
fn big(once: &str) -> JournalEntry {
    let mut big = entry(once);
    big.record.audit.reason = "x".repeat(JOURNAL_BYTES / 4);
    big
}

fn journal(folder: &Path, sync: fn(&File) -> io::Result<()>) -> Arc<FileJournal> {
    let path = folder.join("journal");
    drop(FileJournal::open(&path).unwrap());
    Arc::new(FileJournal::start(JournalFile::read(&path).unwrap().0.synced_by(sync)).unwrap())
}

fn ids(pending: &[JournalEntry]) -> Vec<&str> {
    pending
        .iter()
        .map(|entry| entry.record.once.as_str())
        .collect()
}

/// What a start would find now.
fn found(folder: &Path) -> (JournalFound, Vec<JournalEntry>) {
    let (file, found) = JournalFile::read(&folder.join("journal")).unwrap();
    (found, file.pending())
}

fn appending(
    journal: &Arc<FileJournal>,
    entry: JournalEntry,
) -> tokio::task::JoinHandle<io::Result<()>> {
    let journal = Arc::clone(journal);
    tokio::spawn(async move { journal.append(&entry).await })
}

fn kill_order(epoch: &str) -> KillOrder {
    KillOrder {
        scope: Scope::All,
        reason: "r".to_owned(),
        operator: "o".to_owned(),
        epoch: Epoch(epoch.to_owned()),
        at: NOW,
        record: record("kill"),
    }
}

fn default_open() -> Arc<Gate> {
    let gate = Gate::default();
    let setting = LevelSetting {
        level: Level::OPEN,
        reason: Reason::None,
        generation: 1,
        at: NOW.elapsed,
    };
    gate.declare(
        &ThrottleName::default_throttle(),
        &GateSpec::default(),
        setting,
    );
    Arc::new(gate)
}

fn latch(folder: &Path, gate: &Arc<Gate>, journal: &Arc<FileJournal>) -> Arc<Latch> {
    let (ledger, stored) = SqliteLedger::open(folder).unwrap();
    let desired = Arc::new(LedgerDesired::new(Arc::new(ledger), stored));
    let journal: Arc<dyn Journal> = Arc::<FileJournal>::clone(journal);
    Arc::new(Latch::new(
        Arc::clone(gate),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        Some(journal),
        Vec::new(),
    ))
}

/// On one thread for all tasks: whatever waited for the disk on it would wait for ever, since
/// nothing lets the disk go before it was answered.
#[tokio::test]
async fn while_the_journals_disk_hangs_everybody_else_is_answered_on_the_only_thread() {
    static DISK: Disk = Disk::new();
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), |file| DISK.sync(file));
    let gate = default_open();
    let latch = latch(folder.path(), &gate, &journal);
    let ask = || gate.ask("default", Question::default(), NOW).verdict.reason;
    assert_ne!(ask(), Reason::Kill);

    DISK.be(true, false);
    let killing = Arc::clone(&latch);
    let killed = tokio::spawn(async move { killing.kill(kill_order("a")).await });
    DISK.is_asked(1).await;
    assert_eq!(ask(), Reason::Kill, "the gate waits for no disk");
    assert_eq!(
        (journal.pending(), latch.lacking()),
        (Vec::new(), Lacking::default())
    );
    assert!(latch.retry_pending().await, "nor does the loop");
    let second = appending(&journal, entry("b"));
    assert!(!killed.is_finished() && !second.is_finished());

    DISK.be(false, false);
    assert_eq!(killed.await.unwrap().unwrap().audit, AuditState::Recorded);
    second.await.unwrap().unwrap();
    assert_eq!(ids(&journal.pending()), ["b"], "the kill is in the ledger");
}

/// Reads of a store that hangs may take every thread that tasks may block: a kill needs none of
/// them.
#[test]
fn a_kill_is_durable_though_every_thread_for_what_blocks_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let journal = journal(folder.path(), File::sync_data);
        let latch = latch(folder.path(), &default_open(), &journal);
        let (answers, hangs) = std::sync::mpsc::channel::<()>();
        let hanging = tokio::task::spawn_blocking(move || hangs.recv().is_err());
        let killed = latch.kill(kill_order("a")).await.unwrap();
        assert_eq!((killed.audit, killed.durable), (AuditState::Recorded, true));
        assert!(!hanging.is_finished());
        drop(answers);
        assert!(hanging.await.unwrap());
    });
}

#[tokio::test]
async fn what_queues_up_while_a_sync_runs_shares_the_next_one_and_each_hears_what_became_of_its_own()
 {
    static DISK: Disk = Disk::new();
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), |file| DISK.sync(file));
    DISK.be(true, false);
    let first = appending(&journal, entry("first"));
    DISK.is_asked(1).await;
    // Four of them are longer than the file; the one behind them is not.
    let queued: Vec<_> = ["a", "b", "c", "d"]
        .map(big)
        .into_iter()
        .chain([entry("e")])
        .collect();
    let queued: Vec<_> = queued
        .into_iter()
        .map(|entry| appending(&journal, entry))
        .collect();
    tokio::task::yield_now().await; // each has put its own into the queue
    DISK.let_one_through();
    first.await.unwrap().unwrap();
    DISK.is_asked(2).await;
    let path = folder.path().join("journal");
    let written = std::fs::read(&path).unwrap();
    DISK.be(false, false);
    let mut told = Vec::new();
    for one in queued {
        told.push(one.await.unwrap().map_err(|error| error.kind()));
    }
    assert_eq!(
        told,
        [
            Ok(()),
            Ok(()),
            Ok(()),
            Err(io::ErrorKind::StorageFull),
            Ok(())
        ]
    );
    assert_eq!(
        DISK.asked(),
        2,
        "one sync for the first, one for all the others"
    );
    let kept = ["first", "a", "b", "c", "e"];
    assert_eq!(ids(&journal.pending()), kept);
    let (is, pending) = found(folder.path());
    assert_eq!((is, ids(&pending)), (JournalFound::Whole, kept.to_vec()));

    // They are one record: where the power goes before its sync, all of them are there or none is,
    // and no alarm.
    let begins = 1 + written[512..]
        .chunks(512)
        .take_while(|sector| sector[4..12] == written[516..524])
        .count();
    for sector in (begins..1 + 3 * JOURNAL_BYTES / 4 / 512).step_by(89) {
        let mut torn = written.clone();
        torn[sector * 512..].fill(0);
        std::fs::write(&path, &torn).unwrap();
        let (is, pending) = found(folder.path());
        assert_eq!(
            (is, ids(&pending)),
            (JournalFound::Whole, vec!["first"]),
            "sector {sector}"
        );
    }
}

#[tokio::test]
async fn a_group_that_a_broken_disk_did_not_take_is_an_error_to_each_of_it_and_nothing_to_the_next()
{
    static DISK: Disk = Disk::new();
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), |file| DISK.sync(file));
    DISK.be(true, false);
    let first = appending(&journal, entry("first"));
    DISK.is_asked(1).await;
    let queued = ["a", "b"].map(|name| appending(&journal, entry(name)));
    tokio::task::yield_now().await;
    DISK.be(false, true);
    first.await.unwrap().unwrap_err();
    for one in queued {
        assert_eq!(one.await.unwrap().unwrap_err().to_string(), "a broken disk");
    }
    assert_eq!((journal.pending(), journal.ever()), (Vec::new(), 1));
    DISK.be(false, false);
    journal.append(&entry("c")).await.unwrap();
    let (found, pending) = found(folder.path());
    assert_eq!((found, ids(&pending)), (JournalFound::Whole, vec!["c"]));
}

#[tokio::test]
async fn what_somebody_no_longer_waits_for_is_written_all_the_same_at_the_latest_when_the_journal_closes()
 {
    static DISK: Disk = Disk::new();
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), |file| DISK.sync(file));
    DISK.be(true, false);
    let first = appending(&journal, entry("first"));
    DISK.is_asked(1).await;
    {
        let left = entry("left");
        let mut waiting = std::pin::pin!(journal.append(&left));
        assert!(
            futures::poll!(waiting.as_mut()).is_pending(),
            "and goes away"
        );
    }
    // One that is settled before it is written is not pending afterwards.
    let gone = entry("gone");
    let mut waiting = Box::pin(journal.append(&gone));
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    let mut settling = Box::pin(journal.settle("gone"));
    assert!(futures::poll!(settling.as_mut()).is_pending());
    drop((waiting, settling));
    let closing = Arc::clone(&journal);
    let closed = tokio::task::spawn_blocking(move || closing.close());
    assert!(
        !closed.is_finished() && !first.is_finished(),
        "what is queued is waited for"
    );
    DISK.be(false, false);
    closed.await.unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(ids(&journal.pending()), ["first", "left"]);
    journal.append(&entry("late")).await.unwrap_err();
    // The file has all three: to bring one to the ledger again that it has changes nothing.
    assert_eq!(ids(&found(folder.path()).1), ["first", "left", "gone"]);
}

/// A ledger may be quicker than the journal's disk.
#[tokio::test]
async fn what_was_settled_before_it_was_written_is_never_pending() {
    static DISK: Disk = Disk::new();
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), |file| DISK.sync(file));
    DISK.be(true, false);
    let first = appending(&journal, entry("first"));
    DISK.is_asked(1).await;
    let second = appending(&journal, entry("second"));
    tokio::task::yield_now().await;
    let mut settling = Box::pin(journal.settle("first"));
    assert!(futures::poll!(settling.as_mut()).is_pending());
    DISK.let_one_through();
    first.await.unwrap().unwrap();
    assert_eq!(journal.pending(), []);
    // The file is told of it behind the second one, whose sync hangs.
    DISK.is_asked(2).await;
    assert_eq!(journal.pending(), []);
    DISK.be(false, false);
    second.await.unwrap().unwrap();
    settling.await.unwrap();
    assert_eq!(ids(&journal.pending()), ["second"]);
    // Told, it counts for nothing: the same command again is as any other.
    journal.append(&entry("first")).await.unwrap();
    assert_eq!(ids(&journal.pending()), ["second", "first"]);
}

#[tokio::test]
async fn a_disk_that_never_answers_is_waited_for_by_so_many_and_no_more() {
    static DISK: Disk = Disk::new();
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), |file| DISK.sync(file));
    DISK.be(true, false);
    let first = appending(&journal, entry("first"));
    DISK.is_asked(1).await;
    let mut waiting = 0;
    let refused = loop {
        let entry = entry(&waiting.to_string());
        let mut one = Box::pin(journal.append(&entry));
        match futures::poll!(one.as_mut()) {
            std::task::Poll::Ready(refused) => break refused.unwrap_err(),
            std::task::Poll::Pending => waiting += 1,
        }
    };
    assert!(
        waiting >= 1000 && refused.kind() == io::ErrorKind::ResourceBusy,
        "{waiting}: {refused}"
    );
    DISK.be(false, false);
    first.await.unwrap().unwrap();
    let closing = Arc::clone(&journal);
    tokio::task::spawn_blocking(move || closing.close())
        .await
        .unwrap();
    let all = std::iter::once("first".to_owned()).chain((0..waiting).map(|n| n.to_string()));
    let pending = journal.pending();
    assert!(
        ids(&pending)
            .into_iter()
            .zip(all)
            .all(|(id, sent)| id == sent),
        "in their order, and none left out"
    );
    assert_eq!(pending, found(folder.path()).1);
}
