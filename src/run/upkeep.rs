//! What the record needs once a minute: its head leaves the machine, and old observations go.
//!
//! A head that lives elsewhere (the log is shipped) is what tells a ledger whose end was cut: `verify --head`.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::ports::{Clock, LedgerError};
use crate::store::StandbyLedger;

/// How often.
const EVERY: Duration = Duration::from_secs(60);
/// How long observations are kept; nothing else is ever forgotten.
const STATES_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

pub(super) async fn run(ledger: Arc<StandbyLedger>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        match head(&ledger).await {
            Ok((seq, hash)) => tracing::info!(seq, hash, "ledger head"),
            Err(error) => tracing::warn!(%error, "the ledger's head cannot be told"),
        }
        let before = clock.now().checked_sub(STATES_KEPT).unwrap_or_default();
        if let Ok(open) = ledger.ledger()
            && let Err(error) = open.prune_states(before).await
        {
            tracing::warn!(%error, "old observations were not removed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(EVERY) => {}
        }
    }
}

async fn head(ledger: &StandbyLedger) -> Result<(i64, String), LedgerError> {
    ledger.ledger()?.head().await
}
