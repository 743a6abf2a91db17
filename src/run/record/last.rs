//! The last state: kept on the disk while the process serves, and with it how many records the
//! journal ever had.

use std::pin::pin;
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
/// How long what opens may be kept back: by a start without the ledger it opens anew.
const LAG: Duration = Duration::from_secs(1);
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

/// Keeps the last state on the disk: what closes soon after the gate changes, when journal and
/// ledger have what changed it; what opens within a second.
pub(in crate::run) async fn keep(kept: Arc<LastKept>, stop: CancellationToken) {
    let mut failed = false;
    let mut written = LastState::default();
    loop {
        let state = kept.state();
        let (writer, next) = (Arc::clone(&kept.file), state.clone());
        match tokio::task::spawn_blocking(move || writer.write(&state)).await {
            Ok(Ok(())) => (failed, written) = (false, next),
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
            () = kept.due(&written) => {}
        }
    }
}

impl LastKept {
    /// The last state by now.
    fn state(&self) -> LastState {
        // First the journal: what it has by then is in the rest.
        let ever = self.journal.ever();
        LastState {
            stored: self.declared.last_state(),
            journal: Some(ever),
        }
    }

    /// Waits until the file has to be written that has this state.
    async fn due(&self, written: &LastState) {
        let mut lag = pin!(sleep(LAG));
        let mut poll = pin!(sleep(POLL_INTERVAL));
        loop {
            tokio::select! {
                () = self.gate.changed() => {}
                () = &mut poll => return,
            }
            tokio::select! {
                () = sleep(WRITE_INTERVAL) => {}
                () = &mut lag => return,
            }
            if !self.state().may_lag_behind(written) {
                return;
            }
            poll.as_mut().reset(lag.deadline());
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
