//! The last state: kept on the disk while the process serves, and with it how many records the
//! journal ever had.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::RETRY_INTERVAL;
use crate::desired::LedgerDesired;
use crate::gate::Gate;
use crate::ports::LedgerUpkeep;
use crate::store::{FileJournal, LastState, StandbyLedger, StateFile};

/// Shortest pause between two writes of the last state.
const WRITE_INTERVAL: Duration = Duration::from_millis(50);
/// How often the last state is looked at when the gate does not change.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// What the last state is made of, and where it goes.
pub(in crate::run) struct LastKept {
    pub(in crate::run) file: Arc<StateFile>,
    pub(in crate::run) gate: Arc<Gate>,
    pub(in crate::run) declared: Arc<LedgerDesired>,
    pub(in crate::run) journal: Arc<FileJournal>,
    pub(in crate::run) ledger: Arc<StandbyLedger>,
}

/// Keeps the last state on the disk: soon after the gate changes, when journal and ledger have what
/// changed it.
pub(in crate::run) async fn keep(kept: Arc<LastKept>, stop: CancellationToken) {
    let LastKept {
        file,
        gate,
        declared,
        journal,
        ..
    } = kept.as_ref();
    let mut failed = false;
    loop {
        let ever = journal.ever();
        let state = LastState {
            stored: declared.last_state(),
            journal: Some(ever),
        };
        let writer = Arc::clone(file);
        let written = tokio::task::spawn_blocking(move || writer.write(&state)).await;
        match written {
            Ok(Ok(())) => failed = false,
            Ok(Err(error)) if !failed => {
                failed = true;
                tracing::error!(%error, "the last state cannot be kept; a start without the ledger would know an older one");
            }
            Ok(Err(_)) => {}
            Err(error) => tracing::error!(%error, "writing the last state broke off"),
        }
        if stop.is_cancelled() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {} // once more: what changed last is kept
            () = gate.changed() => sleep(WRITE_INTERVAL).await,
            () = sleep(POLL_INTERVAL) => {}
        }
    }
}

/// Tells the ledger how many records the journal ever had. A ledger that hangs keeps the last state
/// waiting for nothing.
pub(in crate::run) async fn count(kept: Arc<LastKept>, stop: CancellationToken) {
    let mut seen = 0;
    while !stop.is_cancelled() {
        let ever = kept.journal.ever();
        if seen < ever
            && let Ok(ledger) = kept.ledger.ledger()
        {
            tokio::select! {
                () = stop.cancelled() => return,
                told = ledger.saw_journal(ever) => seen = if told.is_ok() { ever } else { seen },
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(RETRY_INTERVAL) => {}
        }
    }
}
