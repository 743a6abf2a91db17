//! Waiting for the writer: for how long, and what is certain when that has passed. Knows nothing of
//! what was asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::unavailable;
use super::writer::Claim;
use crate::domain::audit::Receipt;
use crate::ports::LedgerError;

/// How long a change may wait to be begun.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may then take: the largest take seconds, a disk that hangs takes longer.
const WORK: Duration = Duration::from_secs(10);

/// Somebody who waits for the writer.
pub(super) struct PendingWrite {
    pub(super) answer: oneshot::Receiver<Result<Receipt, LedgerError>>,
    pub(super) claim: Arc<Claim>,
}

impl PendingWrite {
    /// The answer, however long it takes; a writer that stopped gives none.
    pub(super) async fn answer(&mut self) -> Result<Receipt, LedgerError> {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            Err(_) if self.claim.take() => {
                Err(unavailable("its writer stopped before it began this"))
            }
            Err(_) => Err(LedgerError::Undecided),
        }
    }

    /// The answer; or the certainty that it was not begun in time and never will be; or, after
    /// another while, that it was begun, which is all that is known of a disk that hangs.
    pub(super) async fn answer_in_time(&mut self) -> Result<Receipt, LedgerError> {
        if let Ok(answer) = timeout(PATIENCE, self.answer()).await {
            return answer;
        }
        if self.claim.take() {
            return Err(unavailable(format!(
                "it did not begin to write this within {} s",
                PATIENCE.as_secs()
            )));
        }
        timeout(WORK, self.answer())
            .await
            .unwrap_or(Err(LedgerError::Undecided))
    }
}

/// Whoever goes away does not want it any more.
impl Drop for PendingWrite {
    fn drop(&mut self) {
        let _withdrawn = self.claim.take();
    }
}
