//! The loop while it owes commands to a ledger that takes none: it tells them again at its own
//! pace.

use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use echo_phoenix::domain::audit::{Change, ClientKey, CommandResponse, Receipt};
use echo_phoenix::domain::moment::Moment;
use echo_phoenix::domain::target::{Action, ReadBack, TargetSpec};
use echo_phoenix::domain::throttle::Declared;
use echo_phoenix::latch::KillOrder;
use echo_phoenix::ports::{LedgerError, OutboxRow, Stored, TargetError, Wake};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

/// Passes after which a loop is stopped that wakes itself: then no time passes, and nothing else
/// ends it.
const SPINS: usize = 1_000;
/// What counts as few in 10 s: two a second.
const FEW: usize = 20;

/// A gate that counts passes.
struct Counted {
    gate: LocalGate,
    passes: AtomicUsize,
    stop: CancellationToken,
}

#[async_trait]
impl Target for Counted {
    fn begin(&self, _throttle: &ThrottleName) {
        if self.passes.fetch_add(1, Ordering::SeqCst) >= SPINS {
            self.stop.cancel();
        }
    }

    async fn read(&self, throttle: &Declared, spec: &TargetSpec) -> Result<ReadBack, TargetError> {
        self.gate.read(throttle, spec).await
    }

    async fn apply(&self, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
        self.gate.apply(throttle, action).await
    }
}

/// A ledger that takes nothing, and says so at once.
struct Away;

fn away<T>() -> Result<T, LedgerError> {
    Err(LedgerError::Unavailable("away".to_owned()))
}

#[async_trait]
impl Ledger for Away {
    async fn commit(&self, _change: Change) -> Result<Receipt, LedgerError> {
        away()
    }

    async fn stored(&self) -> Result<Stored, LedgerError> {
        away()
    }

    async fn check(&self) -> Result<(), LedgerError> {
        away()
    }

    async fn has(&self, _once: &str) -> Result<bool, LedgerError> {
        away()
    }

    async fn owed(&self, _limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        away()
    }

    async fn delivered(&self, _rows: &[OutboxRow]) -> Result<(), LedgerError> {
        away()
    }

    async fn answered(&self, _key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        away()
    }
}

fn order(epoch: &str) -> KillOrder {
    let text = || "test".to_owned();
    let at = Moment {
        wall: Timestamp::UNIX_EPOCH,
        elapsed: Duration::ZERO,
    };
    let epoch = Epoch(epoch.to_owned());
    KillOrder {
        scope: Scope::All,
        reason: text(),
        operator: text(),
        epoch,
        at,
        record: record("kill"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_owes_a_kill_to_a_ledger_that_fails_at_once_does_not_wake_itself() {
    let desired = Arc::new(LedgerDesired::new(Arc::new(Away), Stored::default()));
    let as_port: Arc<dyn Desired> = Arc::<LedgerDesired>::clone(&desired);
    let gate = Arc::new(Gate::default());
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::clone(&as_port),
        Arc::<LedgerDesired>::clone(&desired),
        None,
        Vec::new(),
    ));
    latch.restore(Duration::ZERO);
    latch.kill(order("owed")).await.unwrap();
    assert_eq!(latch.lacking().in_memory, 1);

    let clock: Arc<dyn Clock> =
        Arc::new(Manual(Mutex::new((Timestamp::UNIX_EPOCH, Duration::ZERO))));
    let (stop, passes) = (CancellationToken::new(), AtomicUsize::new(0));
    let local = LocalGate::new(Arc::clone(&gate), Arc::clone(&clock));
    let counted = Arc::new(Counted {
        gate: local,
        passes,
        stop: stop.clone(),
    });
    let target: Arc<dyn Target> = Arc::<Counted>::clone(&counted);
    let parts = ReconcileContext {
        desired: as_port,
        leadership: Arc::<LedgerDesired>::clone(&desired),
        wake: desired,
        ledger: Arc::new(Away),
        latch: Arc::clone(&latch),
        gate,
        targets: HashMap::from([(TargetKind::Gate, target)]),
        report: None,
        clock,
        law: Law::default(),
    };
    let _ended = timeout(
        Duration::from_secs(10),
        Reconciler::new(parts, &Stored::default()).run(stop),
    )
    .await;
    let passes = counted.passes.load(Ordering::SeqCst);
    assert!((2..=FEW).contains(&passes), "{passes} passes in 10 s");
}

/// Whatever a hold waits for, the loop has heard of it.
#[tokio::test(start_paused = true)]
async fn a_hold_that_is_new_wakes_the_loop_once() {
    let desired = LedgerDesired::new(Arc::new(Away), Stored::default());
    let held = crate::ledger_suite::values::kill("new");
    let wakes = async || {
        timeout(Duration::from_secs(1), desired.woken())
            .await
            .is_ok()
    };
    desired.hold(&held, &record("kill"));
    assert!(!wakes().await, "the gates have told the loop");
    desired.take(held, record("kill")).await.unwrap_err();
    assert!(!wakes().await, "it is known");
    desired
        .take(crate::ledger_suite::values::kill("other"), record("kill"))
        .await
        .unwrap_err();
    assert!(wakes().await);
}
