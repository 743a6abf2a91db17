//! What every ledger must do beside commands: at its start, once a minute, and at its end.

use echo_phoenix::domain::audit::{Change, StateRow};
use echo_phoenix::domain::hold::Source;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::ports::LedgerError;

use super::Backend;
use super::values::*;

pub(crate) async fn a_process_records_what_it_starts_from(backend: &dyn Backend) {
    let ledger = backend.open();
    ledger.commit(taking("e1")).await.unwrap();
    ledger.commit(ending("e1")).await.unwrap();
    let found = vec![kill("e1"), kill("lost")];
    let begun = ledger.begin(at(9), found.clone()).await.unwrap();
    assert_eq!(
        begun.audit,
        [3, 4],
        "what nobody accounts for, and the start"
    );
    let held = || async { ledger.stored().await.unwrap().holds };
    let lost = held().await;
    assert_eq!(
        (lost.len(), &lost[0].hold.epoch, &lost[0].hold.source),
        (1, &epoch("lost"), &Source::Unaccounted),
        "what has ended stays that"
    );
    let again = ledger.begin(at(10), lost.clone()).await.unwrap();
    assert_eq!(
        (again.audit, held().await),
        (vec![5], lost),
        "it is told once"
    );
}

pub(crate) async fn an_intent_that_was_left_open_is_closed_once(backend: &dyn Backend) {
    let ledger = backend.open();
    ledger.commit(opening("i1")).await.unwrap();
    ledger.commit(opening("i2")).await.unwrap();
    ledger.commit(settling("i2")).await.unwrap();
    drop(ledger);
    let ledger = backend.open();
    let closed = ledger.close_interrupted(at(60)).await.unwrap();
    assert_eq!(closed.audit, [4]);
    assert!(
        ledger
            .close_interrupted(at(61))
            .await
            .unwrap()
            .audit
            .is_empty()
    );
    let late = ledger.commit(settling("i1")).await;
    assert!(
        matches!(late, Err(LedgerError::Refused(_))),
        "it has its one outcome"
    );
}

pub(crate) async fn heads_follow_their_tables(backend: &dyn Backend) {
    let ledger = backend.open();
    let empty = ledger.heads().await.unwrap();
    assert!(empty.iter().all(|head| head.seq == 0 && head.hash48() == 0));
    assert_eq!(empty[0].table, "audit_log", "it comes first");
    ledger.commit(storing(event("evt_1"))).await.unwrap();
    let heads = ledger.heads().await.unwrap();
    let moved: Vec<_> = empty
        .iter()
        .zip(&heads)
        .filter(|(before, after)| before.hash != after.hash)
        .map(|(_, after)| (after.table, after.seq))
        .collect();
    assert_eq!(moved, [("audit_log", 1), ("evidence_ledger", 1)]);
    assert_eq!(ledger.outbox().await.unwrap().rows, 0);
    ledger.commit(drifting("d1", 1)).await.unwrap();
    ledger.commit(drifting("d1", 2)).await.unwrap();
    let owed = ledger.outbox().await.unwrap();
    assert_eq!((owed.rows, owed.dropped), (1, 0));
}

pub(crate) async fn what_may_be_forgotten_goes_and_nothing_else(backend: &dyn Backend) {
    let ledger = backend.open();
    let state = |second| StateRow {
        at: at(second),
        source: "ann".to_owned(),
        throttle: ThrottleName::default_throttle(),
        state: "{}".to_owned(),
    };
    let mut command = record("control");
    command.answer.key = Some(client_key("k", 20));
    let change = Change {
        states: vec![state(1), state(7)],
        ..Change::of(command.clone())
    };
    ledger.commit(change).await.unwrap();
    assert_eq!(ledger.prune(at(5), at(10)).await.unwrap(), 1);
    let key = client_key("k", 20);
    assert!(ledger.answered(&key).await.unwrap().is_some());
    assert_eq!(ledger.prune(at(5), at(21)).await.unwrap(), 1);
    assert_eq!(ledger.answered(&key).await.unwrap(), None);
    assert!(
        ledger.has(&command.once).await.unwrap(),
        "commands are known for ever"
    );
    assert_eq!(ledger.prune(at(5), at(21)).await.unwrap(), 0);
}

pub(crate) async fn a_ledger_that_is_closed_takes_nothing(backend: &dyn Backend) {
    let ledger = backend.open();
    ledger.commit(taking("e1")).await.unwrap();
    ledger.saw_journal(3).await.unwrap();
    assert!(ledger.can_close());
    let closing = std::sync::Arc::clone(&ledger);
    tokio::task::spawn_blocking(move || closing.close())
        .await
        .unwrap();
    for answer in [
        ledger.commit(entry("late")).await.map(drop),
        ledger.check().await,
        ledger.stored().await.map(drop),
    ] {
        assert!(matches!(answer, Err(LedgerError::Unavailable(_))));
    }
    drop(ledger);
    let stored = backend.open().stored().await.unwrap();
    assert_eq!(stored.holds, [kill("e1")]);
}
