//! The loop over a real ledger and a real gate: nothing opens before its intent is durable, nothing
//! opens while killed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod owed;
mod own_loops;
mod slow;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use echo_phoenix::decide::law::Law;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::measurement::Measurement;
use echo_phoenix::domain::observation::Signals;
use echo_phoenix::domain::target::{GateSpec, TargetKind};
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::gate::{Gate, LevelSetting, Question};
use echo_phoenix::latch::{Latch, LevelOrder};
use echo_phoenix::ports::{Clock, Declarations, Desired, Ledger, Target};
use echo_phoenix::reconcile::{ReconcileContext, Reconciler};
use echo_phoenix::store::SqliteLedger;
use echo_phoenix::targets::gate::LocalGate;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::ledger_suite::declared::{AWAY, Fickle, WAITS, WELL};
use crate::ledger_suite::values::record;

/// Two clocks that a test sets: the wall clock may step, the monotonic one only goes on.
struct Manual(Mutex<(Timestamp, Duration)>);

impl Manual {
    fn advance(&self, by: Duration) {
        let mut both = self.0.lock().unwrap();
        *both = (both.0 + by, both.1 + by);
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

struct Service {
    ledger: Arc<Fickle>,
    desired: Arc<LedgerDesired>,
    gate: Arc<Gate>,
    latch: Arc<Latch>,
    clock: Arc<Manual>,
    reconciler: Reconciler,
    _folder: TempDir,
}

fn service() -> Service {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let ledger = Arc::new(Fickle::new(Arc::new(ledger)));
    let desired = Arc::new(LedgerDesired::new(
        Arc::<Fickle>::clone(&ledger),
        stored.clone(),
    ));
    let gate = Arc::new(Gate::default());
    let setting = LevelSetting {
        level: Level::STOP,
        reason: Reason::Target,
        generation: 1,
        at: Duration::ZERO,
    };
    gate.declare(
        &ThrottleName::default_throttle(),
        &GateSpec::default(),
        setting,
    );
    let manual = Arc::new(Manual(Mutex::new((
        Timestamp::from_second(1_800_000_000).unwrap(),
        Duration::ZERO,
    ))));
    let clock: Arc<dyn Clock> = Arc::<Manual>::clone(&manual);
    let local: Arc<dyn Target> = Arc::new(LocalGate::new(Arc::clone(&gate), Arc::clone(&clock)));
    let as_port: Arc<dyn Desired> = Arc::<LedgerDesired>::clone(&desired);
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::clone(&as_port),
        Arc::<LedgerDesired>::clone(&desired),
        None,
        Vec::new(),
    ));
    let parts = ReconcileContext {
        desired: as_port,
        leadership: Arc::<LedgerDesired>::clone(&desired),
        wake: Arc::<LedgerDesired>::clone(&desired),
        ledger: Arc::<Fickle>::clone(&ledger),
        latch: Arc::clone(&latch),
        gate: Arc::clone(&gate),
        targets: HashMap::from([(TargetKind::Gate, local)]),
        report: None,
        clock,
        law: Law::default(),
    };
    Service {
        ledger,
        desired,
        gate,
        latch,
        clock: manual,
        reconciler: Reconciler::new(parts, &stored),
        _folder: folder,
    }
}

impl Service {
    fn level(&self) -> Level {
        self.gate
            .standing(&ThrottleName::default_throttle())
            .unwrap()
            .level
    }

    async fn declare(&self, level: Level) {
        self.declare_by(level, None).await;
    }

    async fn declare_by(&self, level: Level, measured: Option<Measurement>) {
        self.desired
            .declare(
                &ThrottleName::default_throttle(),
                level,
                measured,
                record("control"),
            )
            .await
            .unwrap();
    }

    /// Time passes, and the loop looks once a second.
    async fn pass_for(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.reconciler.pass().await;
        }
    }

    /// The wall clock is set.
    fn step(&self, seconds: i64) {
        self.clock.0.lock().unwrap().0 += SignedDuration::from_secs(seconds);
    }

    /// So many clients ask.
    fn ask(&self, times: u32) {
        for _ in 0..times {
            self.gate
                .ask("default", Question::default(), self.clock.moment());
        }
    }

    fn measured(&self, error_rate: f64) -> Measurement {
        let signals = Signals {
            error_rate,
            requests_per_minute: 6_000.0,
            ..Signals::calm(Level::STOP)
        };
        Measurement {
            signals,
            at: self.clock.elapsed(),
            source: None,
        }
    }

    fn ledger_is_away(&self, away: bool) {
        self.ledger
            .mood
            .store(if away { AWAY } else { WELL }, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn nothing_opens_before_the_ledger_has_it() {
    let mut service = service();
    service.reconciler.pass().await;
    service.pass_for(2).await;
    service.declare(Level::OPEN).await;
    service.ledger_is_away(true);
    service.reconciler.pass().await;
    assert_eq!(
        service.level(),
        Level::STOP,
        "E2: no effect before its intent is durable"
    );
    service.ledger_is_away(false);
    service.reconciler.pass().await;
    assert_eq!(service.level(), Level::OPEN);
    let stored = service.ledger.stored().await.unwrap();
    assert_eq!(
        stored.throttles[0].effective,
        Level::OPEN,
        "and what opened is in the ledger"
    );
}

#[tokio::test]
async fn closing_waits_for_nothing() {
    let mut service = service();
    service.declare(Level::OPEN).await;
    service.reconciler.pass().await;
    service.pass_for(2).await;
    service.ledger_is_away(true);
    let half = Level::new(0.5).unwrap();
    service
        .desired
        .declare(
            &ThrottleName::default_throttle(),
            half,
            None,
            record("control"),
        )
        .await
        .unwrap_err();
    service.reconciler.pass().await;
    assert_eq!(service.level(), half);
}

#[tokio::test]
async fn the_loop_opens_nothing_while_a_hold_is_declared() {
    let mut service = service();
    service.declare(Level::OPEN).await;
    let hold = Hold {
        epoch: Epoch("e".to_owned()),
        bite: HoldEffect::Kill,
        source: Source::Rest,
        reason: "r".to_owned(),
        operator: "o".to_owned(),
        taken_at: Timestamp::UNIX_EPOCH,
    };
    service
        .desired
        .take(
            ScopedHold {
                scope: Scope::All,
                hold,
            },
            record("control"),
        )
        .await
        .unwrap();
    // Even if the gate itself had lost the hold.
    service.reconciler.pass().await;
    assert_eq!(service.level(), Level::STOP, "E3");
}

/// A command is one act: the first look after it sees what was declared and what was measured.
#[tokio::test]
async fn the_loop_never_opens_on_half_a_command() {
    let mut service = service();
    service.reconciler.pass().await;
    service.pass_for(2).await;
    service
        .declare_by(Level::OPEN, Some(service.measured(0.9)))
        .await;
    service.reconciler.pass().await;
    assert_eq!(service.level(), Level::STOP, "nine of ten fail: held");
    service.pass_for(15).await;
    assert_eq!(service.level(), Level::STOP, "for three ticks");
    service.pass_for(1).await;
    assert_eq!(
        service.level(),
        Level::OPEN,
        "then nobody says anything any more, and nobody waits"
    );
}

/// Steps of an hour and of a year, either way, move no level: not in a ramp, and not what was
/// measured.
#[tokio::test]
async fn a_step_of_the_wall_clock_moves_no_level() {
    const YEAR: i64 = 365 * 86_400;
    for step in [3_600, -3_600, YEAR, -YEAR] {
        let mut service = service();
        service.ask(1_000);
        service.reconciler.pass().await;
        service.ask(1_000);
        service.pass_for(2).await;
        service.declare(Level::OPEN).await;
        service.pass_for(5).await;
        let before = service.level();
        assert!(
            before < Level::STOP && before > Level::new(0.8).unwrap(),
            "the ramp runs: {before}"
        );
        service.step(step);
        service.reconciler.pass().await;
        assert_eq!(service.level(), before, "{step} s: nothing is earned by it");
        service.pass_for(1).await;
        let earned = before.fraction() - service.level().fraction();
        assert!(
            (earned - 0.02).abs() < 1e-9,
            "{step} s: a second earns a second's worth, {earned}"
        );

        service
            .declare_by(Level::OPEN, Some(service.measured(0.9)))
            .await;
        service.reconciler.pass().await;
        let held = service.level();
        service.step(step);
        service.pass_for(14).await;
        assert!(
            service.level() >= held,
            "{step} s: what was measured holds for its three ticks"
        );
        service.step(-step);
        service.pass_for(3).await;
        assert!(service.level() < held, "{step} s: and no longer");
    }
}

/// A kill that came and went between two looks left the gate shut: that was a stop, and it opens by
/// the ramp.
#[tokio::test]
async fn a_kill_that_no_look_saw_is_a_stop() {
    let mut service = service();
    service.declare(Level::OPEN).await;
    service.reconciler.pass().await;
    service.pass_for(3).await;
    assert_eq!(service.level(), Level::OPEN);
    let (name, epoch) = (ThrottleName::default_throttle(), Epoch("e".to_owned()));
    let hold = Hold {
        epoch: epoch.clone(),
        bite: HoldEffect::Kill,
        source: Source::Rest,
        reason: "r".to_owned(),
        operator: "o".to_owned(),
        taken_at: Timestamp::UNIX_EPOCH,
    };
    service
        .gate
        .hold(&Scope::All, &hold, service.clock.elapsed());
    service.ask(400);
    service.gate.release(&name, &epoch);
    service.reconciler.pass().await;
    assert_eq!(
        service.level(),
        Level::STOP,
        "it is not known yet who waits"
    );
    service.pass_for(4).await;
    assert_eq!(service.level(), Level::STOP);
    service.pass_for(3).await;
    assert!(
        service.level() < Level::STOP && service.level() > Level::new(0.9).unwrap(),
        "{}",
        service.level()
    );
    let stored = service.ledger.stored().await.unwrap();
    assert_eq!(
        stored.throttles[0].effective,
        service.level(),
        "and a restart begins there"
    );
    assert_eq!(
        stored.throttles[0]
            .offered
            .as_ref()
            .unwrap()
            .peak()
            .map(|rpm| rpm > 60.0),
        Some(true)
    );
}

/// A pass waits for the ledger, and a command that closes waits for nobody: what the pass decided
/// before it opens nothing. So it is also where the gate was tighter than the command asks, and the
/// pass was about to open beyond both.
#[tokio::test]
async fn what_was_tightened_while_a_pass_waits_for_the_ledger_stays() {
    for asked in [1.0, 0.9] {
        let asked = Level::new(asked).unwrap();
        let mut service = service();
        service.reconciler.pass().await;
        service.pass_for(2).await;
        service.declare(Level::new(0.6).unwrap()).await;
        let Service {
            ledger,
            gate,
            latch,
            clock,
            reconciler,
            ..
        } = &mut service;
        ledger.mood.store(WAITS, Ordering::SeqCst);
        let order = LevelOrder {
            throttle: ThrottleName::default_throttle(),
            level: asked,
            measured: None,
            at: clock.elapsed(),
            record: record("control"),
        };
        let tighten = async {
            ledger.waits.notified().await; // the pass's intent
            ledger.mood.store(WELL, Ordering::SeqCst);
            latch.declare(order).await.unwrap();
            ledger.goes_on.notify_one();
        };
        tokio::join!(reconciler.pass(), tighten);
        let standing = gate.standing(&ThrottleName::default_throttle()).unwrap();
        assert_eq!(
            standing.level,
            Level::STOP,
            "{asked}: the pass did not know of it"
        );
        service.pass_for(1).await;
        assert_eq!(service.level(), asked, "and the next one does");
        assert_eq!(
            service.ledger.stored().await.unwrap().throttles[0].effective,
            asked
        );
    }
}
