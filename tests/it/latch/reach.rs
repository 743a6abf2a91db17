//! What is refused or stuck on its way to others, and what is not decided: it is told, recorded,
//! and keeps nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::audit::{CommandRecord, CommandResponse};
use echo_phoenix::domain::hold::{Epoch, HoldEffect, Scope, ScopedHold};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::measurement::Measurement;
use echo_phoenix::domain::target::GateSpec;
use echo_phoenix::domain::throttle::{Declared, Owner, ThrottleName};
use echo_phoenix::gate::{Gate, LevelSetting};
use echo_phoenix::latch::{AuditState, CommandOutcome, KillOrder, Latch, LevelOrder};
use echo_phoenix::ports::{
    Declaration, Declarations, Desired, DesiredError, HoldTaken, Journal, JournalEntry, Ledger,
    Resolution, ReviveFilter, ReviveOutcome, Stored, Wake, Woken,
};
use echo_phoenix::store::SqliteLedger;
use tempfile::TempDir;

use super::said::Said;
use super::{Hangs, NOW, audit, order};
use crate::ledger_suite::declared::{AWAY, Fickle};
use crate::ledger_suite::values::{client_key, level, record, row};
use crate::support::eventually;

const WHY: &str = "the API server refuses its override";

/// Declared state that others have to hear of: of these throttles' kills, none (the empty name: of
/// kills of all) is let through.
struct Reach {
    ledger: LedgerDesired,
    refuses: Mutex<BTreeSet<String>>,
    stuck: Mutex<BTreeSet<String>>,
    away: Mutex<BTreeSet<String>>,
    tries: AtomicU64,
    /// Throttles of the kills that others heard of before the record had them.
    announced: Mutex<BTreeSet<String>>,
}

impl Reach {
    fn of(ledger: LedgerDesired) -> Arc<Self> {
        let (refuses, stuck, away, tries, announced) = Default::default();
        Arc::new(Self {
            ledger,
            refuses,
            stuck,
            away,
            tries,
            announced,
        })
    }

    fn refuse(&self, name: &str) {
        self.refuses.lock().unwrap().insert(name.to_owned());
    }

    fn keep(&self, name: &str) {
        self.stuck.lock().unwrap().insert(name.to_owned());
    }

    fn let_through(&self) {
        self.refuses.lock().unwrap().clear();
        self.stuck.lock().unwrap().clear();
        self.away.lock().unwrap().clear();
    }
}

#[async_trait]
impl Desired for Reach {
    fn declared(&self) -> Vec<Arc<Declared>> {
        self.ledger.declared()
    }

    fn find(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        self.ledger.find(name)
    }

    async fn refresh(&self) {
        self.ledger.refresh().await;
    }

    fn declarations(&self) -> Option<&dyn Declarations> {
        Some(self)
    }

    async fn take(
        &self,
        hold: ScopedHold,
        record: CommandRecord,
    ) -> Result<HoldTaken, DesiredError> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        let name = if let Scope::One(name) = &hold.scope {
            name.to_string()
        } else {
            String::new()
        };
        if self.stuck.lock().unwrap().contains(&name) {
            return std::future::pending().await;
        }
        if self.away.lock().unwrap().contains(&name) {
            return Err(DesiredError::Unavailable(format!("`{name}` is away")));
        }
        if self.refuses.lock().unwrap().contains(&name) {
            return Err(DesiredError::Refused(WHY.to_owned()));
        }
        self.ledger.take(hold, record).await
    }

    async fn announce(&self, held: &ScopedHold) -> Result<(), DesiredError> {
        self.announced
            .lock()
            .unwrap()
            .insert(held.hold.epoch.0.clone());
        Ok(())
    }

    async fn end(
        &self,
        meant: ReviveFilter<'_>,
        record: CommandRecord,
    ) -> Result<ReviveOutcome, DesiredError> {
        self.ledger.end(meant, record).await
    }

    fn ending(&self, meant: ReviveFilter<'_>) -> BTreeSet<Epoch> {
        self.ledger.ending(meant)
    }

    async fn resolve(&self, once: &str, ending: &[Epoch]) -> Result<Resolution, DesiredError> {
        self.ledger.resolve(once, ending).await
    }

    async fn note(&self, record: CommandRecord) -> Result<CommandResponse, DesiredError> {
        self.ledger.note(record).await
    }
}

#[async_trait]
impl Declarations for Reach {
    fn tighten(&self, throttle: &ThrottleName, level: Level, measured: Option<&Measurement>) {
        Declarations::tighten(&self.ledger, throttle, level, measured);
    }

    async fn declare(
        &self,
        throttle: &ThrottleName,
        level: Level,
        measured: Option<Measurement>,
        record: CommandRecord,
    ) -> Result<Declaration, DesiredError> {
        self.ledger.declare(throttle, level, measured, record).await
    }
}

#[async_trait]
impl Wake for Reach {
    fn wake(&self, whom: &Scope) {
        self.ledger.wake(whom);
    }

    async fn woken(&self) -> Woken {
        self.ledger.woken().await
    }
}

/// The throttles `a` and `b`, open, in a gate and in a ledger.
struct House {
    folder: TempDir,
    ledger: Arc<SqliteLedger>,
    reach: Arc<Reach>,
    gate: Arc<Gate>,
    latch: Arc<Latch>,
}

fn name(name: &str) -> ThrottleName {
    ThrottleName::try_from(name.to_owned()).unwrap()
}

fn one(throttle: &str) -> Scope {
    Scope::One(name(throttle))
}

/// A kill of this throttle; of all, where it is empty.
fn kill(throttle: &str, epoch: &str) -> KillOrder {
    let scope = if throttle.is_empty() {
        Scope::All
    } else {
        one(throttle)
    };
    let mut kill = KillOrder {
        scope,
        ..order(epoch)
    };
    (kill.record.audit.throttle, kill.record.once) = (throttle.to_owned(), epoch.to_owned());
    kill
}

fn gate_of_both() -> Arc<Gate> {
    let gate = Arc::new(Gate::default());
    let setting = LevelSetting {
        level: Level::OPEN,
        reason: Reason::None,
        generation: 1,
        at: NOW.elapsed,
    };
    ["a", "b"]
        .iter()
        .for_each(|throttle| gate.declare(&name(throttle), &GateSpec::default(), setting));
    gate
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(SqliteLedger::open(folder.path()).unwrap().0);
        let throttles = ["a", "b"].iter().map(|throttle| {
            let mut row = row(1, 0.0);
            row.name = name(throttle);
            row
        });
        let stored = Stored {
            throttles: throttles.collect(),
            holds: Vec::new(),
        };
        let reach = Reach::of(LedgerDesired::with_manifest(
            Arc::<SqliteLedger>::clone(&ledger),
            stored,
        ));
        let gate = gate_of_both();
        let latch = Arc::new(Latch::new(
            Arc::clone(&gate),
            Arc::<Reach>::clone(&reach),
            Arc::<Reach>::clone(&reach),
            None,
            Vec::new(),
        ));
        Self {
            folder,
            ledger,
            reach,
            gate,
            latch,
        }
    }

    fn held(&self) -> Vec<String> {
        let holds = self
            .gate
            .standings()
            .into_iter()
            .flat_map(|standing| standing.holds);
        let mut holds: Vec<_> = holds.map(|epoch| epoch.0).collect();
        holds.sort();
        holds.dedup();
        holds
    }

    async fn recorded(&self) -> Vec<String> {
        let holds = self.ledger.stored().await.unwrap().holds.into_iter();
        holds.map(|held| held.hold.epoch.0).collect()
    }
}

/// A kill that is refused for good shuts here, and says that it does no more.
async fn refused_here_alone(house: &House) {
    let House { reach, latch, .. } = house;
    reach.refuse("a");
    let killed = latch.kill(kill("a", "k1")).await.unwrap();
    assert_eq!(
        (killed.audit, killed.durable),
        (AuditState::Recorded, false),
        "others were not told"
    );
    let warning = killed.answer.body["warning"].as_str().unwrap();
    assert!(
        warning.contains(WHY) && warning.contains("this process alone"),
        "{warning}"
    );
    assert_eq!(
        (house.held(), house.recorded().await),
        (vec!["k1".to_owned()], vec![]),
        "it is shut here all the same"
    );
    let doubt = latch.doubts().remove(0);
    assert_eq!(
        (doubt.once.as_str(), doubt.outcome),
        ("k1", CommandOutcome::Refused(WHY.to_owned()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_is_recorded_as_that_and_keeps_nobody_from_reviving() {
    let house = House::new();
    let House { reach, latch, .. } = &house;
    refused_here_alone(&house).await;

    // Nothing waits for it, and it stays until a person ends it.
    assert_eq!(latch.lacking(), Default::default());
    latch.kill(kill("b", "k2")).await.unwrap();
    let ended = latch
        .revive(one("b"), None, record("revive"))
        .await
        .unwrap();
    assert_eq!(
        (ended.ended, house.held()),
        (vec![Epoch("k2".to_owned())], vec!["k1".to_owned()])
    );

    // The same kill again tries again, and is still one.
    let again = latch.kill(kill("a", "k3")).await.unwrap();
    assert_eq!((again.epoch.0.as_str(), again.durable), ("k1", false));
    reach.let_through();
    let again = latch.kill(kill("a", "k4")).await.unwrap();
    assert_eq!(
        (again.epoch.0.as_str(), again.audit, again.durable),
        ("k1", AuditState::Recorded, true)
    );
    assert_eq!(
        (house.recorded().await, reach.tries.load(Ordering::SeqCst)),
        (vec!["k1".to_owned()], 4)
    );

    // One that nobody else ever heard of ends here, and the record says so.
    reach.refuse("b");
    latch.kill(kill("b", "k5")).await.unwrap();
    let ended = latch
        .revive(Scope::All, None, record("revive"))
        .await
        .unwrap();
    assert_eq!(
        ended.ended,
        ["k1", "k5"].map(|epoch| Epoch(epoch.to_owned()))
    );
    assert_eq!((house.held(), house.recorded().await), (vec![], vec![]));
    let kills: Vec<_> = audit(house.folder.path())
        .into_iter()
        .filter(|(action, _)| action == "kill")
        .collect();
    let after: Vec<_> = kills.iter().map(|(_, after)| after.as_str()).collect();
    let alone = "killed k1, here alone";
    assert_eq!(
        after,
        [
            alone,
            "killed k2",
            alone,
            "killed k1",
            "killed k5, here alone"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_holds_here_alone_is_told_once_for_as_long_as_it_does() {
    let house = House::new();
    let House { reach, latch, .. } = &house;
    let told = || {
        let all = latch.doubts().into_iter();
        all.map(|doubt| {
            (
                doubt.once,
                matches!(doubt.outcome, CommandOutcome::Refused(_)),
            )
        })
        .collect::<Vec<_>>()
    };
    let of = |once: &str, alone: bool| (once.to_owned(), alone);
    reach.refuse("a");
    reach.refuse("b");
    latch.kill(kill("b", "first")).await.unwrap();
    // However often another is sent again, neither pushes the other out.
    for number in 0..40 {
        latch
            .kill(kill("a", &format!("again-{number}")))
            .await
            .unwrap();
    }
    assert_eq!(told(), [of("again-39", true), of("first", true)]);
    assert_eq!(
        (latch.held_alone(), latch.lacking()),
        (2, Default::default())
    );

    // What is everybody's after all is told as that, and what has ended no more.
    reach.let_through();
    latch.kill(kill("a", "through")).await.unwrap();
    assert_eq!(
        (told(), latch.held_alone()),
        (vec![of("again-39", false), of("first", true)], 1)
    );
    latch
        .revive(one("b"), None, record("revive"))
        .await
        .unwrap();
    assert_eq!(
        (told(), latch.held_alone()),
        (vec![of("again-39", false)], 0)
    );

    // It is tried again without anybody's word.
    reach.refuse("b");
    latch.kill(kill("b", "second")).await.unwrap();
    assert!(
        latch.retry_pending().await && latch.held_alone() == 1 && told()[0] == of("second", true)
    );
    reach.let_through();
    assert!(
        latch.retry_pending().await && latch.held_alone() == 0 && told()[0] == of("second", false)
    );
    assert_eq!(house.recorded().await, ["again-0", "second"]);
    assert_eq!(
        latch
            .revive(Scope::All, None, record("revive"))
            .await
            .unwrap()
            .ended
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_kill_that_was_refused_has_its_words_first_and_whole() {
    let house = House::new();
    let words = "double charges ".repeat(68);
    house.reach.refuse("a");
    let mut order = kill("a", "k1");
    order.record.audit.reason.clone_from(&words);
    house.latch.kill(order).await.unwrap();
    let conn = rusqlite::Connection::open(house.folder.path().join("ledger.db")).unwrap();
    let kept: String = conn
        .query_row("SELECT reason FROM audit_log", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, format!("{words}; {WHY}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stuck_keeps_back_what_comes_after_it_for_the_same_throttle_or_for_all_and_nothing_else()
 {
    let house = House::new();
    let House { reach, latch, .. } = &house;
    reach.keep("a");
    assert_eq!(
        latch.kill(kill("a", "k1")).await.unwrap().audit,
        AuditState::Pending
    );
    assert_eq!(
        latch.kill(kill("b", "k2")).await.unwrap().audit,
        AuditState::Recorded
    );
    let ended = latch
        .revive(one("b"), None, record("revive"))
        .await
        .unwrap();
    assert_eq!(
        ended.ended,
        [Epoch("k2".to_owned())],
        "the other throttle's is no matter of it"
    );
    for scope in [one("a"), Scope::All] {
        let waits = latch.revive(scope, None, record("revive")).await;
        assert!(
            matches!(waits, Err(DesiredError::Unavailable(_))),
            "{waits:?}"
        );
    }
    // What is of all comes behind it, and everything behind that.
    reach.keep("");
    assert_eq!(
        latch.kill(kill("", "k3")).await.unwrap().audit,
        AuditState::Pending
    );
    let waits = latch.revive(one("b"), None, record("revive")).await;
    assert!(
        matches!(waits, Err(DesiredError::Unavailable(_))),
        "{waits:?}"
    );
    assert_eq!(house.held(), ["k1", "k3"]);
    // Others hear of all of them meanwhile: only the record has an order.
    assert!(!latch.retry_pending().await);
    assert_eq!(
        *reach.announced.lock().unwrap(),
        ["k1", "k3"].map(str::to_owned).into()
    );
    reach.let_through();
    assert!(latch.retry_pending().await);
    assert_eq!(
        house.recorded().await,
        ["k1", "k3"],
        "in the order it happened"
    );
    assert_eq!(
        latch
            .revive(Scope::All, None, record("revive"))
            .await
            .unwrap()
            .ended
            .len(),
        2
    );
}

#[tokio::test]
async fn what_is_stuck_is_told_once_whatever_else_gets_through_meanwhile() {
    let said = Said::default();
    let _said = said.is_told();
    let house = House::new();
    let House { reach, latch, .. } = &house;
    let begins = || said.lines("the ledger does not take a command; it is told it until it does");
    let ends = || said.lines("the ledger takes commands again");
    let away = |name: &str| reach.away.lock().unwrap().insert(name.to_owned());
    away("a");
    latch.kill(kill("a", "k1")).await.unwrap();
    for round in 0..3 {
        away("b");
        latch.kill(kill("b", &format!("b{round}"))).await.unwrap();
        assert!(!latch.retry_pending().await);
        let why = latch
            .revive(one("b"), None, record("revive"))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            why.ends_with("`b` is away"),
            "what it waits for, and nothing else: {why}"
        );
        reach.away.lock().unwrap().remove("b");
        assert!(!latch.retry_pending().await);
        latch
            .revive(one("b"), None, record("revive"))
            .await
            .unwrap();
        assert_eq!((begins(), ends()), (1, 0), "round {round}");
    }
    reach.let_through();
    assert!(latch.retry_pending().await);
    assert_eq!((begins(), ends()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_is_not_decided_is_told_and_found_out_and_nothing_opens_until_then() {
    for lands in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let ledger = SqliteLedger::open(folder.path()).unwrap().0;
        let hangs = Arc::new(Hangs::of(ledger, lands, |change| {
            !change.throttles.is_empty()
        }));
        let (_, desired, latch) = super::latch_of(&hangs, Stored::default());
        let opening = |to: f64| LevelOrder {
            throttle: ThrottleName::default_throttle(),
            level: level(to),
            measured: None,
            at: NOW.elapsed,
            record: record("control"),
        };
        let keyed = |mut order: LevelOrder| {
            order.record.answer.key = Some(client_key("k", 1000));
            order
        };
        let first = keyed(opening(0.25));
        let once = first.record.once.clone();
        let told = latch.declare(first).await;
        assert!(matches!(told, Err(DesiredError::Undecided)), "{told:?}");
        let outcome = || {
            latch
                .doubts()
                .into_iter()
                .find(|doubt| doubt.once == once)
                .map(|doubt| doubt.outcome)
        };
        assert_eq!(
            (outcome(), latch.lacking().undecided),
            (Some(CommandOutcome::Undecided), 1)
        );
        let told = latch.declare(opening(0.5)).await;
        assert!(
            matches!(told, Err(DesiredError::Unavailable(_))),
            "one at a time: {told:?}"
        );
        let told = latch.declare(keyed(opening(0.25))).await;
        assert!(
            matches!(told, Err(DesiredError::Undecided)),
            "it is the same request: {told:?}"
        );
        hangs.goes_on.notify_one();
        let wanted = if lands {
            CommandOutcome::Done
        } else {
            CommandOutcome::NotDone
        };
        eventually("it is found out", Duration::from_secs(20), async || {
            (outcome()? == wanted).then_some(())
        })
        .await;
        let stands = if lands { level(0.25) } else { Level::STOP };
        assert_eq!(
            (desired.declared()[0].level, latch.lacking().undecided),
            (stands, 0)
        );
        eventually("others open again", Duration::from_secs(20), async || {
            latch.declare(opening(0.125)).await.ok()
        })
        .await;
        assert_eq!(
            hangs.stored().await.unwrap().throttles[0].declared,
            level(0.125)
        );
    }
}

/// What is above a file's level is a hold: a lower one takes the place of a higher one in memory
/// when it does in the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_is_lowered_above_a_files_is_in_memory_what_it_is_in_the_ledger() {
    for (lands, refused) in [(true, false), (false, false), (false, true)] {
        let folder = tempfile::tempdir().unwrap();
        let ledger = SqliteLedger::open(folder.path()).unwrap().0;
        let hangs = Arc::new(Hangs::of(ledger, lands, |change| {
            !change.holds_ended.is_empty()
        }));
        let fickle = Arc::new(Fickle::new(Arc::<Hangs>::clone(&hangs)));
        let mut file = row(1, 0.125);
        (file.name, file.owner) = (ThrottleName::default_throttle(), Owner::Manifest);
        let stored = Stored {
            throttles: vec![file],
            holds: Vec::new(),
        };
        let desired = Arc::new(LedgerDesired::with_manifest(
            Arc::<Fickle>::clone(&fickle),
            stored,
        ));
        let latch = Arc::new(Latch::new(
            super::open_gate(),
            Arc::<LedgerDesired>::clone(&desired),
            Arc::<LedgerDesired>::clone(&desired),
            None,
            Vec::new(),
        ));
        let order = |to: f64| LevelOrder {
            throttle: ThrottleName::default_throttle(),
            level: level(to),
            measured: None,
            at: NOW.elapsed,
            record: record("control"),
        };
        let holds = || {
            desired.declared()[0]
                .holds
                .iter()
                .map(|hold| hold.bite)
                .collect::<Vec<_>>()
        };
        let bites = |of: f64| vec![HoldEffect::AtLeast(level(of))];
        latch.declare(order(0.5)).await.unwrap();
        assert_eq!(holds(), bites(0.5));
        if refused {
            fickle.mood.store(AWAY, Ordering::SeqCst);
            latch.declare(order(0.25)).await.unwrap_err();
            assert_eq!(holds(), bites(0.5), "nothing was changed");
            continue;
        }
        let told = latch.declare(order(0.25)).await;
        assert!(matches!(told, Err(DesiredError::Undecided)), "{told:?}");
        assert_eq!(holds(), bites(0.5));
        hangs.goes_on.notify_one();
        let wanted = if lands { 0.25 } else { 0.5 };
        eventually("it is found out", Duration::from_secs(20), async || {
            (latch.lacking().undecided == 0).then_some(())
        })
        .await;
        let stored = hangs
            .stored()
            .await
            .unwrap()
            .holds
            .into_iter()
            .map(|held| held.hold.bite)
            .collect::<Vec<_>>();
        assert_eq!((holds(), stored), (bites(wanted), bites(wanted)), "{lands}");
    }
}

/// A journal whose disk hangs for ever, at once or after what is appended; and whether anybody gave
/// up what it was to settle.
#[derive(Default)]
struct Hung {
    appends: bool,
    given_up: AtomicBool,
}

struct Settling<'a>(&'a AtomicBool);

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Journal for Hung {
    async fn append(&self, _entry: &JournalEntry) -> std::io::Result<()> {
        if self.appends {
            Ok(())
        } else {
            std::future::pending().await
        }
    }

    fn pending(&self) -> Vec<JournalEntry> {
        Vec::new()
    }

    async fn settle(&self, _once: &str) -> std::io::Result<()> {
        let _settling = Settling(&self.given_up);
        std::future::pending().await
    }
}

#[tokio::test]
async fn nobody_waits_for_what_is_recorded_to_be_settled_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path()).unwrap().0;
    let desired = LedgerDesired::new(Arc::new(ledger), Stored::default());
    let journal = Arc::new(Hung {
        appends: true,
        ..Hung::default()
    });
    let desired = Arc::new(desired);
    let latch = Arc::new(Latch::new(
        gate_of_both(),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        Some(Arc::<Hung>::clone(&journal)),
        Vec::new(),
    ));
    let killed = latch.kill(kill("a", "k1")).await.unwrap();
    assert_eq!((killed.audit, killed.durable), (AuditState::Recorded, true));
    assert!(
        !journal.given_up.load(Ordering::SeqCst),
        "its answer came only when somebody had waited long enough"
    );
}

#[tokio::test(start_paused = true)]
async fn others_are_told_of_a_kill_before_anybody_waits_for_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path()).unwrap().0;
    let reach = Reach::of(LedgerDesired::new(Arc::new(ledger), Stored::default()));
    reach.keep("a");
    let latch = Arc::new(Latch::new(
        gate_of_both(),
        Arc::<Reach>::clone(&reach),
        Arc::<Reach>::clone(&reach),
        Some(Arc::new(Hung::default())),
        Vec::new(),
    ));
    let killing = tokio::spawn(async move { latch.kill(kill("a", "k1")).await });
    // By a clock that stands while anybody has something to do.
    let began = tokio::time::Instant::now();
    while reach.tries.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        began.elapsed() < Duration::from_millis(50),
        "{:?}",
        began.elapsed()
    );
    let killed = killing.await.unwrap().unwrap();
    assert_eq!((killed.audit, killed.durable), (AuditState::Pending, false));
}
