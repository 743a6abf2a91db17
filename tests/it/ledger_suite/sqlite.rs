//! What holds for the ledger on SQLite alone: locks, crashes, the queue, files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use echo_phoenix::domain::audit::{Change, CommandRecord, CommandResponse, StateRow};
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::ports::{Effect, JournalEntry, Ledger, LedgerError, LedgerUpkeep, Outbox};
use echo_phoenix::store::{
    LEDGER_FILE, LedgerPlace, OpenError, SqliteFolder, SqliteLedger, verify,
};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::time::timeout;

use super::values::*;

const SOON: Duration = Duration::from_secs(2);

fn raw(dir: &Path) -> Connection {
    Connection::open(dir.join(LEDGER_FILE)).unwrap()
}

fn count(conn: &Connection, table: &str) -> i64 {
    conn.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| {
        row.get(0)
    })
    .unwrap()
}

fn open(dir: &TempDir) -> SqliteLedger {
    SqliteLedger::open(dir.path()).unwrap().0
}

#[tokio::test]
async fn a_locked_store_is_an_error_soon_and_works_again_afterwards() {
    let dir = TempDir::new().unwrap();
    let ledger = open(&dir);
    let other = raw(dir.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = timeout(SOON, ledger.commit(taking("e1")))
        .await
        .expect("hangs on a locked store");
    assert!(matches!(answer, Err(LedgerError::Unavailable(_))));
    let answer = timeout(SOON, ledger.check())
        .await
        .expect("the check hangs on a locked store");
    assert!(matches!(answer, Err(LedgerError::Unavailable(_))));
    timeout(SOON, ledger.stored())
        .await
        .expect("reading waits for a writer")
        .unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    ledger.check().await.unwrap();
    assert_eq!(ledger.commit(taking("e1")).await.unwrap().audit, [1]);
}

#[tokio::test]
async fn a_table_or_a_column_that_is_gone_is_found_by_the_check() {
    let tables = {
        let dir = TempDir::new().unwrap();
        drop(open(&dir));
        let found = raw(dir.path());
        let mut all = found
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
            .unwrap();
        let all: Vec<String> = all
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        all
    };
    assert!(tables.len() > 10, "{tables:?}");
    for table in &tables {
        let dir = TempDir::new().unwrap();
        let ledger = open(&dir);
        ledger.check().await.unwrap();
        raw(dir.path())
            .execute_batch(&format!("DROP TABLE {table}"))
            .unwrap();
        let Err(LedgerError::Unavailable(why)) = ledger.check().await else {
            panic!("{table} is not missed")
        };
        assert!(why.contains(table), "{table}: {why}");
        // Nor after a start, where that is still possible.
        drop(ledger);
        if let Ok((ledger, _)) = SqliteLedger::open(dir.path()) {
            assert!(
                ledger.check().await.is_err(),
                "{table} is not missed after a start"
            );
        }
    }
    let dir = TempDir::new().unwrap();
    let ledger = open(&dir);
    raw(dir.path())
        .execute_batch("ALTER TABLE used_nonces DROP COLUMN answer")
        .unwrap();
    let Err(LedgerError::Unavailable(why)) = ledger.check().await else {
        panic!("a column is not missed")
    };
    assert!(why.contains("the column answer of used_nonces"), "{why}");
}

#[tokio::test]
async fn a_refused_change_takes_none_of_its_group_along() {
    let dir = TempDir::new().unwrap();
    let ledger = Arc::new(open(&dir));
    let mut jobs = tokio::task::JoinSet::new();
    for number in 0..300 {
        let ledger = Arc::clone(&ledger);
        // An outcome of an intent that nobody opened, with entries and a drift before it comes to
        // that.
        let change = if number % 7 == 3 {
            Change {
                settles: vec![intent("none")],
                ..drifting(&format!("d{number}"), 1)
            }
        } else {
            drifting(&format!("d{number}"), 1)
        };
        jobs.spawn(async move { ledger.commit(change).await });
    }
    let answers = jobs.join_all().await;
    let refused = answers
        .iter()
        .filter(|answer| matches!(answer, Err(LedgerError::Refused(_))))
        .count();
    assert_eq!(
        (
            refused,
            answers.iter().filter(|answer| answer.is_ok()).count()
        ),
        (43, 257)
    );
    let conn = raw(dir.path());
    assert_eq!(
        (
            count(&conn, "audit_log"),
            count(&conn, "reconciliation_log")
        ),
        (257, 257)
    );
    verify(
        &dir.path().join(LEDGER_FILE),
        &ledger.heads().await.unwrap(),
        &mut |_, _, _| (),
    )
    .unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let dir = TempDir::new().unwrap();
    let ledger = Arc::new(open(&dir));
    let other = raw(dir.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut jobs = tokio::task::JoinSet::new();
    for _ in 0..700 {
        let ledger = Arc::clone(&ledger);
        jobs.spawn(async move { ledger.commit(entry("flood")).await });
    }
    let answers = timeout(Duration::from_secs(5), jobs.join_all())
        .await
        .expect("nobody may wait for long");
    let full = answers
        .iter()
        .filter(|a| {
            a.as_ref()
                .is_err_and(|e| e.to_string().contains("queue is full"))
        })
        .count();
    assert!(answers.iter().all(Result::is_err));
    assert!(
        (1..=188).contains(&full),
        "of 700, 512 fit the queue: {full} were refused"
    );
}

#[tokio::test]
async fn whatever_was_queued_is_written_before_closing() {
    let dir = TempDir::new().unwrap();
    let ledger = Arc::new(open(&dir));
    let mut jobs = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let ledger = Arc::clone(&ledger);
        jobs.spawn(async move { ledger.commit(entry("last")).await });
    }
    while ledger.heads().await.unwrap()[0].seq == 0 {
        tokio::task::yield_now().await;
    }
    ledger.close();
    let kept = jobs
        .join_all()
        .await
        .iter()
        .filter(|answer| answer.is_ok())
        .count();
    assert!(matches!(
        ledger.check().await,
        Err(LedgerError::Unavailable(_))
    ));
    assert!(ledger.stored().await.is_err());
    assert!(
        !dir.path().join("ledger.db-wal").exists(),
        "closing folds the log into the file"
    );
    assert_eq!(count(&raw(dir.path()), "audit_log") as usize, kept);
    verify(&dir.path().join(LEDGER_FILE), &[], &mut |_, _, _| ()).unwrap();
}

/// A copy of the files of a ledger that nobody closed is what a crash leaves behind.
#[tokio::test]
async fn a_crash_loses_nothing_that_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    let ledger = open(&dir);
    for i in 0..50 {
        ledger.commit(taking(&format!("e{i}"))).await.unwrap();
    }
    let heads = ledger.heads().await.unwrap();
    let image = TempDir::new().unwrap();
    for name in ["ledger.db", "ledger.db-wal"] {
        std::fs::copy(dir.path().join(name), image.path().join(name)).unwrap();
    }
    let (after, stored) = SqliteLedger::open(image.path()).unwrap();
    assert_eq!(stored.holds.len(), 50);
    assert_eq!(after.heads().await.unwrap(), heads);
    verify(&image.path().join(LEDGER_FILE), &heads, &mut |_, _, _| ()).unwrap();
}

#[tokio::test]
async fn an_intent_that_a_crash_left_open_is_closed_once() {
    let dir = TempDir::new().unwrap();
    let ledger = open(&dir);
    for id in ["i1", "i2", "i3"] {
        ledger.commit(opening(id)).await.unwrap();
    }
    ledger.commit(settling("i2")).await.unwrap();
    drop(ledger);
    let ledger = open(&dir);
    assert_eq!(
        ledger.close_interrupted(at(60)).await.unwrap().audit,
        [5, 6]
    );
    assert_eq!(
        ledger.close_interrupted(at(61)).await.unwrap().audit,
        [] as [i64; 0]
    );
    assert!(
        ledger.commit(settling("i1")).await.is_err(),
        "a second outcome"
    );
    let sql = "SELECT actor || '|' || throttle || '|' || reason FROM audit_log WHERE action = 'intent_interrupted'";
    let conn = raw(dir.path());
    let mut told = conn.prepare(sql).unwrap();
    let told: Vec<String> = told
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let expected =
        "echo-phoenix|default|intent i1 of audit entry 1 had no outcome when the process ended";
    assert_eq!((told.len(), told[0].as_str()), (2, expected));
}

#[tokio::test]
async fn an_alarm_names_both_meanings() {
    let dir = TempDir::new().unwrap();
    let ledger = open(&dir);
    ledger.commit(storing(event("evt_1"))).await.unwrap();
    let mut other = event("evt_1");
    other.meaning.kind = "charge.refunded".to_owned();
    ledger.commit(storing(other)).await.unwrap();
    let conn = raw(dir.path());
    let (actor, action, at, before, after): (String, String, String, String, String) = conn
        .query_row(
            "SELECT actor, action, at, before, after FROM audit_log WHERE seq = 2",
            [],
            |row| row.try_into(),
        )
        .unwrap();
    assert_eq!(
        (actor.as_str(), action.as_str()),
        ("stripe", "evidence_conflict")
    );
    assert_eq!(at, "2026-09-21T14:13:22.000000Z");
    assert!(before.contains("payment_intent.succeeded") && after.contains("charge.refunded"));
    assert_eq!(
        (count(&conn, "evidence_ledger"), count(&conn, "used_nonces")),
        (1, 1)
    );
}

#[tokio::test]
async fn old_observations_and_expired_keys_are_forgotten_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let ledger = open(&dir);
    let seen = |second| StateRow {
        at: at(second),
        source: "ann".to_owned(),
        throttle: ThrottleName::default_throttle(),
        state: "{}".to_owned(),
    };
    ledger
        .commit(Change {
            states: vec![seen(1), seen(5), seen(9)],
            ..Change::default()
        })
        .await
        .unwrap();
    ledger.commit(storing(event("evt_1"))).await.unwrap();
    for (key, expires) in [("old", 10), ("new", 20)] {
        let record = record("control");
        let key = client_key(key, expires);
        let answer = CommandResponse {
            key: Some(key),
            ..record.answer.clone()
        };
        ledger
            .commit(Change::of(CommandRecord { answer, ..record }))
            .await
            .unwrap();
    }
    let nonces = count(&raw(dir.path()), "used_nonces");
    assert_eq!(
        ledger.prune(at(5), at(10)).await.unwrap(),
        1,
        "a key counts for its whole day"
    );
    assert_eq!(ledger.prune(at(5), at(11)).await.unwrap(), 1);
    assert_eq!(ledger.prune(at(5), at(11)).await.unwrap(), 0);
    assert_eq!(count(&raw(dir.path()), "system_state"), 2);
    assert_eq!(
        count(&raw(dir.path()), "used_nonces"),
        nonces - 1,
        "events and commands are known for ever"
    );
    assert_eq!(ledger.answered(&client_key("old", 10)).await.unwrap(), None);
    assert!(
        ledger
            .answered(&client_key("new", 20))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn a_key_that_has_expired_is_a_new_one_before_it_is_forgotten_too() {
    let dir = TempDir::new().unwrap();
    let ledger = open(&dir);
    let with_key = |used: i64| {
        let record = record("control");
        let key = client_key("k", used + 10);
        let answer = CommandResponse {
            key: Some(key),
            at: at(used),
            ..record.answer.clone()
        };
        Change::of(CommandRecord { answer, ..record })
    };
    assert_eq!(ledger.commit(with_key(0)).await.unwrap().audit, [1]);
    assert!(
        ledger.commit(with_key(9)).await.unwrap().repeated,
        "within its time it is the first one's"
    );
    assert_eq!(ledger.commit(with_key(10)).await.unwrap().audit, [2]);
    assert!(
        ledger.commit(with_key(19)).await.unwrap().repeated,
        "and is known again from then on"
    );
}

/// A journal that has settled it would lack it, and a start would take the ledger for an older one.
#[tokio::test]
async fn a_command_under_a_used_key_is_known_to_have_been_there() {
    let dir = TempDir::new().unwrap();
    let ledger = open(&dir);
    let with_key = || {
        let mut record = record("kill");
        record.answer.key = Some(client_key("k", 86_400));
        JournalEntry {
            effect: Effect::Nothing,
            record,
        }
    };
    let (first, again) = (with_key(), with_key());
    ledger
        .commit(Change::of(first.record.clone()))
        .await
        .unwrap();
    assert!(
        ledger
            .commit(Change::of(again.record.clone()))
            .await
            .unwrap()
            .repeated
    );
    assert_eq!(
        SqliteFolder::new(dir.path())
            .lacks(&[first, again, with_key()])
            .unwrap(),
        1,
        "only the one that never came"
    );
}

#[tokio::test]
async fn the_mirror_is_owed_no_more_than_it_could_take() {
    let dir = TempDir::new().unwrap();
    let ledger = open(&dir);
    let drifts = |range: std::ops::Range<i64>| Change {
        drifts: range
            .map(|number| drift(&format!("d{number}"), 1))
            .collect(),
        ..Change::default()
    };
    ledger.commit(drifts(0..10_000)).await.unwrap();
    assert_eq!(
        ledger.outbox().await.unwrap(),
        Outbox {
            rows: 10_000,
            dropped: 0
        }
    );
    // A newer version of a row takes no more room.
    ledger
        .commit(Change {
            drifts: vec![drift("d0", 2)],
            ..Change::default()
        })
        .await
        .unwrap();
    assert_eq!(
        ledger.outbox().await.unwrap(),
        Outbox {
            rows: 10_000,
            dropped: 0
        }
    );
    ledger.commit(drifts(10_000..10_003)).await.unwrap();
    assert_eq!(
        ledger.outbox().await.unwrap(),
        Outbox {
            rows: 10_000,
            dropped: 3
        }
    );
    assert_eq!(
        ledger.owed(1).await.unwrap()[0].key,
        "d3",
        "the oldest went"
    );
    assert_eq!(
        count(&raw(dir.path()), "reconciliation_log"),
        10_004,
        "the ledger has all"
    );
}

#[tokio::test]
async fn a_close_waits_for_readers_and_lets_no_new_one_in() {
    let dir = TempDir::new().unwrap();
    let ledger = Arc::new(open(&dir));
    ledger.commit(drifting("d1", 1)).await.unwrap();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let ledger = Arc::clone(&ledger);
        readers.spawn(async move { ledger.owed(10).await.map(|owed| owed.len()) });
    }
    let closing = Arc::clone(&ledger);
    let closed = tokio::task::spawn_blocking(move || closing.close());
    timeout(SOON, closed)
        .await
        .expect("a close never ends")
        .unwrap();
    for answer in timeout(SOON, readers.join_all())
        .await
        .expect("a reader waits for ever")
    {
        assert!(
            matches!(answer, Ok(1) | Err(LedgerError::Unavailable(_))),
            "{answer:?}"
        );
    }
    assert!(matches!(
        ledger.owed(1).await,
        Err(LedgerError::Unavailable(_))
    ));
    assert!(
        !dir.path().join(format!("{LEDGER_FILE}-wal")).exists(),
        "the last to close folds the log in"
    );
}

#[tokio::test]
async fn a_newer_file_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    open(&dir).close();
    raw(dir.path())
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = SqliteLedger::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::TooNew { found: 99 }), "{error}");
}

#[tokio::test]
async fn a_process_that_is_killed_between_two_answers_loses_neither() {
    let dir = TempDir::new().unwrap();
    let ledger = open(&dir);
    ledger.commit(entry("a")).await.unwrap();
    // Never dropped: no close, no join, no checkpoint.
    std::mem::forget(ledger);
    let ledger = open(&dir);
    assert_eq!(ledger.commit(entry("b")).await.unwrap().audit, [2]);
    verify(
        &dir.path().join(LEDGER_FILE),
        &ledger.heads().await.unwrap(),
        &mut |_, _, _| (),
    )
    .unwrap();
}
