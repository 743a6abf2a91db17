//! What every ledger must do.

use std::sync::Arc;

use echo_phoenix::domain::audit::{
    AuditAction, Change, ClientKey, CommandRecord, CommandResponse, Receipt, StateRow,
};
use echo_phoenix::domain::hold::ScopedHold;
use echo_phoenix::domain::payment::Storing;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::ports::{Ledger, LedgerError, OutboxRow, Stored};
use jiff::SignedDuration;

use super::Backend;
use super::values::*;

async fn told(ledger: &dyn Ledger, change: Change) -> Receipt {
    ledger.commit(change).await.unwrap()
}

/// The next entry's number tells how many are there: numbers have no gap.
async fn next_seq(ledger: &dyn Ledger) -> i64 {
    told(ledger, entry("probe")).await.audit[0]
}

async fn live(ledger: &dyn Ledger) -> Vec<String> {
    ledger
        .stored()
        .await
        .unwrap()
        .holds
        .into_iter()
        .map(|hold| hold.hold.epoch.0)
        .collect()
}

/// Whether it is refused for good: trying again is no use.
fn is_refused(answer: &Result<Receipt, LedgerError>) -> bool {
    matches!(answer, Err(LedgerError::Refused(_)))
}

fn is_unavailable(answer: &Result<Receipt, LedgerError>) -> bool {
    matches!(answer, Err(LedgerError::Unavailable(_)))
}

pub(crate) async fn audit_entries_are_numbered_from_one(backend: &dyn Backend) {
    let ledger = backend.open();
    assert_eq!(ledger.stored().await.unwrap(), Stored::default());
    let two = Change {
        audit: vec![draft("a"), draft("b")],
        ..Change::default()
    };
    assert_eq!(
        told(&*ledger, two).await,
        Receipt {
            audit: vec![1, 2],
            evidence: None,
            ..Receipt::default()
        }
    );
    assert_eq!(told(&*ledger, entry("c")).await.audit, [3]);
}

pub(crate) async fn a_hold_is_taken_once(backend: &dyn Backend) {
    let ledger = backend.open();
    assert_eq!(told(&*ledger, taking("e1")).await.audit, [1]);
    assert_eq!(ledger.stored().await.unwrap().holds, [kill("e1")]);
    let own = || Change {
        begins: vec![(kill("e1"), draft("kill"))],
        ..Change::default()
    };
    let known = || vec![epoch("e1")];
    assert_eq!(
        told(&*ledger, own()).await,
        Receipt {
            known: known(),
            ..Receipt::default()
        }
    );
    assert_eq!(
        next_seq(&*ledger).await,
        2,
        "a hold that is here already got a second entry"
    );
    assert_eq!(live(&*ledger).await, ["e1"]);
    // It is a part of its change, and keeps no other out.
    let mixed = Change {
        holds_taken: vec![kill("e2"), kill("e1")],
        throttles: vec![row(1, 0.1)],
        ..own()
    };
    let mixed = Change {
        audit: vec![draft("kill")],
        ..mixed
    };
    assert_eq!(
        told(&*ledger, mixed).await,
        Receipt {
            audit: vec![3],
            known: known(),
            ..Receipt::default()
        }
    );
    let stored = ledger.stored().await.unwrap();
    assert_eq!(
        (live(&*ledger).await, stored.throttles.len()),
        (vec!["e1".to_owned(), "e2".to_owned()], 1)
    );
}

/// The loop may see an override before its own command has recorded it.
pub(crate) async fn a_command_whose_hold_is_known_leaves_its_entry_and_its_answer(
    backend: &dyn Backend,
) {
    let ledger = backend.open();
    let own = Change {
        begins: vec![(kill("e1"), draft("kill"))],
        ..Change::default()
    };
    assert_eq!(told(&*ledger, own.clone()).await.audit, [1]);
    let mut command = record("kill");
    command.answer.key = Some(client_key("k", 86_400));
    let command = Change {
        holds_taken: vec![kill("e1")],
        ..Change::of(command)
    };
    let first = told(&*ledger, command.clone()).await;
    assert_eq!(
        (&first.audit[..], first.repeated, &first.known[..]),
        (&[2][..], false, &[epoch("e1")][..])
    );
    assert_eq!(first.answer.as_ref().unwrap().body["audit_id"], 2);
    assert_eq!(
        ledger.answered(&client_key("k", 86_400)).await.unwrap(),
        first.answer,
        "a retry hears it"
    );
    // What is known, and what has ended of it, is told at every time.
    assert_eq!(
        (first.over.len(), live(&*ledger).await),
        (0, vec!["e1".to_owned()])
    );
    told(&*ledger, ending("e1")).await;
    let again = told(&*ledger, command).await;
    assert_eq!(
        (again.repeated, again.audit.len(), &again.over[..]),
        (true, 0, &[epoch("e1")][..])
    );
    assert_eq!(told(&*ledger, own).await.over, [epoch("e1")]);
    assert_eq!(next_seq(&*ledger).await, 4);
    // A kill is never left out for a note of its command that stands there without it.
    let swallowed = record("kill");
    told(&*ledger, Change::of(swallowed.clone())).await;
    let stop = told(
        &*ledger,
        Change {
            holds_taken: vec![kill("e9")],
            ..Change::of(swallowed)
        },
    )
    .await;
    assert_eq!(
        (stop.repeated, live(&*ledger).await),
        (false, vec!["e9".to_owned()])
    );
}

pub(crate) async fn an_ended_hold_never_comes_back(backend: &dyn Backend) {
    let ledger = backend.open();
    told(&*ledger, taking("e1")).await;
    told(&*ledger, taking("e2")).await;
    assert_eq!(told(&*ledger, ending("e1")).await.audit, [3]);
    assert_eq!(live(&*ledger).await, ["e2"]);
    let over = || (vec![epoch("e1")], vec![epoch("e1")]);
    let again = told(&*ledger, taking("e1")).await;
    assert_eq!(
        ((again.known, again.over), live(&*ledger).await),
        (over(), vec!["e2".to_owned()])
    );
    drop(ledger);
    let ledger = backend.open();
    let again = told(&*ledger, taking("e1")).await;
    assert_eq!(
        ((again.known, again.over), live(&*ledger).await),
        (over(), vec!["e2".to_owned()])
    );
}

pub(crate) async fn a_hold_that_ended_before_it_came_never_bites(backend: &dyn Backend) {
    let ledger = backend.open();
    told(&*ledger, ending("late")).await;
    assert_eq!(told(&*ledger, taking("late")).await.over, [epoch("late")]);
    assert_eq!(live(&*ledger).await, [""; 0]);
}

pub(crate) async fn an_event_is_stored_once(backend: &dyn Backend) {
    let ledger = backend.open();
    let first = told(&*ledger, storing(event("evt_1"))).await;
    assert_eq!(
        first,
        Receipt {
            audit: vec![1],
            evidence: Some(Storing::Stored),
            ..Receipt::default()
        }
    );
    // A retry is rendered and signed anew; its meaning is the same.
    let mut again = event("evt_1");
    again.raw = br#"{"id":"evt","pending_webhooks":2}"#.to_vec();
    again.signature = "t=2,v1=11".to_owned();
    again.received_at = at(90);
    let change = Change {
        throttles: vec![row(7, 0.7)],
        opens: vec![intent("i")],
        ..storing(again)
    };
    let second = told(&*ledger, change).await;
    assert_eq!(
        second,
        Receipt {
            audit: vec![],
            evidence: Some(Storing::Duplicate),
            ..Receipt::default()
        }
    );
    assert_eq!(next_seq(&*ledger).await, 2, "a duplicate wrote an entry");
    assert!(
        ledger.stored().await.unwrap().throttles.is_empty(),
        "a duplicate changed a throttle"
    );
    assert!(
        is_refused(&ledger.commit(settling("i")).await),
        "a duplicate opened an intent"
    );
}

pub(crate) async fn an_event_with_another_meaning_raises_an_alarm(backend: &dyn Backend) {
    let ledger = backend.open();
    told(&*ledger, storing(event("evt_1"))).await;
    let mut other = event("evt_1");
    other.meaning.object_id = "pi_2".to_owned();
    let change = Change {
        audit: vec![draft("x"), draft("y")],
        throttles: vec![row(7, 0.7)],
        ..storing(other)
    };
    let receipt = told(&*ledger, change).await;
    assert_eq!(
        receipt,
        Receipt {
            audit: vec![2],
            evidence: Some(Storing::Conflict),
            ..Receipt::default()
        }
    );
    assert!(ledger.stored().await.unwrap().throttles.is_empty());
    // The first one stays what the event means.
    let again = told(&*ledger, storing(event("evt_1"))).await;
    assert_eq!(again.evidence, Some(Storing::Duplicate));
    assert_eq!(next_seq(&*ledger).await, 3);
}

pub(crate) async fn the_same_id_elsewhere_is_another_event(backend: &dyn Backend) {
    let ledger = backend.open();
    let (mut test, mut connected) = (event("evt_1"), event("evt_1"));
    test.key.livemode = false;
    connected.key.account = "acct_1".to_owned();
    for one in [event("evt_1"), test, connected] {
        assert_eq!(
            told(&*ledger, storing(one)).await.evidence,
            Some(Storing::Stored)
        );
    }
}

pub(crate) async fn an_older_generation_is_a_conflict(backend: &dyn Backend) {
    let ledger = backend.open();
    let put = |generation, declared| Change {
        throttles: vec![row(generation, declared)],
        ..entry("control")
    };
    told(&*ledger, put(2, 0.2)).await;
    let refused = ledger
        .commit(Change {
            holds_taken: vec![kill("e1")],
            ..put(1, 0.1)
        })
        .await;
    assert!(
        matches!(refused, Err(LedgerError::Conflict(name)) if name == ThrottleName::default_throttle())
    );
    assert_eq!(
        ledger.stored().await.unwrap(),
        Stored {
            throttles: vec![row(2, 0.2)],
            holds: vec![]
        }
    );
    assert_eq!(
        told(&*ledger, put(2, 0.3)).await.audit,
        [2],
        "the refused change left its entry"
    );
    told(&*ledger, put(5, 0.4)).await;
    assert_eq!(ledger.stored().await.unwrap().throttles, [row(5, 0.4)]);
}

pub(crate) async fn an_intent_gets_one_outcome(backend: &dyn Backend) {
    let ledger = backend.open();
    told(&*ledger, opening("i1")).await;
    assert!(
        is_unavailable(&ledger.commit(opening("i1")).await),
        "opened twice"
    );
    told(&*ledger, settling("i1")).await;
    assert!(
        is_refused(&ledger.commit(settling("i1")).await),
        "settled twice"
    );
    assert!(
        is_refused(&ledger.commit(settling("i2")).await),
        "settled unopened"
    );
    assert_eq!(
        next_seq(&*ledger).await,
        3,
        "a refused outcome left its entry"
    );
}

pub(crate) async fn a_refused_change_leaves_nothing(backend: &dyn Backend) {
    let ledger = backend.open();
    let state = StateRow {
        at: at(1),
        source: "ann".to_owned(),
        throttle: ThrottleName::default_throttle(),
        state: "{}".to_owned(),
    };
    let whole = Change {
        throttles: vec![row(1, 0.1)],
        holds_taken: vec![kill("e1")],
        holds_ended: vec![kill("e0").hold.epoch],
        states: vec![state],
        evidence: Some(event("evt_1")),
        drifts: vec![drift("d1", 1)],
        opens: vec![intent("i1")],
        ..entry("all")
    };
    // The last thing a change does is to settle; this one cannot.
    let refused = Change {
        settles: vec![intent("unknown")],
        ..whole.clone()
    };
    assert!(is_refused(&ledger.commit(refused).await));
    assert_eq!(ledger.stored().await.unwrap(), Stored::default());
    assert_eq!(ledger.owed(10).await.unwrap(), []);
    let receipt = told(&*ledger, whole).await;
    let over = vec![epoch("e0")];
    assert_eq!(
        receipt,
        Receipt {
            audit: vec![1],
            evidence: Some(Storing::Stored),
            over,
            ..Receipt::default()
        }
    );
}

pub(crate) async fn the_mirror_owes_the_newest_version(backend: &dyn Backend) {
    let ledger = backend.open();
    told(&*ledger, drifting("d1", 1)).await;
    told(&*ledger, drifting("d1", 2)).await;
    let owed = ledger.owed(10).await.unwrap();
    assert_eq!(owed.len(), 1);
    assert_eq!(
        (owed[0].table.as_str(), owed[0].key.as_str()),
        ("reconciliation_log", "d1")
    );
    let row: serde_json::Value = serde_json::from_str(&owed[0].row).unwrap();
    let expected = serde_json::json!({
        "kind": "drift", "id": "d1", "throttle": "default", "target": "apps/v1/Deployment/checkout",
        "field": "spec.replicas", "desired": "2", "actual": "9", "side": "riskier", "who_manager": "kubectl",
        "who_operation": "Update", "who_subresource": "scale", "who_time": "2026-09-21T14:13:23.000000Z",
        "first_seen": "2026-09-21T14:13:23.000000Z", "last_seen": "2026-09-21T14:13:25.000000Z", "count": 2,
        "action": "failed", "error": "refused",
    });
    assert_eq!(row, expected);
    let mut bare = drift("d2", 1);
    (bare.who, bare.error) = (None, None);
    told(
        &*ledger,
        Change {
            drifts: vec![bare],
            ..Change::default()
        },
    )
    .await;
    let row: serde_json::Value =
        serde_json::from_str(&ledger.owed(10).await.unwrap()[1].row).unwrap();
    assert!(row["who_manager"].is_null() && row["who_time"].is_null() && row["error"].is_null());
    assert_eq!(row.as_object().unwrap().len(), 17);
}

pub(crate) async fn a_newer_version_stays_owed(backend: &dyn Backend) {
    let ledger = backend.open();
    told(&*ledger, drifting("d1", 1)).await;
    let first = ledger.owed(10).await.unwrap();
    told(&*ledger, drifting("d1", 2)).await;
    ledger.delivered(&first).await.unwrap();
    let second = ledger.owed(10).await.unwrap();
    assert_eq!(second.len(), 1, "the newer version was taken for delivered");
    assert!(second[0].version > first[0].version);
    ledger.delivered(&second).await.unwrap();
    assert_eq!(ledger.owed(10).await.unwrap(), []);
    // A late word about an old version settles nothing of a debt made since.
    told(&*ledger, drifting("d1", 3)).await;
    ledger
        .delivered(&[&first[..], &second[..]].concat())
        .await
        .unwrap();
    assert_eq!(ledger.owed(10).await.unwrap().len(), 1);
}

pub(crate) async fn a_row_that_changes_keeps_its_place(backend: &dyn Backend) {
    let ledger = backend.open();
    for id in ["d1", "d2", "d3", "d1"] {
        told(&*ledger, drifting(id, 1)).await;
    }
    let keys = |owed: Vec<OutboxRow>| owed.into_iter().map(|row| row.key).collect::<Vec<_>>();
    assert_eq!(keys(ledger.owed(10).await.unwrap()), ["d1", "d2", "d3"]);
    assert_eq!(keys(ledger.owed(2).await.unwrap()), ["d1", "d2"]);
}

pub(crate) async fn concurrent_writers_all_get_what_they_were_told(backend: &dyn Backend) {
    const WRITERS: i64 = 64;
    const EACH: i64 = 20;
    let ledger = backend.open();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let ledger = Arc::clone(&ledger);
        writers.spawn(async move {
            let mut seqs = Vec::new();
            for _ in 0..EACH {
                seqs.extend(told(&*ledger, entry(&format!("w{writer}"))).await.audit);
            }
            told(&*ledger, taking(&format!("e{writer}"))).await;
            seqs
        });
    }
    let mut seqs: Vec<i64> = writers.join_all().await.into_iter().flatten().collect();
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(
        seqs.len() as i64,
        WRITERS * EACH,
        "a number was given twice"
    );
    assert_eq!(live(&*ledger).await.len() as i64, WRITERS);
    assert_eq!(next_seq(&*ledger).await, WRITERS * (EACH + 1) + 1);
}

pub(crate) async fn a_failing_change_fails_alone(backend: &dyn Backend) {
    let ledger = backend.open();
    told(
        &*ledger,
        Change {
            throttles: vec![row(9, 0.9)],
            ..Change::default()
        },
    )
    .await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let ledger = Arc::clone(&ledger);
        writers.spawn(async move {
            let stale = writer % 2 == 1;
            let throttles = if stale { vec![row(1, 0.1)] } else { vec![] };
            let answer = ledger
                .commit(Change {
                    throttles,
                    ..entry("mixed")
                })
                .await;
            assert_eq!(matches!(answer, Err(LedgerError::Conflict(_))), stale);
            assert_eq!(answer.is_ok(), !stale);
        });
    }
    writers.join_all().await;
    assert_eq!(next_seq(&*ledger).await, 33);
}

pub(crate) async fn a_check_changes_nothing(backend: &dyn Backend) {
    let ledger = backend.open();
    ledger.check().await.unwrap();
    assert_eq!(next_seq(&*ledger).await, 1);
}

pub(crate) async fn what_was_acknowledged_is_there_after_a_restart(backend: &dyn Backend) {
    let ledger = backend.open();
    told(
        &*ledger,
        Change {
            throttles: vec![row(3, 0.25)],
            ..taking("e1")
        },
    )
    .await;
    told(&*ledger, storing(event("evt_1"))).await;
    told(&*ledger, drifting("d1", 1)).await;
    drop(ledger);
    let ledger = backend.open();
    let stored = ledger.stored().await.unwrap();
    assert_eq!(
        stored,
        Stored {
            throttles: vec![row(3, 0.25)],
            holds: vec![kill("e1")]
        }
    );
    assert_eq!(
        told(&*ledger, storing(event("evt_1"))).await.evidence,
        Some(Storing::Duplicate)
    );
    assert_eq!(ledger.owed(10).await.unwrap().len(), 1);
    assert_eq!(next_seq(&*ledger).await, 4);
}

pub(crate) async fn a_command_is_recorded_once(backend: &dyn Backend) {
    let ledger = backend.open();
    let command = record("control");
    let first = told(&*ledger, Change::of(command.clone())).await;
    assert_eq!((&first.audit[..], first.repeated), (&[1][..], false));
    let again = told(
        &*ledger,
        Change {
            throttles: vec![],
            ..Change::of(command.clone())
        },
    )
    .await;
    assert_eq!(
        (&again.audit[..], again.repeated),
        (&[][..], true),
        "a journal that is replayed writes nothing"
    );
    drop(ledger);
    let again = told(&*backend.open(), Change::of(command)).await;
    assert!(again.repeated, "nor after a restart");
}

/// A record of a request with the client's key `k` and these words.
fn keyed(once: &str, digest: &str) -> CommandRecord {
    let mut record = CommandRecord {
        once: once.to_owned(),
        ..record("control")
    };
    let key = ClientKey {
        digest: digest.to_owned(),
        ..client_key("k", 86_400)
    };
    record.answer.key = Some(key);
    record
}

/// What stops is never left out, whatever its key was used for; the key stays the first one's.
/// Nor is the same stop again, once the hold of the first has ended.
async fn what_stops_is_never_left_out(ledger: &dyn Ledger) {
    let again = keyed("stop", "s");
    assert!(
        !told(
            ledger,
            Change {
                holds_taken: vec![kill("h-1")],
                ..Change::of(again.clone())
            }
        )
        .await
        .repeated
    );
    told(ledger, ending("h-1")).await;
    let again = CommandRecord {
        once: "again".to_owned(),
        ..again
    };
    assert!(
        !told(
            ledger,
            Change {
                holds_taken: vec![kill("h-2")],
                ..Change::of(again)
            }
        )
        .await
        .repeated
    );
    assert_eq!(live(ledger).await, ["h-2"]);
    let mut stop = keyed("c", "z");
    stop.audit.action = AuditAction::Kill;
    let stop = told(
        ledger,
        Change {
            holds_taken: vec![kill("h-9")],
            ..Change::of(stop)
        },
    )
    .await;
    assert_eq!((stop.audit.len(), stop.repeated), (1, false));
}

pub(crate) async fn a_client_key_gets_the_first_answer(backend: &dyn Backend) {
    let ledger = backend.open();
    let key = client_key("k", 86_400);
    assert_eq!(ledger.answered(&key).await.unwrap(), None);
    let first = told(&*ledger, Change::of(keyed("a", "x")))
        .await
        .answer
        .unwrap();
    assert_eq!(first.body["audit_id"], 1, "the answer names its entry");
    let second = told(&*ledger, Change::of(keyed("b", "x"))).await;
    let replayed = CommandResponse {
        replayed: true,
        ..first.clone()
    };
    assert_eq!(
        (second.audit.len(), second.answer.as_ref()),
        (0, Some(&replayed)),
        "done once, answered alike"
    );
    // Another request is not: it is told by its own words, and what opens by it is refused.
    let other = told(&*ledger, Change::of(keyed("o", "y"))).await;
    assert_eq!(
        (
            other.repeated,
            other.answer.unwrap().body["audit_id"].clone()
        ),
        (false, 2.into())
    );
    let opens = Change {
        holds_ended: vec![epoch("h-0")],
        ..Change::of(keyed("p", "y"))
    };
    assert!(matches!(
        ledger.commit(opens).await,
        Err(LedgerError::Refused(_))
    ));
    assert_eq!(
        backend.open().answered(&key).await.unwrap(),
        Some(first.clone())
    );
    assert_eq!(
        first.sent.as_deref(),
        Some(r#"{"audit_id":1}"#),
        "kept as it was sent"
    );
    for other in [
        ClientKey {
            caller: "eve".to_owned(),
            ..key.clone()
        },
        ClientKey {
            route: "/kill".to_owned(),
            ..key
        },
    ] {
        assert_eq!(
            ledger.answered(&other).await.unwrap(),
            None,
            "a key is its caller's, for one route"
        );
    }
    what_stops_is_never_left_out(&*ledger).await;
    assert_eq!(
        told(&*ledger, Change::of(keyed("d", "x"))).await.answer,
        Some(replayed)
    );
}

/// A level in the place of others: its share, the levels it ends, and what becomes of it under the
/// key of its first answer and under that of another request.
type InThePlace = (
    &'static str,
    Option<f64>,
    &'static [&'static str],
    &'static str,
    &'static str,
);

const UNDER_A_USED_KEY: [InThePlace; 8] = [
    ("a lower one", Some(0.6), &["high"], "replayed", "refused"),
    ("none", None, &["high"], "replayed", "refused"),
    (
        "one between two",
        Some(0.7),
        &["low", "high"],
        "replayed",
        "refused",
    ),
    ("one as high", Some(0.8), &["high"], "replayed", "done"),
    ("a higher one", Some(0.9), &["low", "high"], "done", "done"),
    (
        "a higher one than one that is not here yet",
        Some(0.9),
        &["unheard of"],
        "done",
        "done",
    ),
    (
        "a lower one than one that has ended",
        Some(0.6),
        &["over"],
        "done",
        "done",
    ),
    (
        "a lower one that ends nothing",
        Some(0.1),
        &[],
        "done",
        "done",
    ),
];

/// What a level in the place of others is under the key that the first level was answered by, and
/// under the key of another request.
pub(crate) async fn a_used_key_lets_a_level_close_and_none_open(backend: &dyn Backend) {
    let ledger = backend.open();
    let order = |taken: Option<ScopedHold>, ended: &[&str], key: Option<(&str, &str)>| {
        let mut record = record("control");
        let of = |(key, digest): (&str, &str)| ClientKey {
            digest: digest.to_owned(),
            ..client_key(key, 86_400)
        };
        record.answer.key = key.map(of);
        let (holds_taken, holds_ended) = (
            taken.into_iter().collect(),
            ended.iter().copied().map(epoch).collect(),
        );
        Change {
            holds_taken,
            holds_ended,
            ..Change::of(record)
        }
    };
    for (what, taken, ended, again, other) in UNDER_A_USED_KEY {
        for (digest, expected) in [("d", again), ("another", other)] {
            let id = format!("{what} {digest}");
            let of = |name: &str| format!("{id} {name}");
            let names: Vec<_> = ended.iter().map(|name| of(name)).collect();
            let ended: Vec<_> = names.iter().map(String::as_str).collect();
            for (name, share) in [("high", 0.8), ("low", 0.3), ("over", 0.8)] {
                told(&*ledger, order(Some(at_least(&of(name), share)), &[], None)).await;
            }
            told(&*ledger, ending(&of("over"))).await;
            told(&*ledger, order(None, &[], Some((&id, "d")))).await;
            let before = ledger.stored().await.unwrap().holds;
            let taken = taken.map(|share| at_least(&id, share));
            let became = ledger
                .commit(order(taken, &ended, Some((&id, digest))))
                .await;
            let moved = ledger.stored().await.unwrap().holds != before;
            let became = match &became {
                Ok(receipt) if receipt.repeated => "replayed",
                Ok(_) => "done",
                Err(_) => "refused",
            };
            assert_eq!((became, moved), (expected, expected == "done"), "{id}");
        }
    }
}

/// A throttle that was never declared stands still: whatever is less than that opens it.
pub(crate) async fn a_first_declaration_is_not_made_under_the_key_of_another_request(
    backend: &dyn Backend,
) {
    let ledger = backend.open();
    let declares = |level: f64, digest: &str| {
        let mut record = record("control");
        record.answer.key = Some(ClientKey {
            digest: digest.to_owned(),
            ..client_key("k", 86_400)
        });
        Change {
            throttles: vec![row(1, level)],
            ..Change::of(record)
        }
    };
    told(
        &*ledger,
        Change {
            throttles: vec![],
            ..declares(0.5, "d")
        },
    )
    .await;
    assert!(is_refused(&ledger.commit(declares(0.9, "another")).await));
    assert!(told(&*ledger, declares(0.9, "d")).await.repeated);
    assert_eq!(ledger.stored().await.unwrap().throttles, []);
    assert!(
        !told(&*ledger, declares(1.0, "another")).await.repeated,
        "a full stop opens nothing"
    );
}

/// A kill whose key could not be looked up, and that the ledger finds used.
pub(crate) async fn a_kill_under_a_used_key_is_recorded_unless_it_tells_of_the_same_kill(
    backend: &dyn Backend,
) {
    let ledger = backend.open();
    let key = client_key("k", 86_400);
    let of = |kill: &str| {
        let mut record = record("kill");
        record.answer.key = Some(key.clone());
        record.answer.body.insert("epoch".to_owned(), kill.into());
        record
    };
    let stops = |epoch: &str| Change {
        holds_taken: vec![kill(epoch)],
        ..Change::of(of(epoch))
    };
    let first = told(&*ledger, stops("e1")).await.answer.unwrap();
    // It leans on what holds.
    let same = told(&*ledger, Change::of(of("e1"))).await;
    assert_eq!((same.repeated, same.audit.len()), (true, 0));
    assert_eq!(
        same.answer,
        Some(CommandResponse {
            replayed: true,
            ..first
        })
    );
    // And on another one, since that is over: a retry hears of the one that holds.
    told(&*ledger, ending("e1")).await;
    told(&*ledger, taking("e2")).await;
    let other = told(&*ledger, Change::of(of("e2"))).await;
    let answer = other.answer.unwrap();
    assert_eq!(
        (
            other.repeated,
            other.audit.as_slice(),
            &answer.body["audit_id"]
        ),
        (false, &[4][..], &4.into())
    );
    assert_eq!(ledger.answered(&key).await.unwrap(), Some(answer));
    // One that is taken anew likewise.
    told(&*ledger, ending("e2")).await;
    let anew = told(&*ledger, stops("e3")).await;
    assert_eq!(
        (anew.repeated, live(&*ledger).await),
        (false, vec!["e3".to_owned()])
    );
    assert_eq!(ledger.answered(&key).await.unwrap(), anew.answer);
    // Somebody else may have brought it: whoever brings it again hears its number too.
    told(&*ledger, ending("e3")).await;
    let last = stops("e4");
    let brought = told(&*ledger, last.clone()).await;
    let again = told(&*ledger, last).await;
    assert_eq!((again.repeated, again.audit.len()), (true, 0));
    assert_eq!(again.answer, brought.answer);
}

/// It was in force when its client was told so, and the ledger hears of it only now.
pub(crate) async fn what_its_client_was_told_is_recorded_under_a_used_key_too(
    backend: &dyn Backend,
) {
    let ledger = backend.open();
    let keyed = || {
        let mut record = record("control");
        record.answer.key = Some(client_key("k", 86_400));
        record
    };
    told(&*ledger, Change::of(keyed())).await;
    let mut owed = keyed();
    owed.answer.sent = Some(r#"{"audit":"pending"}"#.to_owned());
    owed.answer.told = true;
    let entered = told(&*ledger, Change::of(owed.clone())).await;
    assert_eq!(
        (entered.repeated, entered.audit.as_slice()),
        (false, &[2][..])
    );
    let kept = ledger
        .answered(&client_key("k", 86_400))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.sent, owed.answer.sent, "a retry hears the same");
    assert!(told(&*ledger, Change::of(owed)).await.repeated, "once");
}

pub(crate) async fn a_retry_hears_what_was_told_and_a_refusal_is_kept_for_nobody(
    backend: &dyn Backend,
) {
    let ledger = backend.open();
    let mut late = record("kill");
    late.answer.key = Some(client_key("k", 86_400));
    let mut owed = late.clone();
    // The ledger had it after all, though its client was told that it had not yet.
    assert!(!told(&*ledger, Change::of(late)).await.repeated);
    owed.answer.sent = Some(r#"{"audit":"pending","share":0.30000000000000004}"#.to_owned());
    // What a process before wrote down was perhaps never sent: the first answer stays.
    assert!(told(&*ledger, Change::of(owed.clone())).await.repeated);
    let kept = ledger
        .answered(&client_key("k", 86_400))
        .await
        .unwrap()
        .unwrap();
    assert_ne!(kept.sent, owed.answer.sent);
    owed.answer.told = true;
    assert!(told(&*ledger, Change::of(owed.clone())).await.repeated);
    let kept = ledger
        .answered(&client_key("k", 86_400))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.sent, owed.answer.sent);

    // The same request was done again, since its key could not be looked up: its answer stays.
    let mut newer = record("kill");
    newer.answer = CommandResponse {
        at: owed.answer.at + SignedDuration::from_secs(1),
        sent: Some(r#"{"audit":"recorded"}"#.to_owned()),
        ..owed.answer.clone()
    };
    assert!(!told(&*ledger, Change::of(newer.clone())).await.repeated);
    assert!(told(&*ledger, Change::of(owed)).await.repeated);
    let kept = ledger
        .answered(&client_key("k", 86_400))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.sent, newer.answer.sent);

    let mut refused = record("control_refused");
    refused.answer.key = Some(client_key("r", 86_400));
    refused.answer.status = 409;
    told(&*ledger, Change::of(refused)).await;
    assert_eq!(
        ledger.answered(&client_key("r", 86_400)).await.unwrap(),
        None
    );
}
