//! Asking the ledger: how long anybody waits for it, and what is known of a change that it has not
//! answered.
//!
//! Knows nothing of what is declared but that memory may lack it.

use std::time::Duration;

use super::LedgerDesired;
use super::state::DeclaredState;
use crate::domain::audit::{Change, CommandRecord, Receipt};
use crate::domain::hold::ScopedHold;
use crate::ports::{DesiredError, HoldTaken, LedgerError, Stored};
use crate::sync::{Mutex, timeout};

/// How long a door waits for the ledger before it says that the ledger is away.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How long the ledger may take to say what became of a change.
const UNDECIDED: Duration = Duration::from_secs(4);

impl LedgerDesired {
    /// A ledger bounds its own wait, and knows what it has begun; whoever answers later than that
    /// is not known to have.
    pub(super) async fn commit(&self, change: Change) -> Result<Receipt, DesiredError> {
        let mut doubt = (!change.throttles.is_empty()).then_some(Doubt(Some(&self.state)));
        let answer = timeout(UNDECIDED, self.ledger.commit(change)).await;
        let answer = answer.unwrap_or(Err(LedgerError::Undecided));
        let is_known = match &answer {
            // It was declared when it came first; what holds now is the ledger's to say.
            Ok(receipt) => !receipt.repeated,
            Err(LedgerError::Unavailable(_) | LedgerError::Refused(_)) => true,
            Err(LedgerError::Undecided | LedgerError::Conflict(_)) => false,
        };
        if let Some(doubt) = doubt.as_mut().filter(|_| is_known) {
            doubt.0 = None;
        }
        answer.map_err(unavailable)
    }

    pub(super) async fn stored(&self) -> Result<Stored, DesiredError> {
        timeout(PATIENCE, self.ledger.stored())
            .await
            .unwrap_or_else(|_| Err(away()))
            .map_err(unavailable)
    }

    /// What the ledger knows once all that was begun is decided: a look that comes earlier would
    /// miss what lands after it.
    pub(super) async fn decided(&self) -> Result<Stored, DesiredError> {
        timeout(PATIENCE, self.ledger.check())
            .await
            .unwrap_or_else(|_| Err(away()))
            .map_err(unavailable)?;
        self.stored().await
    }

    /// Whether it has the record of this id.
    pub(super) async fn has(&self, once: &str) -> Result<bool, DesiredError> {
        timeout(PATIENCE, self.ledger.has(once))
            .await
            .unwrap_or_else(|_| Err(away()))
            .map_err(unavailable)
    }

    /// Brings a hold that is in memory into the ledger.
    pub(super) async fn record(
        &self,
        hold: ScopedHold,
        record: CommandRecord,
    ) -> Result<HoldTaken, DesiredError> {
        let epoch = hold.hold.epoch.clone();
        let asked = record.answer.clone();
        let receipt = self
            .commit(Change {
                holds_taken: vec![hold],
                ..Change::of(record)
            })
            .await?;
        let mut state = self.state.lock();
        state.recorded(&epoch);
        let over = receipt.over.contains(&epoch);
        if over {
            state.release(std::slice::from_ref(&epoch));
        }
        Ok(HoldTaken {
            answer: receipt.answer.unwrap_or(asked),
            over,
        })
    }
}

/// A declaration on its way to the ledger: unless it is known what became of it, the ledger may
/// have one that memory has not.
struct Doubt<'a>(Option<&'a Mutex<DeclaredState>>);

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.0 {
            state.lock().unsure = true;
        }
    }
}

fn away() -> LedgerError {
    LedgerError::Unavailable(format!("it did not answer within {} s", PATIENCE.as_secs()))
}

fn unavailable(error: LedgerError) -> DesiredError {
    match error {
        LedgerError::Undecided => DesiredError::Undecided,
        error => DesiredError::Unavailable(error.to_string()),
    }
}
