//! A file and REST declare the same throttle, kills begin and end meanwhile: each is recorded by
//! itself, and what closes holds all the while.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use echo_phoenix::desired::{LedgerDesired, Taken};
use echo_phoenix::domain::audit::{Change, CommandRecord};
use echo_phoenix::domain::hold::{Epoch, HoldEffect};
use echo_phoenix::domain::measurement::Measurement;
use echo_phoenix::domain::observation::Signals;
use echo_phoenix::domain::throttle::{FromFile, Owner, ThrottleName};
use echo_phoenix::ports::{Declaration, Declarations, Desired, Ledger, Measurements, Stored};
use echo_phoenix::source::manifest::parse;
use echo_phoenix::store::{LEDGER_FILE, SqliteLedger, verify};
use futures::poll;
use tempfile::TempDir;

use super::throttle;
use crate::ledger_suite::declared::{AWAY, COMMITS_THEN_HANGS, Fickle, WAITS, WELL};
use crate::ledger_suite::values::{at, entry, level, record, row};
use crate::support::eventually;

const KILL: &str = "  kill: {reason: double charges, operator: dana, confirmation: CONFIRM_KILL}\n";

/// A service with the throttle `default` that REST declared, half open.
struct House {
    folder: TempDir,
    ledger: Arc<Fickle>,
    desired: Arc<LedgerDesired>,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = SqliteLedger::open(folder.path()).unwrap();
        let ledger = Arc::new(Fickle::new(Arc::new(ledger)));
        ledger
            .commit(Change {
                throttles: vec![row(1, 0.5)],
                ..entry("control")
            })
            .await
            .unwrap();
        let stored = ledger.stored().await.unwrap();
        let desired = Arc::new(LedgerDesired::with_manifest(
            Arc::<Fickle>::clone(&ledger),
            stored,
        ));
        Self {
            folder,
            ledger,
            desired,
        }
    }

    fn mood(&self, mood: u8) {
        self.ledger.mood.store(mood, Ordering::SeqCst);
    }

    /// Goes by a file, as a look at it does.
    async fn goes_by(&self, file: &[FromFile]) -> Taken {
        self.desired.foresee(file, at(1));
        self.desired.take_over(file, at(1)).await
    }

    async fn stored(&self) -> Stored {
        self.ledger.stored().await.unwrap()
    }

    fn held(&self) -> Vec<String> {
        let declared = self.desired.declared();
        let default = declared
            .iter()
            .find(|one| one.name == ThrottleName::default_throttle())
            .unwrap();
        default
            .holds
            .iter()
            .map(|hold| hold.epoch.0.clone())
            .collect()
    }

    /// Action and throttle of each entry, once everything adds up.
    fn audit(self) -> Vec<String> {
        let Self {
            folder,
            ledger,
            desired,
        } = self;
        drop((desired, ledger));
        verify(&folder.path().join(LEDGER_FILE), &[], &mut |_, _, _| ()).unwrap();
        let conn = rusqlite::Connection::open(folder.path().join(LEDGER_FILE)).unwrap();
        let mut rows = conn
            .prepare("SELECT action || ' ' || throttle FROM audit_log ORDER BY seq")
            .unwrap();
        let rows = rows.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

fn file(text: &str) -> Vec<FromFile> {
    parse(text).unwrap()
}

fn epochs(stored: &Stored) -> Vec<&str> {
    stored
        .holds
        .iter()
        .map(|held| held.hold.epoch.0.as_str())
        .collect()
}

#[tokio::test]
async fn a_kill_of_the_file_is_recorded_though_a_declaration_is_under_way() {
    let house = House::new().await;
    let killed = file(&throttle("default", 60, KILL));
    house.mood(WAITS);
    let desired = Arc::clone(&house.desired);
    let declaring = async {
        desired
            .declare(&killed[0].name, level(0.2), None, record("control"))
            .await
    };
    let taking = async {
        house.ledger.waits.notified().await;
        // It holds at once, by the number that the declaration under way will have.
        house.desired.foresee(&killed, at(1));
        assert_eq!(house.held(), ["default@2"]);
        house.mood(WELL);
        house.ledger.goes_on.notify_one();
        house.desired.take_over(&killed, at(1)).await
    };
    let (declared, taken) = tokio::join!(declaring, taking);
    assert_eq!(declared.unwrap().generation, 2);
    assert!(taken.owed.is_none(), "{taken:?}");
    let stored = house.stored().await;
    assert_eq!(
        (epochs(&stored), house.held()),
        (vec!["default@2"], vec!["default@2".to_owned()])
    );
    assert_eq!(
        (stored.throttles[0].generation, stored.throttles[0].declared),
        (3, level(0.6))
    );
    let taken = house.goes_by(&killed).await;
    assert!(
        taken.changed.is_empty() && taken.owed.is_none(),
        "{taken:?}"
    );
    let audit = house.audit();
    assert_eq!(
        audit,
        [
            "control default",
            "control default",
            "kill default",
            "declare default"
        ]
    );
}

#[tokio::test]
async fn what_the_ledger_refuses_of_one_throttle_keeps_no_other_out() {
    let house = House::new().await;
    let both = file(&format!(
        "{}{}",
        throttle("default", 60, KILL),
        throttle("search", 40, "")
    ));
    // A declaration that nobody here heard of.
    house
        .ledger
        .commit(Change {
            throttles: vec![row(7, 0.1)],
            ..entry("control")
        })
        .await
        .unwrap();
    let taken = house.goes_by(&both).await;
    assert!(taken.owed.is_some(), "{taken:?}");
    let stored = house.stored().await;
    let search = stored
        .throttles
        .iter()
        .find(|row| row.name.as_str() == "search");
    assert_eq!(search.map(|row| row.declared), Some(level(0.4)));
    assert_eq!(
        house.held(),
        ["default@2"],
        "what the file stops is stopped"
    );
    house.desired.refresh().await;
    let taken = house.goes_by(&both).await;
    assert!(
        taken.owed.is_none(),
        "it is found out what is newer: {taken:?}"
    );
    let stored = house.stored().await;
    assert_eq!(epochs(&stored), ["default@2"]);
    assert_eq!(
        stored
            .throttles
            .iter()
            .map(|row| row.generation)
            .collect::<Vec<_>>(),
        [8, 1]
    );
    house.audit();
}

#[tokio::test]
async fn a_kill_that_came_and_went_while_the_ledger_was_away_has_a_beginning_and_an_end() {
    let house = House::new().await;
    house.mood(AWAY);
    assert!(
        house
            .goes_by(&file(&throttle("default", 60, KILL)))
            .await
            .owed
            .is_some()
    );
    let calm = file(&throttle("default", 60, ""));
    house.desired.foresee(&calm, at(2));
    assert_eq!(
        house.held(),
        ["default@2"],
        "what ends waits for the ledger"
    );
    house.mood(WELL);
    let taken = house.goes_by(&calm).await;
    assert_eq!(
        (
            taken.ended.len(),
            house.held().len(),
            house.stored().await.holds.len()
        ),
        (1, 0, 0),
        "{taken:?}"
    );
    // A kill of tomorrow is another one.
    assert!(
        house
            .goes_by(&file(&throttle("default", 60, KILL)))
            .await
            .owed
            .is_none()
    );
    assert_eq!(house.held(), ["default@3"]);
    let wanted = [
        "control",
        "kill",
        "declare",
        "hold_ended",
        "kill",
        "declare",
    ]
    .map(|action| format!("{action} default"));
    assert_eq!(house.audit(), wanted);
}

#[tokio::test]
async fn a_start_with_the_same_kill_in_the_file_says_nothing_anew() {
    let house = House::new().await;
    let killed = file(&throttle("default", 60, KILL));
    assert!(house.goes_by(&killed).await.owed.is_none());
    let stored = house.stored().await;
    let desired = Arc::new(LedgerDesired::with_manifest(
        Arc::<Fickle>::clone(&house.ledger),
        stored,
    ));
    let house = House { desired, ..house };
    let taken = house.goes_by(&killed).await;
    assert!(
        taken.changed.is_empty() && taken.owed.is_none(),
        "{taken:?}"
    );
    assert_eq!(
        house.audit(),
        ["control default", "kill default", "declare default"]
    );
}

#[tokio::test]
async fn what_a_person_tightened_outlives_the_file_s_word_while_it_is_on_its_way() {
    let house = House::new().await;
    let name = ThrottleName::default_throttle();
    let tightening = record("control");
    house.mood(AWAY);
    house
        .desired
        .declare(&name, level(0.9), None, tightening.clone())
        .await
        .unwrap_err();
    house.mood(WELL);
    assert!(
        house
            .goes_by(&file(&throttle("default", 20, "")))
            .await
            .owed
            .is_none()
    );
    let stands = || house.desired.declared()[0].level;
    assert_eq!(stands(), level(0.9), "the ledger lacks it, and it holds");
    house
        .desired
        .declare(&name, level(0.9), None, tightening)
        .await
        .unwrap();
    assert_eq!(
        (
            stands(),
            house.held().len(),
            house.stored().await.holds.len()
        ),
        (level(0.2), 1, 1),
        "it is a hold now"
    );
    house.audit();
}

#[tokio::test]
async fn what_closes_and_what_is_measured_waits_for_no_file_that_is_being_taken_over() {
    let house = House::new().await;
    let name = ThrottleName::default_throttle();
    assert!(
        house
            .goes_by(&file(&throttle("default", 20, "")))
            .await
            .owed
            .is_none()
    );
    let other = file(&throttle("default", 30, ""));
    house.mood(WAITS);
    let taking = house.goes_by(&other);
    let evidence = Measurement {
        signals: Signals::calm(level(0.5)),
        at: Duration::from_secs(7),
        source: None,
    };
    let meanwhile = async {
        house.ledger.waits.notified().await;
        house.desired.observe(&name, evidence.clone());
        house.desired.tighten(&name, level(0.8), None);
        assert_eq!(
            house.desired.declared()[0].level,
            level(0.8),
            "no pass opens beyond it from here on"
        );
        let declaring = house
            .desired
            .declare(&name, level(0.8), None, record("control"));
        let going_on = async {
            house.mood(WELL);
            house.ledger.goes_on.notify_one();
        };
        tokio::join!(declaring, going_on).0.unwrap();
    };
    let (taken, ()) = tokio::join!(taking, meanwhile);
    assert!(taken.owed.is_none(), "{taken:?}");
    let declared = eventually(
        "the file's word and the person's",
        Duration::from_secs(5),
        async || {
            let declared = Arc::clone(&house.desired.declared()[0]);
            (declared.level == level(0.3) && declared.holds.len() == 1).then_some(declared)
        },
    )
    .await;
    assert_eq!(declared.evidence, [evidence]);
    house.audit();
}

/// A file with more throttles than it declares in one turn, and what comes behind them.
fn large(more: &str) -> Vec<FromFile> {
    let many: String = (0..70)
        .map(|number| throttle(&format!("a{number:02}"), 40, ""))
        .collect();
    file(&(many + more))
}

impl House {
    /// Goes by a file, and declares a level of `default` while the first of the file's turns is on
    /// its way to the ledger.
    async fn declares_meanwhile(
        &self,
        file: &[FromFile],
        asked: f64,
        command: CommandRecord,
    ) -> (Taken, Declaration) {
        self.mood(WAITS);
        let meanwhile = async {
            self.ledger.waits.notified().await;
            let name = ThrottleName::default_throttle();
            let mut declaring = pin!(self.desired.declare(&name, level(asked), None, command));
            assert!(poll!(&mut declaring).is_pending(), "the file has its turn");
            self.mood(WELL);
            self.ledger.goes_on.notify_waiters();
            declaring.await.unwrap()
        };
        tokio::join!(self.goes_by(file), meanwhile)
    }
}

#[tokio::test]
async fn a_declaration_waits_for_one_turn_of_a_file_and_not_for_all_of_it() {
    let house = House::new().await;
    let (taken, declared) = house
        .declares_meanwhile(&large(""), 0.1, record("control"))
        .await;
    assert_eq!(
        (taken.changed.len(), declared.generation),
        (70, 2),
        "{taken:?}"
    );
    assert!(taken.owed.is_none(), "{taken:?}");
    let audit = house.audit();
    let place = audit
        .iter()
        .rposition(|entry| entry == "control default")
        .unwrap();
    assert_eq!(
        (place, audit.len()),
        (65, 72),
        "after the first turn: {audit:?}"
    );
}

#[tokio::test]
async fn what_a_person_declares_comes_behind_a_file_that_was_there_before_and_is_not_undone_by_it()
{
    for (asked, holds) in [(0.9, 1), (0.1, 0)] {
        let house = House::new().await;
        let file = large(&throttle("default", 20, ""));
        let (taken, declared) = house
            .declares_meanwhile(&file, asked, record("control"))
            .await;
        assert_eq!(
            (taken.changed.len(), declared.generation),
            (71, 2),
            "{taken:?}"
        );
        assert!(taken.owed.is_none(), "{taken:?}");
        let stored = house.stored().await;
        let row = stored
            .throttles
            .iter()
            .find(|row| row.name == ThrottleName::default_throttle())
            .unwrap();
        assert_eq!(
            (row.declared, row.generation, row.owner),
            (level(0.2), 2, Owner::Manifest)
        );
        assert_eq!(
            (stored.holds.len(), house.held().len()),
            (holds, holds),
            "{asked} stands above the file's word"
        );
        let again = house.goes_by(&file).await;
        assert!(
            again.changed.is_empty() && again.owed.is_none(),
            "{again:?}"
        );
        let of = |entry: &&String| entry.ends_with(" default");
        let audit: Vec<_> = house.audit();
        assert_eq!(
            audit.iter().filter(of).collect::<Vec<_>>(),
            ["control default", "declare default", "control default"]
        );
    }
}

/// Whoever stops waiting leaves the file what it has still to declare.
#[tokio::test]
async fn a_declaration_that_is_given_up_takes_nothing_from_a_file() {
    let house = House::new().await;
    let file = large(&throttle("default", 20, KILL));
    house.mood(WAITS);
    let meanwhile = async {
        house.ledger.waits.notified().await;
        let name = ThrottleName::default_throttle();
        let mut declaring = Box::pin(house.desired.declare(
            &name,
            level(0.1),
            None,
            record("control"),
        ));
        assert!(poll!(&mut declaring).is_pending());
        house.ledger.goes_on.notify_waiters();
        // Its turn comes, and the file's part of it waits for the ledger.
        tokio::select! {
            _ = &mut declaring => panic!("the ledger waits"),
            () = house.ledger.waits.notified() => {}
        }
        drop(declaring);
        house.mood(WELL);
        house.ledger.goes_on.notify_waiters();
    };
    let (taken, ()) = tokio::join!(house.goes_by(&file), meanwhile);
    assert!(
        taken.owed.is_some(),
        "nobody heard what became of it: {taken:?}"
    );
    let again = house.goes_by(&file).await;
    assert_eq!(
        (
            taken.changed.len() + again.changed.len(),
            again.owed.is_none()
        ),
        (71, true),
        "{again:?}"
    );
    let stored = house.stored().await;
    assert_eq!(
        (epochs(&stored), house.held()),
        (vec!["default@2"], vec!["default@2".to_owned()])
    );
    assert!(house.goes_by(&file).await.changed.is_empty());
    house.audit();
}

/// The file's part of it may be made all the same: then memory has a kill that the ledger has
/// ended.
#[tokio::test]
async fn what_a_given_up_declaration_took_over_of_a_file_is_found_out_before_the_file_declares_again()
 {
    let house = House::new().await;
    let (killed, calm) = (
        file(&throttle("default", 60, KILL)),
        file(&throttle("default", 60, "")),
    );
    assert!(house.goes_by(&killed).await.owed.is_none());
    house.mood(AWAY);
    assert!(house.goes_by(&calm).await.owed.is_some());
    house.mood(COMMITS_THEN_HANGS);
    let name = ThrottleName::default_throttle();
    {
        let mut declaring = pin!(
            house
                .desired
                .declare(&name, level(0.1), None, record("control"))
        );
        eventually(
            "the ledger has the end",
            Duration::from_secs(5),
            async || {
                assert!(poll!(&mut declaring).is_pending(), "its answer hangs");
                house.stored().await.holds.is_empty().then_some(())
            },
        )
        .await;
    }
    house.mood(WELL);
    assert_eq!(house.held(), ["default@2"], "nobody here heard of it");
    house
        .desired
        .declare(&name, level(0.1), None, record("control"))
        .await
        .unwrap_err();

    let taken = house.goes_by(&killed).await;
    assert!(taken.owed.is_none(), "{taken:?}");
    assert_eq!(
        taken.spent,
        [Epoch("default@2".to_owned())],
        "the gate lets go of it, and of no other"
    );
    let stored = house.stored().await;
    assert_eq!(
        (epochs(&stored), house.held()),
        (vec!["default@4"], vec!["default@4".to_owned()])
    );
    house
        .desired
        .declare(&name, level(0.1), None, record("control"))
        .await
        .unwrap();
    house.audit();
}

/// The file was read before a person declared, and recorded after that: it does not undo what is
/// newer.
#[tokio::test]
async fn a_file_that_the_ledger_does_not_have_yet_does_not_undo_what_is_declared_meanwhile() {
    let house = House::new().await;
    let calm = file(&format!(
        "{}{}",
        throttle("default", 20, ""),
        throttle("search", 40, "")
    ));
    house.mood(AWAY);
    assert!(house.goes_by(&calm).await.owed.is_some());
    house.mood(WELL);
    let name = ThrottleName::default_throttle();
    house
        .desired
        .declare(&name, level(0.9), None, record("control"))
        .await
        .unwrap();
    let taken = house.goes_by(&calm).await;
    assert!(taken.owed.is_none(), "{taken:?}");
    assert!(
        taken.changed.contains(&name),
        "who took it over meanwhile is told of: {taken:?}"
    );
    let declared = house.desired.declared();
    let found = declared.iter().find(|one| one.name == name).unwrap();
    assert_eq!((found.owner, found.level), (Owner::Manifest, level(0.2)));
    assert!(
        found
            .holds
            .iter()
            .any(|hold| hold.bite == HoldEffect::AtLeast(level(0.9))),
        "{found:?}"
    );
    let audit = house.audit();
    assert_eq!(
        audit,
        [
            "control default",
            "declare default",
            "control default",
            "declare search"
        ]
    );
}
