//! A key that could not be looked up in time, so that the ledger alone finds that it was used: what
//! tightens or ends under it is in gate, memory and ledger, or in none of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::audit::{AuditAction, CommandRecord};
use echo_phoenix::domain::hold::{Epoch, Scope};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::moment::Moment;
use echo_phoenix::domain::target::GateSpec;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::gate::{Gate, LevelSetting};
use echo_phoenix::latch::{KillOrder, Latch, LevelOrder};
use echo_phoenix::ports::{Desired, Ledger};
use echo_phoenix::store::SqliteLedger;
use jiff::Timestamp;
use tempfile::TempDir;

use crate::ledger_suite::values::{client_key, level, record};

const NOW: Moment = Moment {
    wall: Timestamp::UNIX_EPOCH,
    elapsed: Duration::ZERO,
};

struct Service {
    _folder: TempDir,
    ledger: Arc<dyn Ledger>,
    desired: Arc<LedgerDesired>,
    gate: Arc<Gate>,
    latch: Arc<Latch>,
}

fn service() -> Service {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(ledger);
    let desired = Arc::new(LedgerDesired::new(Arc::clone(&ledger), stored));
    let gate = Arc::new(Gate::default());
    let setting = LevelSetting {
        level: Level::OPEN,
        reason: Reason::None,
        generation: 1,
        at: NOW.elapsed,
    };
    gate.declare(
        &ThrottleName::default_throttle(),
        &GateSpec::default(),
        setting,
    );
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::<LedgerDesired>::clone(&desired),
        Arc::<LedgerDesired>::clone(&desired),
        None,
        Vec::new(),
    ));
    Service {
        _folder: folder,
        ledger,
        desired,
        gate,
        latch,
    }
}

/// A command under this key, as a route does it that could not look the key up.
fn keyed(action: &str) -> CommandRecord {
    let mut record = record(action);
    record.answer.key = Some(client_key(action, 1000));
    record
}

impl Service {
    /// Declares a level; answers what memory and ledger agree on then.
    async fn declare(&self, fraction: f64, record: CommandRecord) -> Level {
        let throttle = ThrottleName::default_throttle();
        let order = LevelOrder {
            throttle,
            level: level(fraction),
            measured: None,
            at: NOW.elapsed,
            record,
        };
        self.latch.declare(order).await.unwrap();
        self.desired.refresh().await;
        let declared = self.desired.declared()[0].level;
        assert_eq!(
            self.ledger.stored().await.unwrap().throttles[0].declared,
            declared,
            "{fraction}"
        );
        declared
    }

    async fn kill(&self, epoch: &str) {
        let text = || "test".to_owned();
        let epoch = Epoch(epoch.to_owned());
        let order = KillOrder {
            scope: Scope::All,
            reason: text(),
            operator: text(),
            epoch,
            at: NOW,
            record: record("kill"),
        };
        self.latch.kill(order).await.unwrap();
    }

    /// What gate, memory and ledger hold.
    async fn holds(&self) -> [Vec<Epoch>; 3] {
        let gate = self
            .gate
            .standing(&ThrottleName::default_throttle())
            .unwrap()
            .holds;
        let memory = self.desired.declared()[0]
            .holds
            .iter()
            .map(|hold| hold.epoch.clone())
            .collect();
        let stored = self
            .ledger
            .stored()
            .await
            .unwrap()
            .holds
            .into_iter()
            .map(|held| held.hold.epoch)
            .collect();
        [gate, memory, stored]
    }
}

/// The answer to another request is no answer to this one.
#[tokio::test]
async fn what_opens_under_the_key_of_another_request_is_not_done_and_what_closes_is() {
    let service = service();
    let other = |action: &str| {
        let mut record = keyed("control");
        record.audit.action = AuditAction::of_word(action);
        record.answer.key.as_mut().unwrap().digest = "another".to_owned();
        record
    };
    let throttle = ThrottleName::default_throttle();
    let order = |fraction: f64, record| LevelOrder {
        throttle: throttle.clone(),
        level: level(fraction),
        measured: None,
        at: NOW.elapsed,
        record,
    };
    assert_eq!(service.declare(0.6, keyed("control")).await, level(0.6));
    let refused = service
        .latch
        .declare(order(0.3, other("control")))
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("Idempotency-Key was used for another request"),
        "{refused}"
    );
    assert_eq!(service.desired.declared()[0].level, level(0.6));
    assert_eq!(service.declare(0.8, other("control")).await, level(0.8));

    service.kill("first").await;
    let refused = service
        .latch
        .revive(Scope::All, None, other("revive"))
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("Idempotency-Key was used for another request"),
        "{refused}"
    );
    assert!(
        service
            .holds()
            .await
            .iter()
            .all(|holds| *holds == [Epoch("first".to_owned())])
    );
    let noted = service.latch.record(other("kill_refused")).await;
    assert_eq!(
        (noted.durable, service.latch.lacking()),
        (true, Default::default()),
        "it keeps nothing behind it"
    );
}

#[tokio::test]
async fn a_level_that_tightens_under_a_used_key_is_recorded_and_one_that_opens_is_not_declared_twice()
 {
    let service = service();
    assert_eq!(service.declare(0.6, keyed("control")).await, level(0.6));
    assert_eq!(service.declare(0.3, record("control")).await, level(0.3));
    assert_eq!(service.declare(0.6, keyed("control")).await, level(0.6));
    assert_eq!(service.declare(0.8, record("control")).await, level(0.8));
    assert_eq!(service.declare(0.6, keyed("control")).await, level(0.8));
}

#[tokio::test]
async fn a_revival_under_a_used_key_ends_nothing_that_it_did_not_end() {
    let service = service();
    service.kill("first").await;
    let first = service
        .latch
        .revive(Scope::All, None, keyed("revive"))
        .await
        .unwrap();
    assert!(
        !first.repeated && first.ended == [Epoch("first".to_owned())],
        "{first:?}"
    );
    service.kill("second").await;
    let again = service
        .latch
        .revive(Scope::All, None, keyed("revive"))
        .await
        .unwrap();
    assert!(again.repeated && again.ended.is_empty(), "{again:?}");
    assert_eq!(
        service.holds().await,
        [(); 3].map(|()| vec![Epoch("second".to_owned())])
    );
    let other = service
        .latch
        .revive(Scope::All, None, record("revive"))
        .await
        .unwrap();
    assert_eq!(
        (other.ended, service.holds().await),
        (vec![Epoch("second".to_owned())], [vec![], vec![], vec![]])
    );
}
