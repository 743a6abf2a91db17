//! The kill path between kills and revivals that cross: what was acknowledged as killed stays
//! killed.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it has tasks of its own"
)]

mod leans;
mod reach;
mod said;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use echo_phoenix::decide::follow::Seen;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::audit::{AuditAction, Change, ClientKey, CommandResponse, Receipt};
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::moment::Moment;
use echo_phoenix::domain::remote::sender;
use echo_phoenix::domain::target::GateSpec;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::gate::{Gate, LevelSetting};
use echo_phoenix::latch::watch::View;
use echo_phoenix::latch::{AuditState, CommandOutcome, KillOrder, Lacking, Latch};
use echo_phoenix::ports::{Desired, DesiredError, Journal, Ledger, LedgerError, OutboxRow, Stored};
use echo_phoenix::store::{FileJournal, LEDGER_FILE, SqliteLedger};
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use crate::ledger_suite::declared::{AWAY, Fickle, WAITS, WELL};
use crate::ledger_suite::values::{client_key, hold, record};
use crate::support::eventually;

const NOW: Moment = Moment {
    wall: Timestamp::UNIX_EPOCH,
    elapsed: Duration::ZERO,
};

/// A ledger whose endings of holds, and refusals, wait until they are let through.
struct Slow {
    ledger: SqliteLedger,
    through: Semaphore,
}

#[async_trait]
impl Ledger for Slow {
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError> {
        if !change.holds_ended.is_empty()
            || change
                .audit
                .iter()
                .any(|draft| draft.action == AuditAction::KillRefused)
        {
            self.through.acquire().await.unwrap().forget();
        }
        self.ledger.commit(change).await
    }

    async fn stored(&self) -> Result<Stored, LedgerError> {
        self.ledger.stored().await
    }

    async fn check(&self) -> Result<(), LedgerError> {
        self.ledger.check().await
    }

    async fn has(&self, once: &str) -> Result<bool, LedgerError> {
        self.ledger.has(once).await
    }

    async fn owed(&self, limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        self.ledger.owed(limit).await
    }

    async fn delivered(&self, rows: &[OutboxRow]) -> Result<(), LedgerError> {
        self.ledger.delivered(rows).await
    }

    async fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        self.ledger.answered(key).await
    }
}

fn order(epoch: &str) -> KillOrder {
    let text = || "test".to_owned();
    let epoch = Epoch(epoch.to_owned());
    KillOrder {
        scope: Scope::All,
        reason: text(),
        operator: text(),
        epoch,
        at: NOW,
        record: record("kill"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_a_revival_is_not_revived_with_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let slow = Arc::new(Slow {
        ledger,
        through: Semaphore::new(0),
    });
    let desired = Arc::new(LedgerDesired::new(Arc::<Slow>::clone(&slow), stored));
    let gate = Arc::new(Gate::default());
    let name = ThrottleName::default_throttle();
    let setting = LevelSetting {
        level: Level::OPEN,
        reason: Reason::None,
        generation: 1,
        at: NOW.elapsed,
    };
    gate.declare(&name, &GateSpec::default(), setting);
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        None,
        Vec::new(),
    ));

    latch.kill(order("first")).await.unwrap();
    let reviving = tokio::spawn({
        let latch = Arc::clone(&latch);
        async move { latch.revive(Scope::All, None, record("revive")).await }
    });
    sleep(Duration::from_millis(50)).await; // it waits for the ledger now
    let second = latch.kill(order("second")).await.unwrap();
    slow.through.add_permits(1);
    let ended = reviving.await.unwrap().unwrap();
    assert_eq!(ended.ended, [Epoch("first".to_owned())]);
    assert_eq!(
        second.epoch,
        Epoch("second".to_owned()),
        "it must not lean on a hold that is ending"
    );
    assert_eq!(
        gate.standing(&name).unwrap().holds,
        [second.epoch],
        "acknowledged as killed, so it is killed"
    );

    let third = latch.kill(order("third")).await.unwrap();
    assert_eq!(
        third.epoch,
        Epoch("second".to_owned()),
        "killing twice is one kill again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_on_when_its_caller_hangs_up() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let slow = Arc::new(Slow {
        ledger,
        through: Semaphore::new(0),
    });
    let desired = Arc::new(LedgerDesired::new(Arc::<Slow>::clone(&slow), stored));
    let gate = Arc::new(Gate::default());
    let name = ThrottleName::default_throttle();
    gate.declare(
        &name,
        &GateSpec::default(),
        LevelSetting {
            level: Level::OPEN,
            reason: Reason::None,
            generation: 1,
            at: NOW.elapsed,
        },
    );
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        None,
        Vec::new(),
    ));
    latch.kill(order("first")).await.unwrap();
    let hung_up = tokio::time::timeout(
        Duration::from_millis(50),
        latch.revive(Scope::All, None, record("revive")),
    )
    .await;
    assert!(hung_up.is_err());
    slow.through.add_permits(1);
    crate::support::eventually(
        "the gate lets go of what the ledger has ended",
        Duration::from_secs(5),
        async || gate.standing(&name).unwrap().holds.is_empty().then_some(()),
    )
    .await;
}

/// A latch without a journal over a ledger that may be away, and where that ledger is.
fn unsteady(folder: &Path) -> (Arc<Latch>, Arc<Fickle>) {
    let (ledger, stored) = SqliteLedger::open(folder).unwrap();
    let ledger = Arc::new(Fickle::new(Arc::new(ledger)));
    let desired = Arc::new(LedgerDesired::new(Arc::<Fickle>::clone(&ledger), stored));
    let gate = Arc::new(Gate::default());
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
    (
        Arc::new(Latch::new(
            gate,
            Arc::<LedgerDesired>::clone(&desired),
            desired,
            None,
            Vec::new(),
        )),
        ledger,
    )
}

/// Number, action and after of each audit entry.
fn audit(folder: &Path) -> Vec<(String, String)> {
    let conn = rusqlite::Connection::open(folder.join(LEDGER_FILE)).unwrap();
    let mut rows = conn
        .prepare("SELECT action, after FROM audit_log ORDER BY seq")
        .unwrap();
    let rows = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn however_often_a_kill_is_repeated_the_kill_itself_is_never_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (latch, ledger) = unsteady(folder.path());
    ledger.mood.store(AWAY, Ordering::SeqCst);
    for number in 0..5_000 {
        let killed = latch.kill(order(&format!("kill-{number}"))).await.unwrap();
        assert_eq!((killed.epoch.0.as_str(), killed.durable), ("kill-0", false));
    }
    let lacking = latch.lacking();
    assert_eq!(
        (lacking.on_disk, lacking.in_memory),
        (0, 4096),
        "memory is bounded"
    );
    ledger.mood.store(WELL, Ordering::SeqCst);
    assert!(latch.retry_pending().await);
    let stored = ledger.stored().await.unwrap();
    assert_eq!(
        stored.holds.len(),
        1,
        "what was acknowledged as killed is killed after a crash too"
    );
    let entries = audit(folder.path());
    assert_eq!(entries[0].0, "kill");
    let tally: Vec<_> = entries
        .iter()
        .filter(|(action, _)| action == "commands_not_kept")
        .collect();
    let kept = entries
        .iter()
        .filter(|(action, _)| action == "kill")
        .count();
    assert_eq!(
        (tally.len(), kept + tally[0].1.parse::<usize>().unwrap()),
        (1, 5_000),
        "and none is silently gone"
    );
    assert!(
        latch.kill(order("again")).await.unwrap().durable,
        "it heals"
    );
}

#[tokio::test]
async fn a_revival_comes_behind_everything_that_happened_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (latch, ledger) = unsteady(folder.path());
    latch.kill(order("first")).await.unwrap();
    ledger.mood.store(AWAY, Ordering::SeqCst);
    latch.kill(order("second")).await.unwrap();
    latch.record(record("kill_refused")).await;
    latch
        .revive(Scope::All, None, record("revive"))
        .await
        .unwrap_err();
    ledger.mood.store(WELL, Ordering::SeqCst);
    let ended = latch
        .revive(Scope::All, None, record("revive"))
        .await
        .unwrap();
    assert_eq!(ended.ended, [Epoch("first".to_owned())]);
    let actions: Vec<_> = audit(folder.path())
        .into_iter()
        .map(|(action, _)| action)
        .collect();
    assert_eq!(actions, ["kill", "kill", "kill_refused", "revive"]);
}

#[tokio::test]
async fn a_refusal_whose_client_hangs_up_keeps_nothing_behind_it_out_of_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let slow = Arc::new(Slow {
        ledger,
        through: Semaphore::new(0),
    });
    let desired = Arc::new(LedgerDesired::new(Arc::<Slow>::clone(&slow), stored));
    let journal =
        Arc::new(echo_phoenix::store::FileJournal::open(&folder.path().join("journal")).unwrap());
    let latch = Arc::new(Latch::new(
        Arc::new(Gate::default()),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        Some(journal),
        Vec::new(),
    ));
    {
        let mut refused = std::pin::pin!(latch.record(record("kill_refused")));
        assert!(
            futures::poll!(refused.as_mut()).is_pending(),
            "the client hangs up while it is recorded"
        );
    }
    slow.through.add_permits(1);
    crate::support::eventually(
        "it is recorded all the same",
        Duration::from_secs(20),
        async || {
            assert!(latch.retry_pending().await);
            audit(folder.path())
                .iter()
                .any(|(action, _)| action == "kill_refused")
                .then_some(())
        },
    )
    .await;
    crate::support::eventually("nothing is lacking", Duration::from_secs(20), async || {
        (latch.lacking().on_disk == 0 && latch.retry_pending().await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watching_gate_keeps_a_hold_until_the_leader_says_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let gate = Arc::new(Gate::default());
    let desired = Arc::new(LedgerDesired::new(Arc::new(ledger), stored));
    let latch = Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        None,
        Vec::new(),
    );
    let name = ThrottleName::in_namespace("shop", "checkout");
    let hold = Hold {
        epoch: Epoch("a".to_owned()),
        bite: HoldEffect::Kill,
        source: Source::Spec,
        reason: "r".to_owned(),
        operator: "o".to_owned(),
        taken_at: NOW.wall,
    };
    let seen = Seen {
        generation: 1,
        asked: Level::OPEN,
        killed: false,
        effective: Some((Level::OPEN, 1)),
    };
    let view = View {
        name: name.clone(),
        gate: GateSpec::default(),
        seen,
        kills: Vec::new(),
        ended: Vec::new(),
    };
    let killed = View {
        seen: Seen {
            killed: true,
            ..seen
        },
        kills: vec![hold.clone()],
        ..view.clone()
    };
    let holds = || gate.standing(&name).unwrap().holds.len();
    latch.holds().follow(&killed, NOW.elapsed, &|_| false);
    assert_eq!(holds(), 1);
    latch.holds().follow(&view, NOW.elapsed, &|_| false);
    assert_eq!(holds(), 1, "not to be seen any more is not to have ended");
    latch.holds().follow(
        &View {
            ended: vec![hold.epoch.clone()],
            ..killed
        },
        NOW.elapsed,
        &|_| false,
    );
    assert_eq!(holds(), 1, "what is seen bites");
    latch.holds().follow(
        &View {
            ended: vec![hold.epoch],
            ..view
        },
        NOW.elapsed,
        &|_| false,
    );
    assert_eq!(holds(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_another_site_sent_and_a_persons_never_lean_on_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let desired = Arc::new(LedgerDesired::new(Arc::new(ledger), stored));
    let gate = Arc::new(Gate::default());
    let name = ThrottleName::default_throttle();
    let setting = LevelSetting {
        level: Level::OPEN,
        reason: Reason::None,
        generation: 1,
        at: NOW.elapsed,
    };
    gate.declare(&name, &GateSpec::default(), setting);
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        None,
        Vec::new(),
    ));
    let (site, other) = ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01BX5ZZKBKACTAV9WEVGEMMVRZ");
    let operators = ["dana", "eve"].map(str::to_owned).into_iter();
    let operators = operators
        .chain([site, site, other].map(|id| sender(id, &name)))
        .chain(["dana".to_owned()]);
    let mut epochs = Vec::new();
    for (number, operator) in operators.enumerate() {
        let order = KillOrder {
            operator,
            ..order(&format!("k{number}"))
        };
        epochs.push(latch.kill(order).await.unwrap().epoch.0);
    }
    assert_eq!(
        epochs,
        ["k0", "k0", "k2", "k2", "k4", "k0"],
        "people share one kill, and so does each site"
    );
    for (epoch, left) in [("k2", vec!["k0", "k4"]), ("k0", vec!["k4"])] {
        latch
            .revive(Scope::All, Some(Epoch(epoch.to_owned())), record("revive"))
            .await
            .unwrap();
        let holds: Vec<_> = gate
            .kills(&name)
            .into_iter()
            .map(|hold| hold.epoch.0)
            .collect();
        assert_eq!(holds, left, "the end of one spares the others");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_waits_for_whoever_is_telling_the_ledger_and_skips_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let ledger = Arc::new(Fickle::new(Arc::new(ledger)));
    let desired = Arc::new(LedgerDesired::new(Arc::<Fickle>::clone(&ledger), stored));
    let journal: Arc<dyn Journal> =
        Arc::new(FileJournal::open(&folder.path().join("journal")).unwrap());
    let latch = Arc::new(Latch::new(
        open_gate(),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        Some(journal),
        Vec::new(),
    ));

    ledger.mood.store(WAITS, Ordering::SeqCst);
    let refusing = tokio::spawn({
        let latch = Arc::clone(&latch);
        async move { latch.record(record("kill_refused")).await }
    });
    ledger.waits.notified().await;
    ledger.mood.store(AWAY, Ordering::SeqCst);
    assert_eq!(
        latch.kill(order("behind")).await.unwrap().audit,
        AuditState::Pending
    );
    ledger.mood.store(WELL, Ordering::SeqCst);
    let settling = tokio::spawn({
        let latch = Arc::clone(&latch);
        async move { latch.retry_pending().await }
    });
    sleep(Duration::from_millis(50)).await; // it has met the one that is under way
    ledger.goes_on.notify_one();
    assert_eq!(refusing.await.unwrap().audit, AuditState::Recorded);
    assert!(settling.await.unwrap(), "all is there");
    let holds = ledger.stored().await.unwrap().holds;
    assert_eq!(holds.len(), 1, "what came behind it is there too");
    assert_eq!(latch.lacking(), Lacking::default());
}

/// A revival waits for what came before it to its throttles: a kill that comes meanwhile is not
/// answered with a hold that is about to end.
#[tokio::test(flavor = "multi_thread")]
async fn no_kill_leans_on_what_a_revival_ends_that_waits_for_an_earlier_command() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let ledger = Arc::new(Fickle::new(Arc::new(ledger)));
    let desired = Arc::new(LedgerDesired::new(Arc::<Fickle>::clone(&ledger), stored));
    let journal: Arc<dyn Journal> =
        Arc::new(FileJournal::open(&folder.path().join("journal")).unwrap());
    let gate = open_gate();
    let latch = Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        Some(journal),
        Vec::new(),
    );
    let latch = Arc::new(latch);
    let name = ThrottleName::default_throttle();
    latch.kill(order("first")).await.unwrap();

    ledger.mood.store(WAITS, Ordering::SeqCst);
    let leaning = tokio::spawn({
        let latch = Arc::clone(&latch);
        async move { latch.kill(order("leaning")).await }
    });
    ledger.waits.notified().await;
    ledger.mood.store(WELL, Ordering::SeqCst);
    let reviving = tokio::spawn({
        let latch = Arc::clone(&latch);
        async move { latch.revive(Scope::All, None, record("revive")).await }
    });
    sleep(Duration::from_millis(50)).await; // it waits for the one that leans
    assert!(!reviving.is_finished());
    let later = latch.kill(order("later")).await.unwrap();
    assert_eq!(later.epoch, Epoch("later".to_owned()));
    ledger.goes_on.notify_one();
    assert_eq!(leaning.await.unwrap().unwrap().epoch.0, "first");
    let ended = reviving.await.unwrap().unwrap();
    assert_eq!(ended.ended, [Epoch("first".to_owned())]);
    assert_eq!(gate.standing(&name).unwrap().holds, [later.epoch]);
}

/// A ledger whose disk hangs in the middle of the first write of a kind, and lets it land, or not,
/// once it goes on.
struct Hangs {
    ledger: SqliteLedger,
    hangs: AtomicBool,
    on: fn(&Change) -> bool,
    lands: bool,
    begun: Mutex<Option<Change>>,
    goes_on: Notify,
}

impl Hangs {
    fn of(ledger: SqliteLedger, lands: bool, on: fn(&Change) -> bool) -> Self {
        let (hangs, begun, goes_on) = (AtomicBool::new(true), Mutex::default(), Notify::new());
        Self {
            ledger,
            hangs,
            on,
            lands,
            begun,
            goes_on,
        }
    }
}

#[async_trait]
impl Ledger for Hangs {
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError> {
        if (self.on)(&change) && self.hangs.swap(false, Ordering::SeqCst) {
            *self.begun.lock().unwrap() = Some(change);
            return Err(LedgerError::Undecided);
        }
        self.ledger.commit(change).await
    }

    async fn stored(&self) -> Result<Stored, LedgerError> {
        self.ledger.stored().await
    }

    async fn check(&self) -> Result<(), LedgerError> {
        if self.begun.lock().unwrap().is_some() {
            self.goes_on.notified().await;
            self.goes_on.notify_one();
            let begun = self.begun.lock().unwrap().clone();
            if let Some(begun) = begun.filter(|_| self.lands) {
                self.ledger.commit(begun).await?;
            }
            *self.begun.lock().unwrap() = None;
        }
        self.ledger.check().await
    }

    async fn has(&self, once: &str) -> Result<bool, LedgerError> {
        self.ledger.has(once).await
    }

    async fn owed(&self, limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        self.ledger.owed(limit).await
    }

    async fn delivered(&self, rows: &[OutboxRow]) -> Result<(), LedgerError> {
        self.ledger.delivered(rows).await
    }

    async fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        self.ledger.answered(key).await
    }
}

fn open_gate() -> Arc<Gate> {
    let gate = Arc::new(Gate::default());
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
    gate
}

/// What gate, memory and ledger hold, each sorted.
async fn everywhere(gate: &Gate, desired: &LedgerDesired, ledger: &dyn Ledger) -> [Vec<Epoch>; 3] {
    let mut gates = gate
        .standing(&ThrottleName::default_throttle())
        .unwrap()
        .holds;
    let mut memory: Vec<_> = desired.declared()[0]
        .holds
        .iter()
        .map(|hold| hold.epoch.clone())
        .collect();
    let mut stored: Vec<_> = ledger
        .stored()
        .await
        .unwrap()
        .holds
        .into_iter()
        .map(|held| held.hold.epoch)
        .collect();
    gates.sort();
    memory.sort();
    stored.sort();
    [gates, memory, stored]
}

/// An open gate, and a latch over what this ledger has.
fn latch_of(hangs: &Arc<Hangs>, stored: Stored) -> (Arc<Gate>, Arc<LedgerDesired>, Arc<Latch>) {
    let desired = Arc::new(LedgerDesired::new(Arc::<Hangs>::clone(hangs), stored));
    let gate = open_gate();
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        Arc::<LedgerDesired>::clone(&desired),
        None,
        Vec::new(),
    ));
    (gate, desired, latch)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revival_that_is_not_decided_says_so_and_then_gate_memory_and_ledger_agree() {
    for lands in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
        let hangs = Arc::new(Hangs::of(ledger, lands, |change| {
            !change.holds_ended.is_empty()
        }));
        let (gate, desired, latch) = latch_of(&hangs, stored);
        latch.kill(order("first")).await.unwrap();
        let revived = latch.revive(Scope::All, None, record("revive")).await;
        assert!(
            matches!(revived, Err(DesiredError::Undecided)),
            "{revived:?}"
        );
        assert_eq!(
            gate.standing(&ThrottleName::default_throttle())
                .unwrap()
                .holds,
            [Epoch("first".to_owned())]
        );
        // A kill that comes meanwhile does not lean on what may be over.
        assert_eq!(
            latch.kill(order("second")).await.unwrap().epoch,
            Epoch("second".to_owned())
        );
        let told = latch.revive(Scope::All, None, record("revive")).await;
        assert!(
            matches!(told, Err(DesiredError::Unavailable(_))),
            "one at a time: {told:?}"
        );
        assert_eq!(
            latch.doubts()[0].outcome,
            CommandOutcome::Undecided,
            "and so does the status"
        );
        hangs.goes_on.notify_one();
        let left: &[&str] = if lands {
            &["second"]
        } else {
            &["first", "second"]
        };
        let left: Vec<_> = left
            .iter()
            .map(|epoch| Epoch((*epoch).to_owned()))
            .collect();
        eventually("all agree", Duration::from_secs(20), async || {
            let all = everywhere(&gate, &desired, hangs.as_ref()).await;
            all.iter().all(|holds| *holds == left).then_some(())
        })
        .await;
        let ended = eventually("it can be revived", Duration::from_secs(20), async || {
            latch.revive(Scope::All, None, record("revive")).await.ok()
        })
        .await;
        assert_eq!(ended.ended.len(), left.len());
        let became = if lands {
            CommandOutcome::Done
        } else {
            CommandOutcome::NotDone
        };
        assert_eq!(
            (&latch.doubts()[0].outcome, latch.lacking().undecided),
            (&became, 0)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kills_and_revivals_that_cross_leave_no_ghost() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(ledger);
    let desired = Arc::new(LedgerDesired::new(Arc::clone(&ledger), stored));
    let gate = open_gate();
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        Arc::<LedgerDesired>::clone(&desired),
        None,
        Vec::new(),
    ));
    for round in 0..200 {
        let kills = (0..3).map(|number| {
            let latch = Arc::clone(&latch);
            tokio::spawn(async move {
                let killed = latch.kill(order(&format!("{round}-{number}"))).await?;
                assert_eq!(
                    killed.throttles,
                    [ThrottleName::default_throttle()],
                    "it leans on nothing that has ended"
                );
                Ok::<_, DesiredError>(())
            })
        });
        let revivals = (0..2).map(|_| {
            let latch = Arc::clone(&latch);
            tokio::spawn(async move {
                latch
                    .revive(Scope::All, None, record("revive"))
                    .await
                    .map(drop)
            })
        });
        for task in kills.chain(revivals).collect::<Vec<_>>() {
            task.await.unwrap().unwrap();
        }
        let [gates, memory, stored] = everywhere(&gate, &desired, ledger.as_ref()).await;
        assert_eq!((&gates, &gates), (&memory, &stored), "round {round}");
    }
}

#[tokio::test]
async fn a_kill_does_not_lean_on_a_hold_that_its_manifest_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, mut stored) = SqliteLedger::open(folder.path()).unwrap();
    let name = ThrottleName::default_throttle();
    stored.holds = vec![hold(
        "default@2",
        Scope::One(name.clone()),
        Source::Manifest,
    )];
    let (known, gate) = (stored.holds.clone(), open_gate());
    let desired = Arc::new(LedgerDesired::new(Arc::new(ledger), stored));
    // As a process starts that finds it.
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        None,
        known,
    ));
    latch.restore(NOW.elapsed);
    let killed = latch.kill(order("dana")).await.unwrap();
    assert_eq!(
        killed.epoch.0, "dana",
        "the file ends its own, and not what a person stopped"
    );
    latch.holds().let_go(&[Epoch("default@2".to_owned())]);
    assert_eq!(gate.standing(&name).unwrap().holds, [killed.epoch]);
}

#[tokio::test]
async fn a_revival_under_a_used_key_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let ledger = Arc::new(ledger);
    let desired = Arc::new(LedgerDesired::new(
        Arc::<SqliteLedger>::clone(&ledger),
        stored,
    ));
    let gate = open_gate();
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        None,
        Vec::new(),
    ));
    let revive = || {
        let mut record = record("revive");
        record.answer.key = Some(client_key("k", 86_400));
        latch.revive(Scope::All, None, record)
    };
    latch.kill(order("first")).await.unwrap();
    assert_eq!(revive().await.unwrap().ended, [Epoch("first".to_owned())]);
    // It comes again behind another kill, and its key could not be looked up.
    latch.kill(order("second")).await.unwrap();
    assert!(
        !revive()
            .await
            .is_ok_and(|again| again.ended.contains(&Epoch("second".to_owned())))
    );
    let at_the_gate = gate
        .standing(&ThrottleName::default_throttle())
        .unwrap()
        .holds;
    let recorded: Vec<_> = ledger
        .stored()
        .await
        .unwrap()
        .holds
        .into_iter()
        .map(|held| held.hold.epoch)
        .collect();
    assert_eq!(
        (at_the_gate, recorded),
        (
            vec![Epoch("second".to_owned())],
            vec![Epoch("second".to_owned())]
        )
    );
}

#[tokio::test]
async fn a_kill_under_a_used_key_is_told_the_hold_that_is_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let desired = Arc::new(LedgerDesired::new(Arc::new(ledger), stored));
    let latch = Arc::new(Latch::new(
        open_gate(),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        None,
        Vec::new(),
    ));
    let kill = |epoch: &str| {
        let mut order = order(epoch);
        order.record.answer.key = Some(client_key("k", 86_400));
        order
            .record
            .answer
            .body
            .insert("epoch".to_owned(), serde_json::Value::Null);
        latch.kill(order)
    };
    assert_eq!(kill("first").await.unwrap().answer.body["epoch"], "first");
    latch
        .revive(Scope::All, None, record("revive"))
        .await
        .unwrap();
    latch.kill(order("second")).await.unwrap();
    // It comes again, and its key could not be looked up.
    let again = kill("again").await.unwrap();
    assert_eq!(
        (again.epoch.0.as_str(), again.answer.body["epoch"].as_str()),
        ("second", Some("second"))
    );
}
