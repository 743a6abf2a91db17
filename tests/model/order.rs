//! The order of memory and journal: what counts as recorded is declared.

use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::audit::{AuditAction, AuditDraft, CommandRecord, CommandResponse};
use echo_phoenix::domain::hold::{Epoch, Scope};
use echo_phoenix::gate::Gate;
use echo_phoenix::latch::{KillOrder, Latch};
use echo_phoenix::ports::{Clock, Desired, Journal, JournalEntry, Ledger};
use echo_phoenix::store::SqliteLedger;

use crate::outside::Outside;

/// A journal that looks at what is declared when it is asked to write.
struct Looks {
    declared: Arc<LedgerDesired>,
    held: Mutex<Vec<bool>>,
}

#[async_trait]
impl Journal for Looks {
    async fn append(&self, entry: &JournalEntry) -> io::Result<()> {
        let hold = entry.clone().hold().unwrap();
        let state = self.declared.last_state();
        self.held.lock().unwrap().push(
            state
                .holds
                .iter()
                .any(|held| held.hold.epoch == hold.hold.epoch),
        );
        Ok(())
    }

    fn pending(&self) -> Vec<JournalEntry> {
        Vec::new()
    }

    async fn settle(&self, _once: &str) -> io::Result<()> {
        Ok(())
    }
}

/// What is kept of the state says how many records of the journal it knows of: it must have their
/// holds.
#[tokio::test]
async fn a_kill_is_in_what_is_kept_of_the_state_before_its_record_is_counted() {
    let outside = Outside::new();
    let ledger: Arc<dyn Ledger> = Arc::new(SqliteLedger::open(outside.folder.path()).unwrap().0);
    let declared = Arc::new(LedgerDesired::new(
        Arc::clone(&ledger),
        ledger.stored().await.unwrap(),
    ));
    let journal = Arc::new(Looks {
        declared: Arc::clone(&declared),
        held: Mutex::default(),
    });
    let (as_port, to_journal): (Arc<dyn Desired>, Arc<dyn Journal>) = (
        Arc::<LedgerDesired>::clone(&declared),
        Arc::<Looks>::clone(&journal),
    );
    let latch = Arc::new(Latch::new(
        Arc::new(Gate::default()),
        as_port,
        Arc::<LedgerDesired>::clone(&declared),
        Some(to_journal),
        Vec::new(),
    ));
    latch.restore(Clock::elapsed(&outside));
    let at = outside.moment();
    let record = CommandRecord {
        once: "one".to_owned(),
        audit: AuditDraft::new(at.wall, "model", AuditAction::Kill),
        answer: CommandResponse::new(200, serde_json::Map::default(), at.wall),
    };
    let (reason, operator) = ("model".to_owned(), "model".to_owned());
    let order = KillOrder {
        scope: Scope::All,
        reason,
        operator,
        epoch: Epoch("one".to_owned()),
        at,
        record,
    };
    latch.kill(order).await.unwrap();
    assert_eq!(*journal.held.lock().unwrap(), [true]);
}
