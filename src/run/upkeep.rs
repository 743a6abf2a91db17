//! What the record needs once a minute: its heads leave the machine, and old observations go.
//!
//! A head that lives elsewhere (logs are shipped, metrics scraped) is what tells a table whose end was cut: `verify --head`.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::supervise::Supervisor;
use crate::ports::{Clock, LedgerError};
use crate::store::{Head, StandbyLedger};
use crate::telemetry::{Metrics, TableHead};

/// How often.
const EVERY: Duration = Duration::from_secs(60);
/// How long observations are kept; nothing else is ever forgotten.
const STATES_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Starts it.
pub(super) fn keep_up(
    supervisor: &mut Supervisor,
    ledger: &Arc<StandbyLedger>,
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
) {
    let (ledger, metrics, clock) = (Arc::clone(ledger), Arc::clone(metrics), Arc::clone(clock));
    supervisor.keep_up("upkeep", move |stop| run(Arc::clone(&ledger), Arc::clone(&metrics), Arc::clone(&clock), stop));
}

async fn run(ledger: Arc<StandbyLedger>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        match heads(&ledger).await {
            Ok(heads) => {
                let metric = |head: &Head| TableHead {
                    table: head.table,
                    seq: u64::try_from(head.seq).unwrap_or_default(),
                    hash48: head.hash48(),
                };
                metrics.set_ledger_heads(heads.iter().map(metric).collect());
                let heads: Vec<_> = heads.iter().map(Head::to_string).collect();
                tracing::info!(heads = heads.join(" "), "ledger heads");
            }
            Err(error) => tracing::warn!(%error, "the ledger's heads cannot be told"),
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

async fn heads(ledger: &StandbyLedger) -> Result<Vec<Head>, LedgerError> {
    ledger.ledger()?.heads().await
}
