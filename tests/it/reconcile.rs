//! The loop over a real ledger and a real gate: nothing opens before its intent is durable, nothing opens while killed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use echo_phoenix::decide::law::Law;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::hold::{Bite, Epoch, Hold, Scope, ScopedHold, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::throttle::{GateSpec, TargetKind, ThrottleName};
use echo_phoenix::gate::{Gate, Setting};
use echo_phoenix::latch::Latch;
use echo_phoenix::ports::{Clock, Desired, Ledger, Target};
use echo_phoenix::reconcile::{Parts, Reconciler};
use echo_phoenix::store::{LedgerDesired, SqliteLedger};
use echo_phoenix::targets::gate::LocalGate;
use jiff::Timestamp;
use tempfile::TempDir;

use crate::ledger_suite::declared::{AWAY, Fickle, WELL};
use crate::ledger_suite::values::record;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

struct Service {
    ledger: Arc<Fickle>,
    desired: Arc<LedgerDesired>,
    gate: Arc<Gate>,
    reconciler: Reconciler,
    _folder: TempDir,
}

fn service() -> Service {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let ledger = Arc::new(Fickle { ledger: Arc::new(ledger), mood: AtomicU8::new(WELL) });
    let desired = Arc::new(LedgerDesired::new(Arc::<Fickle>::clone(&ledger), stored.clone()));
    let gate = Arc::new(Gate::default());
    let setting = Setting { level: Level::STOP, reason: Reason::Target, generation: 1, at: Duration::ZERO };
    gate.declare(&ThrottleName::default_throttle(), &GateSpec::default(), setting);
    let clock: Arc<dyn Clock> = Arc::new(Still);
    let local: Arc<dyn Target> = Arc::new(LocalGate::new(Arc::clone(&gate), Arc::clone(&clock)));
    let as_port: Arc<dyn Desired> = Arc::<LedgerDesired>::clone(&desired);
    let parts = Parts {
        desired: Arc::clone(&as_port),
        ledger: Arc::<Fickle>::clone(&ledger),
        latch: Arc::new(Latch::new(Arc::clone(&gate), as_port, None, Vec::new())),
        targets: HashMap::from([(TargetKind::Gate, local)]),
        report: None,
        clock,
        law: Law::default(),
    };
    Service { ledger, desired, gate, reconciler: Reconciler::new(parts, &stored), _folder: folder }
}

impl Service {
    fn level(&self) -> Level {
        self.gate.standing(&ThrottleName::default_throttle()).unwrap().level
    }

    async fn declare(&self, level: Level) {
        self.desired.declare(&ThrottleName::default_throttle(), level, None, record("control")).await.unwrap();
    }

    fn ledger_is_away(&self, away: bool) {
        self.ledger.mood.store(if away { AWAY } else { WELL }, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn nothing_opens_before_the_ledger_has_it() {
    let mut service = service();
    service.declare(Level::OPEN).await;
    service.ledger_is_away(true);
    service.reconciler.pass().await;
    assert_eq!(service.level(), Level::STOP, "E2: no effect before its intent is durable");
    service.ledger_is_away(false);
    service.reconciler.pass().await;
    assert_eq!(service.level(), Level::OPEN);
    let stored = service.ledger.stored().await.unwrap();
    assert_eq!(stored.throttles[0].effective, Level::OPEN, "and what opened is in the ledger");
}

#[tokio::test]
async fn closing_waits_for_nothing() {
    let mut service = service();
    service.declare(Level::OPEN).await;
    service.reconciler.pass().await;
    service.ledger_is_away(true);
    let half = Level::new(0.5).unwrap();
    service.desired.declare(&ThrottleName::default_throttle(), half, None, record("control")).await.unwrap_err();
    service.reconciler.pass().await;
    assert_eq!(service.level(), half);
}

#[tokio::test]
async fn the_loop_opens_nothing_while_a_hold_is_declared() {
    let mut service = service();
    service.declare(Level::OPEN).await;
    let hold = Hold {
        epoch: Epoch("e".to_owned()),
        bite: Bite::Kill,
        source: Source::Rest,
        reason: "r".to_owned(),
        operator: "o".to_owned(),
        taken_at: Timestamp::UNIX_EPOCH,
    };
    service.desired.take(ScopedHold { scope: Scope::All, hold }, record("control")).await.unwrap();
    // Even if the gate itself had lost the hold.
    service.reconciler.pass().await;
    assert_eq!(service.level(), Level::STOP, "E3");
}
