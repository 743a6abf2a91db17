//! What a kill leans on, and what is told late: neither a hold that ends by another door, nor a
//! level that was overtaken.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use echo_phoenix::decide::follow::Seen;
use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::target::GateSpec;
use echo_phoenix::domain::throttle::{Declared, ThrottleName};
use echo_phoenix::latch::watch::View;
use echo_phoenix::latch::{AuditState, Latch, LevelOrder};
use echo_phoenix::ports::{Desired, Effect, Journal, JournalEntry, Ledger, ReviveFilter, Stored};
use echo_phoenix::store::{FileJournal, SqliteLedger};

use super::{NOW, open_gate, order};
use crate::ledger_suite::declared::{AWAY, Fickle, WELL};
use crate::ledger_suite::values::{level, record};

fn tightens(to: f64) -> LevelOrder {
    LevelOrder {
        throttle: ThrottleName::default_throttle(),
        level: level(to),
        measured: None,
        at: NOW.elapsed,
        record: record("control"),
    }
}

#[tokio::test]
async fn a_level_that_is_recorded_late_does_not_undo_a_safer_one_that_came_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Fickle::new(Arc::new(
        SqliteLedger::open(folder.path()).unwrap().0,
    )));
    let desired = Arc::new(LedgerDesired::new(
        Arc::<Fickle>::clone(&ledger),
        Stored::default(),
    ));
    let latch = Arc::new(Latch::new(
        open_gate(),
        Arc::<LedgerDesired>::clone(&desired),
        Arc::<LedgerDesired>::clone(&desired),
        None,
        Vec::new(),
    ));
    latch.declare(tightens(0.0)).await.unwrap();
    ledger.mood.store(AWAY, Ordering::SeqCst);
    assert_eq!(
        latch.declare(tightens(0.5)).await.unwrap().audit,
        AuditState::Pending
    );
    ledger.mood.store(WELL, Ordering::SeqCst);
    assert_eq!(
        latch.declare(tightens(0.9)).await.unwrap().audit,
        AuditState::Recorded
    );
    assert!(latch.retry_pending().await);
    assert_eq!(desired.declared()[0].level, level(0.9));
    assert_eq!(
        ledger.stored().await.unwrap().throttles[0].declared,
        level(0.9)
    );
    assert_eq!(super::audit(folder.path()).len(), 3, "each is recorded");
}

fn held(source: Source) -> Hold {
    let text = || "test".to_owned();
    let epoch = Epoch("theirs".to_owned());
    Hold {
        epoch,
        bite: HoldEffect::Kill,
        source,
        reason: text(),
        operator: text(),
        taken_at: NOW.wall,
    }
}

/// A start without the ledger goes by the journal, which may have what has ended since.
#[tokio::test]
async fn a_kill_of_the_journal_that_has_ended_goes_once_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(SqliteLedger::open(folder.path()).unwrap().0);
    let (held, command) = (
        ScopedHold {
            scope: Scope::All,
            hold: held(Source::Rest),
        },
        record("kill"),
    );
    let earlier = LedgerDesired::new(Arc::<SqliteLedger>::clone(&ledger), Stored::default());
    earlier.take(held.clone(), command.clone()).await.unwrap();
    let all = ReviveFilter {
        scope: &Scope::All,
        epoch: None,
        spared: &|_| false,
        alone: &[],
    };
    assert_eq!(
        earlier.end(all, record("revive")).await.unwrap().ended,
        std::slice::from_ref(&held.hold.epoch)
    );

    let journal = FileJournal::open(&folder.path().join("journal")).unwrap();
    let entry = JournalEntry {
        effect: Effect::Hold(Box::new(held.clone())),
        record: command,
    };
    journal.append(&entry).await.unwrap();
    let (gate, desired) = (
        open_gate(),
        Arc::new(LedgerDesired::new(ledger, Stored::default())),
    );
    desired.owes(&entry);
    gate.hold(&Scope::All, &held.hold, NOW.elapsed);
    let latch = Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        Arc::<LedgerDesired>::clone(&desired),
        Some(Arc::new(journal)),
        vec![held],
    );
    let latch = Arc::new(latch);
    let early = latch.kill(order("early")).await.unwrap();
    assert_eq!(
        early.epoch.0, "early",
        "nobody knows yet whether the other one is over"
    );
    assert!(latch.retry_pending().await);
    let holds = || {
        gate.standing(&ThrottleName::default_throttle())
            .unwrap()
            .holds
    };
    assert_eq!(
        (holds(), desired.declared()[0].holds.len()),
        (vec![early.epoch.clone()], 1)
    );
    assert_eq!(latch.kill(order("late")).await.unwrap().epoch, early.epoch);
    assert_eq!(
        latch
            .revive(Scope::All, None, record("revive"))
            .await
            .unwrap()
            .ended,
        [early.epoch]
    );
    assert!(holds().is_empty());
}

/// Two on call hit it together: the second says what became of the first one's kill, and not what
/// was so before it was known.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_kills_at_once_both_are_told_that_they_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path()).unwrap().0;
    let desired = Arc::new(LedgerDesired::new(Arc::new(ledger), Stored::default()));
    let journal = FileJournal::open(&folder.path().join("journal")).unwrap();
    let latch = Arc::new(Latch::new(
        open_gate(),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        Some(Arc::new(journal)),
        Vec::new(),
    ));
    for round in 0..20 {
        let kill = |who: &str| {
            let (latch, order) = (Arc::clone(&latch), order(&format!("{who}-{round}")));
            tokio::spawn(async move { latch.kill(order).await.unwrap() })
        };
        let (one, other) = (kill("one"), kill("other"));
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert_eq!(one.epoch, other.epoch);
        for killed in [one, other] {
            assert_eq!(
                (killed.audit, killed.durable),
                (AuditState::Recorded, true),
                "round {round}: {}",
                killed.epoch
            );
        }
        latch
            .revive(Scope::All, None, record("revive"))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn no_kill_leans_on_one_that_ends_by_another_door() {
    let manifest = Source::Manifest;
    let object = Source::Override {
        namespace: None,
        name: "stop".to_owned(),
        uid: "1".to_owned(),
        namespace_uid: None,
        definition_uid: None,
    };
    for source in [manifest, object] {
        let folder = tempfile::tempdir().unwrap();
        let ledger = SqliteLedger::open(folder.path()).unwrap().0;
        let known = ScopedHold {
            scope: Scope::All,
            hold: held(source),
        };
        let desired = Arc::new(LedgerDesired::new(Arc::new(ledger), Stored::default()));
        let latch = Arc::new(Latch::new(
            open_gate(),
            Arc::<LedgerDesired>::clone(&desired),
            desired,
            None,
            vec![known],
        ));
        let killed = latch.kill(order("mine")).await.unwrap();
        assert_eq!(
            killed.epoch.0, "mine",
            "what ends the other one must not end this"
        );
    }
}

#[tokio::test]
async fn no_kill_leans_on_one_that_has_ended_by_another_door() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path()).unwrap().0;
    let desired = Arc::new(LedgerDesired::new(Arc::new(ledger), Stored::default()));
    let latch = Arc::new(Latch::new(
        open_gate(),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        None,
        Vec::new(),
    ));
    for (epoch, again) in [("k1", "k2"), ("k2", "k3")] {
        assert_eq!(latch.kill(order(epoch)).await.unwrap().epoch.0, epoch);
        let ended = vec![Epoch(epoch.to_owned())];
        if epoch == "k1" {
            let seen = Seen {
                generation: 1,
                asked: Level::OPEN,
                killed: false,
                effective: Some((Level::OPEN, 1)),
            };
            let (name, gate) = (ThrottleName::default_throttle(), GateSpec::default());
            latch.holds().follow(
                &View {
                    name,
                    gate,
                    seen,
                    kills: Vec::new(),
                    ended,
                },
                NOW.elapsed,
                &|_| false,
            );
        } else {
            latch.holds().let_go(&ended);
        }
        assert_eq!(
            latch.kill(order(again)).await.unwrap().epoch.0,
            again,
            "the one before is over"
        );
        latch.holds().let_go(&[Epoch(again.to_owned())]);
    }
}

/// Somebody copies the name of a kill's object in a namespace of their own: what they end or loosen
/// there moves nothing else.
#[tokio::test]
async fn a_copy_of_a_kill_takes_it_away_from_no_other_throttle() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path()).unwrap().0;
    let desired = Arc::new(LedgerDesired::new(Arc::new(ledger), Stored::default()));
    let gate = open_gate();
    let theirs = ThrottleName::in_namespace("evil", "foo");
    let opened = Seen {
        generation: 1,
        asked: Level::OPEN,
        killed: false,
        effective: Some((Level::OPEN, 1)),
    };
    let view = |ended| View {
        name: theirs.clone(),
        gate: GateSpec::default(),
        seen: opened,
        kills: Vec::new(),
        ended,
    };
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        desired,
        None,
        Vec::new(),
    ));
    latch
        .holds()
        .follow(&view(Vec::new()), NOW.elapsed, &|_| false);
    let killed = latch.kill(order("k1")).await.unwrap();
    assert_eq!(killed.throttles.len(), 2);

    // It asks for a level under the kill's id: the loop goes by the kill.
    let loose = Hold {
        epoch: killed.epoch.clone(),
        bite: HoldEffect::AtLeast(Level::OPEN),
        ..held(Source::Rest)
    };
    let declared = Arc::new(Declared {
        holds: vec![loose],
        ..Declared::bare(theirs.clone(), Level::OPEN)
    });
    assert!(
        latch
            .with_its_kills(declared)
            .holds
            .iter()
            .any(Hold::is_kill)
    );

    // It ends: there alone, and no kill leans on what is in doubt.
    latch
        .holds()
        .follow(&view(vec![killed.epoch.clone()]), NOW.elapsed, &|_| true);
    let default = Arc::new(Declared::bare(
        ThrottleName::default_throttle(),
        Level::OPEN,
    ));
    assert_eq!(latch.with_its_kills(default).holds.len(), 1);
    assert_eq!(gate.kills(&ThrottleName::default_throttle()).len(), 1);
    assert_eq!(latch.kill(order("k2")).await.unwrap().epoch.0, "k2");
}
