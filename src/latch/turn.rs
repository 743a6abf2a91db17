//! The turn of a command that opens: one of a kind at a time, with the key of its client.
//!
//! Who comes again under that key meanwhile is the same client with the same request: it is told
//! that it may still happen.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::Latch;
use super::persist::LEDGER_PATIENCE;
use crate::domain::audit::CommandRecord;
use crate::ports::DesiredError;
use crate::sync::timeout;

/// A turn; dropped when it is known what became of its command.
pub(super) struct Turn {
    _turn: OwnedMutexGuard<()>,
    latch: Arc<Latch>,
    once: String,
}

impl Turn {
    /// Waits for one, for as long as a command waits for the ledger; what keeps it from one says
    /// `why`.
    ///
    /// # Errors
    /// [`DesiredError::Undecided`] if a command under the same key has it; otherwise
    /// [`DesiredError::Unavailable`].
    pub(super) async fn wait(
        latch: &Arc<Latch>,
        turns: &Arc<tokio::sync::Mutex<()>>,
        record: &CommandRecord,
        why: &str,
    ) -> Result<Self, DesiredError> {
        let key = record.answer.key.as_ref();
        let Ok(turn) = timeout(LEDGER_PATIENCE, Arc::clone(turns).lock_owned()).await else {
            let same = key.is_some_and(|key| {
                latch
                    .opening
                    .lock()
                    .values()
                    .any(|other| key.is(other) && key.digest == other.digest)
            });
            return Err(if same {
                DesiredError::Undecided
            } else {
                DesiredError::Unavailable(why.to_owned())
            });
        };
        if let Some(key) = key {
            latch
                .opening
                .lock()
                .insert(record.once.clone(), key.clone());
        }
        Ok(Self {
            _turn: turn,
            latch: Arc::clone(latch),
            once: record.once.clone(),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.latch.opening.lock().remove(&self.once);
    }
}
