//! Declared state kept in the ledger: what is in memory, what is durable, and in which order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::audit::{Change, ClientKey, CommandResponse, Receipt};
use echo_phoenix::domain::hold::{Epoch, Scope, Source};
use echo_phoenix::domain::measurement::Measurement;
use echo_phoenix::domain::observation::Signals;
use echo_phoenix::domain::throttle::{Declared, ThrottleName};
use echo_phoenix::ports::{
    Declarations, Desired, DesiredError, Leadership, Ledger, LedgerError, Measurements, OutboxRow,
    ReviveFilter, Stored, Wake,
};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::values::*;
use super::{Backend, Sqlite};

/// A ledger that can be away, can hang, can hang after it has committed, or can wait until it is
/// let.
pub(crate) struct Fickle {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) mood: AtomicU8,
    /// A change waits, in mood [`WAITS`].
    pub(crate) waits: Notify,
    /// It waits no longer.
    pub(crate) goes_on: Notify,
}

impl Fickle {
    pub(crate) fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self {
            ledger,
            mood: AtomicU8::new(WELL),
            waits: Notify::new(),
            goes_on: Notify::new(),
        }
    }
}

pub(crate) const WELL: u8 = 0;
pub(crate) const AWAY: u8 = 1;
pub(crate) const HANGS: u8 = 2;
pub(crate) const COMMITS_THEN_HANGS: u8 = 3;
pub(crate) const WAITS: u8 = 4;
pub(crate) const UNDECIDED: u8 = 5;
pub(crate) const COMMITS_UNDECIDED: u8 = 6;

#[async_trait]
impl Ledger for Fickle {
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError> {
        match self.mood.load(Ordering::SeqCst) {
            AWAY => Err(LedgerError::Unavailable("away".to_owned())),
            UNDECIDED => Err(LedgerError::Undecided),
            COMMITS_UNDECIDED => self
                .ledger
                .commit(change)
                .await
                .and(Err(LedgerError::Undecided)),
            HANGS => std::future::pending().await,
            COMMITS_THEN_HANGS => {
                self.ledger.commit(change).await?;
                std::future::pending().await
            }
            WAITS => {
                self.waits.notify_one();
                self.goes_on.notified().await;
                self.ledger.commit(change).await
            }
            _ => self.ledger.commit(change).await,
        }
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

struct Service {
    home: Sqlite,
    ledger: Arc<Fickle>,
    desired: LedgerDesired,
}

async fn service(home: Sqlite) -> Service {
    let ledger = Arc::new(Fickle::new(home.open()));
    let stored = ledger.stored().await.unwrap();
    let desired = LedgerDesired::new(ledger.clone(), stored);
    Service {
        home,
        ledger,
        desired,
    }
}

impl Service {
    fn mood(&self, mood: u8) {
        self.ledger.mood.store(mood, Ordering::SeqCst);
    }

    fn default(&self) -> Arc<Declared> {
        let declared = self.desired.declared();
        assert_eq!(declared.len(), 1);
        Arc::clone(&declared[0])
    }

    fn held(&self) -> Vec<String> {
        self.default()
            .holds
            .iter()
            .map(|hold| hold.epoch.0.clone())
            .collect()
    }

    async fn stored(&self) -> Vec<String> {
        self.ledger
            .stored()
            .await
            .unwrap()
            .holds
            .into_iter()
            .map(|hold| hold.hold.epoch.0)
            .collect()
    }

    async fn restart(self) -> Self {
        let Self {
            home,
            ledger,
            desired,
        } = self;
        drop((ledger, desired));
        service(home).await
    }
}

/// A command that spares nothing.
fn meant<'a>(scope: &'a Scope, epoch: Option<&'a Epoch>) -> ReviveFilter<'a> {
    ReviveFilter {
        scope,
        epoch,
        spared: &|_| false,
        alone: &[],
    }
}

fn name() -> ThrottleName {
    ThrottleName::default_throttle()
}

#[tokio::test]
async fn a_new_service_is_at_stop_and_remembers_what_was_declared() {
    let service = service(Sqlite::new()).await;
    let start = service.default();
    assert_eq!(
        (start.level, start.stored, start.generation),
        (level(1.0), level(1.0), 1)
    );
    assert_eq!(start.targets.len(), 1);
    assert!(service.desired.leads());

    let answer = service
        .desired
        .declare(&name(), level(0.25), None, record("control"))
        .await
        .unwrap();
    assert_eq!(
        (answer.generation, &answer.answer.body["audit_id"]),
        (2, &serde_json::json!(1))
    );
    assert_eq!(
        (service.default().level, service.default().generation),
        (level(0.25), 2)
    );
    service.desired.effective(&name(), level(0.75), None);
    assert_eq!(service.default().stored, level(0.75));
    service
        .desired
        .declare(&name(), level(0.5), None, record("control"))
        .await
        .unwrap();

    let service = service.restart().await;
    let again = service.default();
    assert_eq!(
        (again.level, again.stored, again.generation),
        (level(0.5), level(0.75), 3)
    );
    let unknown = ThrottleName::try_from("nobody".to_owned()).unwrap();
    let answer = service
        .desired
        .declare(&unknown, level(0.0), None, record("control"))
        .await;
    assert!(matches!(answer, Err(DesiredError::Unknown(_))));
}

#[tokio::test]
async fn declaring_waits_for_the_ledger_and_changes_nothing_without_it() {
    let service = service(Sqlite::new()).await;
    service.mood(AWAY);
    let answer = service
        .desired
        .declare(&name(), level(0.0), None, record("control"))
        .await;
    assert!(matches!(answer, Err(DesiredError::Unavailable(_))));
    assert_eq!(service.default().level, level(1.0));
}

/// The gate has closed already: the loop must not open it again because the ledger is away.
#[tokio::test]
async fn tightening_holds_without_the_ledger_and_until_it_is_back() {
    let service = service(Sqlite::new()).await;
    service
        .desired
        .declare(&name(), level(0.0), None, record("control"))
        .await
        .unwrap();
    service.mood(AWAY);
    let answer = service
        .desired
        .declare(&name(), level(0.8), None, record("control"))
        .await;
    assert!(matches!(answer, Err(DesiredError::Unavailable(_))));
    assert_eq!(service.default().level, level(0.8));
    service.mood(WELL);
    service.desired.refresh().await;
    assert_eq!(
        service.default().level,
        level(0.8),
        "only a newer declaration opens"
    );
    service
        .desired
        .declare(&name(), level(0.1), None, record("control"))
        .await
        .unwrap();
    assert_eq!(service.default().level, level(0.1));
}

#[tokio::test]
async fn a_declaration_that_arrived_after_all_is_found_again() {
    let service = service(Sqlite::new()).await;
    service.mood(COMMITS_THEN_HANGS);
    let answer = timeout(
        Duration::from_secs(20),
        service
            .desired
            .declare(&name(), level(0.5), None, record("control")),
    )
    .await;
    assert!(matches!(
        answer.expect("hangs"),
        Err(DesiredError::Undecided)
    ));
    assert_eq!(service.default().level, level(1.0));
    service.mood(WELL);
    service.desired.refresh().await;
    assert_eq!(
        (service.default().level, service.default().generation),
        (level(0.5), 2)
    );
}

/// An older opening that was given up arrives after all, while what tightened since is on its way.
#[tokio::test]
async fn an_older_declaration_that_arrives_late_opens_nothing_that_was_tightened_since() {
    let service = service(Sqlite::new()).await;
    service.mood(COMMITS_THEN_HANGS);
    service
        .desired
        .declare(&name(), level(0.2), None, record("control"))
        .await
        .unwrap_err();
    service.mood(WELL);
    service.desired.refresh().await;
    service.mood(COMMITS_THEN_HANGS);
    service
        .desired
        .declare(&name(), level(0.1), None, record("control"))
        .await
        .unwrap_err();
    service.mood(AWAY);
    service
        .desired
        .declare(&name(), level(0.9), None, record("control"))
        .await
        .unwrap_err();
    service.mood(WELL);
    service.desired.refresh().await;
    assert_eq!(
        (service.default().level, service.default().generation),
        (level(0.9), 3)
    );
    service
        .desired
        .declare(&name(), level(0.9), None, record("control"))
        .await
        .unwrap();
    service
        .desired
        .declare(&name(), level(0.1), None, record("control"))
        .await
        .unwrap();
    assert_eq!(
        service.default().level,
        level(0.1),
        "once it has arrived, a newer one opens"
    );
}

#[tokio::test]
async fn concurrent_declarations_get_generations_of_their_own() {
    let service = Arc::new(service(Sqlite::new()).await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let service = Arc::clone(&service);
        tasks.spawn(async move {
            service
                .desired
                .declare(&name(), level(0.5), None, record("control"))
                .await
                .unwrap()
                .generation
        });
    }
    let mut generations = tasks.join_all().await;
    generations.sort_unstable();
    assert_eq!(generations, (2..=17).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_kill_is_taken_once_and_outlives_a_restart() {
    let service = service(Sqlite::new()).await;
    let command = record("kill");
    for _ in 0..3 {
        service
            .desired
            .take(kill("e1"), command.clone())
            .await
            .unwrap();
        assert_eq!(service.held(), ["e1"]);
    }
    assert_eq!(service.stored().await, ["e1"]);
    let service = service.restart().await;
    assert_eq!(service.held(), ["e1"]);
    assert_eq!(
        service.ledger.commit(entry("probe")).await.unwrap().audit,
        [2],
        "three kills, one entry"
    );
}

#[tokio::test]
async fn a_kill_bites_while_the_ledger_hangs() {
    let service = Arc::new(service(Sqlite::new()).await);
    service.mood(HANGS);
    let killer = Arc::clone(&service);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { killer.desired.take(kill("e1"), record("kill")).await });
    timeout(Duration::from_secs(1), service.desired.woken())
        .await
        .expect("the loop is woken at once");
    assert_eq!(
        service.held(),
        ["e1"],
        "in memory before the ledger has answered"
    );
    let answer = timeout(Duration::from_secs(20), tasks.join_next())
        .await
        .expect("hangs")
        .unwrap()
        .unwrap();
    assert!(matches!(answer, Err(DesiredError::Undecided)));
    assert_eq!(service.held(), ["e1"], "and it stays");
}

#[tokio::test]
async fn a_kill_the_ledger_lacks_is_recorded_before_it_ends() {
    let service = service(Sqlite::new()).await;
    service.mood(AWAY);
    let command = record("kill");
    service
        .desired
        .take(kill("e1"), command.clone())
        .await
        .unwrap_err();
    assert_eq!(service.held(), ["e1"]);
    service
        .desired
        .end(meant(&Scope::All, None), record("revive"))
        .await
        .unwrap_err();
    assert_eq!(service.held(), ["e1"], "opening waits for the ledger");
    service.mood(WELL);
    let ended = service
        .desired
        .end(meant(&Scope::All, None), record("revive"))
        .await
        .unwrap();
    assert_eq!(ended.ended, [Epoch("e1".to_owned())]);
    assert_eq!(ended.answer.unwrap().body["audit_id"], 2);
    assert!(service.held().is_empty());
    // The journal's replay comes late: it neither bites nor is written twice.
    service.desired.take(kill("e1"), command).await.unwrap();
    assert!(service.held().is_empty());
    assert_eq!(
        service.ledger.commit(entry("probe")).await.unwrap().audit,
        [3]
    );
}

#[tokio::test]
async fn ending_leaves_what_is_not_this_doors_to_end() {
    let service = service(Sqlite::new()).await;
    let one = Scope::One(name());
    service
        .desired
        .take(hold("all", Scope::All, Source::Rest), record("kill"))
        .await
        .unwrap();
    service
        .desired
        .take(hold("one", one.clone(), Source::Rest), record("kill"))
        .await
        .unwrap();
    service
        .desired
        .take(hold("spec", one.clone(), Source::Spec), record("kill"))
        .await
        .unwrap();
    let epochs = |holds: Vec<echo_phoenix::domain::hold::Hold>| {
        holds.into_iter().map(|h| h.epoch.0).collect::<Vec<_>>()
    };

    let ended = service
        .desired
        .end(meant(&one, None), record("revive"))
        .await
        .unwrap();
    assert_eq!(ended.ended, [Epoch("one".to_owned())]);
    assert_eq!(
        epochs(ended.held_by),
        ["all", "spec"],
        "opening one throttle must not open every other"
    );
    let ended = service
        .desired
        .end(
            meant(&one, Some(&Epoch("all".to_owned()))),
            record("revive"),
        )
        .await
        .unwrap();
    assert_eq!(ended.ended, [Epoch("all".to_owned())]);
    let ended = service
        .desired
        .end(meant(&Scope::All, None), record("revive"))
        .await
        .unwrap();
    assert_eq!(
        (ended.ended, epochs(ended.held_by)),
        (vec![], vec!["spec".to_owned()])
    );
    assert_eq!(service.held(), ["spec"]);
    assert_eq!(service.stored().await, ["spec"]);
}

#[tokio::test]
async fn what_was_measured_is_handed_to_the_loop() {
    let service = service(Sqlite::new()).await;
    let evidence = Measurement {
        signals: Signals::calm(level(0.5)),
        at: Duration::from_secs(7),
        source: None,
    };
    service.desired.observe(&name(), evidence.clone());
    assert_eq!(service.default().evidence, [evidence]);
}

/// One act: no pass sees the one without the other, and whoever commands wakes the loop when all is
/// said.
#[tokio::test]
async fn a_declaration_comes_with_what_was_measured_and_wakes_nobody() {
    let service = service(Sqlite::new()).await;
    let measured = |pct: f64| Measurement {
        signals: Signals::calm(level(pct)),
        at: Duration::from_secs(7),
        source: None,
    };
    let declare = async |to: f64, pct: f64| {
        service
            .desired
            .declare(&name(), level(to), Some(measured(pct)), record("control"))
            .await
    };
    declare(0.25, 0.1).await.unwrap();
    assert_eq!(
        (service.default().level, &service.default().evidence),
        (level(0.25), &vec![measured(0.1)])
    );
    service.mood(AWAY);
    declare(0.0, 0.2).await.unwrap_err();
    assert_eq!(
        service.default().evidence,
        [measured(0.1)],
        "what was refused leaves nothing behind"
    );
    declare(0.9, 0.3).await.unwrap_err();
    assert_eq!(
        (service.default().level, &service.default().evidence),
        (level(0.9), &vec![measured(0.3)])
    );
    assert!(
        timeout(Duration::from_millis(50), service.desired.woken())
            .await
            .is_err(),
        "the door wakes, once"
    );
}

#[tokio::test]
async fn a_wake_before_the_wait_is_not_lost() {
    let service = service(Sqlite::new()).await;
    service.desired.wake(&Scope::All);
    timeout(Duration::from_secs(1), service.desired.woken())
        .await
        .unwrap();
    assert!(
        timeout(Duration::from_millis(50), service.desired.woken())
            .await
            .is_err()
    );
}
