//! The kill path between kills and revivals that cross: what was acknowledged as killed stays killed.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it has tasks of its own"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use echo_phoenix::decide::follow::Seen;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::audit::{Answer, Change, Receipt};
use echo_phoenix::domain::hold::{Bite, Epoch, Hold, Scope, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::throttle::{GateSpec, ThrottleName};
use echo_phoenix::gate::{Gate, Setting};
use echo_phoenix::latch::watch::View;
use echo_phoenix::latch::{KillOrder, Latch};
use echo_phoenix::ports::{Ledger, LedgerError, Owed, Stored};
use echo_phoenix::store::{LedgerDesired, SqliteLedger};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::ledger_suite::values::record;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A ledger whose endings of holds wait until they are let through.
struct Slow {
    ledger: SqliteLedger,
    through: Semaphore,
}

#[async_trait]
impl Ledger for Slow {
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError> {
        if !change.holds_ended.is_empty() {
            self.through.acquire().await.unwrap().forget();
        }
        self.ledger.commit(change).await
    }

    async fn stored(&self) -> Result<Stored, LedgerError> {
        self.ledger.stored().await
    }

    async fn check(&self) -> Result<(), LedgerError> {
        self.ledger.check().await
    }

    async fn owed(&self, limit: usize) -> Result<Vec<Owed>, LedgerError> {
        self.ledger.owed(limit).await
    }

    async fn delivered(&self, rows: &[Owed]) -> Result<(), LedgerError> {
        self.ledger.delivered(rows).await
    }

    async fn answered(&self, key: &str) -> Result<Option<Answer>, LedgerError> {
        self.ledger.answered(key).await
    }
}

fn order(epoch: &str) -> KillOrder {
    let text = || "test".to_owned();
    let epoch = Epoch(epoch.to_owned());
    KillOrder { scope: Scope::All, reason: text(), operator: text(), epoch, at: NOW, record: record("kill") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_a_revival_is_not_revived_with_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let slow = Arc::new(Slow { ledger, through: Semaphore::new(0) });
    let desired = Arc::new(LedgerDesired::new(Arc::<Slow>::clone(&slow), stored));
    let gate = Arc::new(Gate::default());
    let name = ThrottleName::default_throttle();
    let setting = Setting { level: Level::OPEN, reason: Reason::None, generation: 1, at: NOW };
    gate.declare(&name, &GateSpec::default(), setting);
    let latch = Arc::new(Latch::new(Arc::clone(&gate), desired, None, Vec::new()));

    latch.kill(order("first")).await.unwrap();
    let reviving = tokio::spawn({
        let latch = Arc::clone(&latch);
        async move { latch.revive(Scope::All, None, record("revive")).await }
    });
    sleep(Duration::from_millis(50)).await; // it waits for the ledger now
    let second = latch.kill(order("second")).await.unwrap();
    slow.through.add_permits(1);
    let ended = reviving.await.unwrap().unwrap();
    assert_eq!(ended.ended, [Epoch("first".to_owned())]);
    assert_eq!(second.epoch, Epoch("second".to_owned()), "it must not lean on a hold that is ending");
    assert_eq!(gate.standing(&name).unwrap().holds, [second.epoch], "acknowledged as killed, so it is killed");

    let third = latch.kill(order("third")).await.unwrap();
    assert_eq!(third.epoch, Epoch("second".to_owned()), "killing twice is one kill again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_on_when_its_caller_hangs_up() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let slow = Arc::new(Slow { ledger, through: Semaphore::new(0) });
    let desired = Arc::new(LedgerDesired::new(Arc::<Slow>::clone(&slow), stored));
    let gate = Arc::new(Gate::default());
    let name = ThrottleName::default_throttle();
    gate.declare(
        &name,
        &GateSpec::default(),
        Setting { level: Level::OPEN, reason: Reason::None, generation: 1, at: NOW },
    );
    let latch = Arc::new(Latch::new(Arc::clone(&gate), desired, None, Vec::new()));
    latch.kill(order("first")).await.unwrap();
    let hung_up =
        tokio::time::timeout(Duration::from_millis(50), latch.revive(Scope::All, None, record("revive"))).await;
    assert!(hung_up.is_err());
    slow.through.add_permits(1);
    crate::support::eventually("the gate lets go of what the ledger has ended", Duration::from_secs(5), async || {
        gate.standing(&name).unwrap().holds.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watching_gate_keeps_a_hold_until_the_leader_says_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let gate = Arc::new(Gate::default());
    let latch = Latch::new(Arc::clone(&gate), Arc::new(LedgerDesired::new(Arc::new(ledger), stored)), None, Vec::new());
    let name = ThrottleName::in_namespace("shop", "checkout");
    let hold = Hold {
        epoch: Epoch("a".to_owned()),
        bite: Bite::Kill,
        source: Source::Spec,
        reason: "r".to_owned(),
        operator: "o".to_owned(),
        taken_at: NOW,
    };
    let seen = Seen { generation: 1, asked: Level::OPEN, killed: false, effective: Some((Level::OPEN, 1)) };
    let view = View { name: name.clone(), gate: GateSpec::default(), seen, kills: Vec::new(), ended: Vec::new() };
    let killed = View { seen: Seen { killed: true, ..seen }, kills: vec![hold.clone()], ..view.clone() };
    let holds = || gate.standing(&name).unwrap().holds.len();
    latch.follow(&killed, NOW);
    assert_eq!(holds(), 1);
    latch.follow(&view, NOW);
    assert_eq!(holds(), 1, "not to be seen any more is not to have ended");
    latch.follow(&View { ended: vec![hold.epoch.clone()], ..killed }, NOW);
    assert_eq!(holds(), 1, "what is seen bites");
    latch.follow(&View { ended: vec![hold.epoch], ..view }, NOW);
    assert_eq!(holds(), 0);
}
