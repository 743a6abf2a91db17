//! The record of a process: its folder and lock, the ledger, the journal and the last state. A
//! process starts with what of it can be had.

mod folder;
mod last;
mod opening;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::RunError;
use super::data_folder::DataFolder;
use crate::desired::LedgerDesired;
use crate::domain::hold::{Epoch, ScopedHold};
use crate::http::AppRecord;
use crate::latch::Latch;
use crate::ports::{Clock, Journal, LedgerUpkeep, Stored};
use crate::store::{FileJournal, StandbyLedger, StateFile};
use folder::Lock;
pub(super) use last::{LastKept, count, keep};
pub(super) use opening::open;

/// How often opening a ledger is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the ledger's first write is waited for.
const BEGIN_LIMIT: Duration = Duration::from_secs(1);
/// How long closing the ledger may take.
const CLOSE: Duration = Duration::from_secs(5);

/// Where holds live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Here: the union of ledger, journal and last state.
    Here,
    /// In the Kubernetes API; what the record says of them is told, and holds nothing.
    Cluster,
}

/// What a process keeps.
pub(super) struct OpenedRecord {
    pub(super) ledger: Arc<StandbyLedger>,
    /// What was known when the process before ended.
    pub(super) stored: Stored,
    pub(super) journal: Arc<FileJournal>,
    /// Holds that the ledger was heard to have.
    pub(super) heard: Vec<Epoch>,
    /// Where the last state is kept; none if that file cannot be used.
    pub(super) last_state: Option<StateFile>,
    /// What there is to tell of it in `/health`.
    pub(super) told: RecordHealth,
    /// Held for as long as the process uses the folder.
    pub(super) _lock: Lock,
}

/// What handlers may use of it.
pub(super) fn for_handlers(ledger: &Arc<StandbyLedger>) -> AppRecord {
    AppRecord {
        ledger: Some(Arc::<StandbyLedger>::clone(ledger)),
        history: Some(Arc::<StandbyLedger>::clone(ledger)),
        ..AppRecord::default()
    }
}

/// What `/health` tells of the folder and what is in it.
#[derive(Clone)]
pub(super) struct RecordHealth {
    /// What was not as it was left, and holds nothing: told under `record`.
    pub(super) record: Vec<String>,
    /// The folder itself.
    pub(super) folder: Arc<DataFolder>,
}

/// Records what the process starts from, where the ledger can be written. With a limit it does not
/// wait longer than that: the write stays in the ledger's queue, before all that is asked later.
#[allow(
    clippy::disallowed_methods,
    reason = "it ends with the one write that it waits for"
)]
async fn begin(
    ledger: &Arc<StandbyLedger>,
    holds: &[ScopedHold],
    clock: &dyn Clock,
    limit: Option<Duration>,
) {
    let (writes, at, holds) = (Arc::clone(ledger), clock.now(), holds.to_vec());
    let writing = tokio::spawn(async move {
        let Ok(ledger) = writes.ledger() else { return };
        if let Err(error) = ledger.begin(at, holds).await {
            tracing::error!(%error, "the ledger does not have what this process started from");
        }
    });
    let Some(limit) = limit else {
        return writing.await.unwrap_or_default();
    };
    if timeout(limit, writing).await.is_err() {
        tracing::warn!(
            "the ledger's disk does not answer: what this process started from is written once it does"
        );
    }
}

/// Opens the ledger as soon as that is possible.
pub(super) async fn watch(
    ledger: Arc<StandbyLedger>,
    journal: Arc<FileJournal>,
    declared: Option<Arc<LedgerDesired>>,
    latch: Arc<Latch>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut lasts = false;
    while ledger.ledger().is_err() && !stop.is_cancelled() {
        match ledger.try_open(clock.now()).await {
            Ok(opened) => {
                tracing::info!("the ledger is open again");
                let mut holds = opened.stored.holds.clone();
                if let Some(declared) = &declared {
                    declared.adopt(&opened.owned());
                    latch.restore(clock.elapsed());
                    // What the journal still has comes by its own record.
                    let owed = journal.pending();
                    holds = declared.recorded();
                    holds.retain(|held| {
                        !owed
                            .iter()
                            .any(|entry| entry.record.once == held.hold.epoch.0)
                    });
                }
                begin(&ledger, &holds, clock.as_ref(), None).await;
                latch.retry_pending().await;
            }
            Err(error) if error.lasts() && !lasts => {
                lasts = true;
                tracing::error!(%error, "the ledger cannot be opened, and trying again does not help");
            }
            Err(error) => tracing::debug!(%error, "the ledger still cannot be opened"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(RETRY_INTERVAL) => {}
        }
    }
    stop.cancelled().await;
}

/// Tells the ledger once more what it lacks, and what is lost with this process if it still does.
pub(super) async fn last_words(latch: &Latch) {
    if latch.lacking().in_memory == 0 {
        return;
    }
    let _late = timeout(CLOSE, latch.retry_pending()).await;
    let lost = latch.lacking().in_memory;
    if lost > 0 {
        tracing::error!(
            lost,
            "commands are lost with this process, kills among them: neither journal nor ledger took them"
        );
    }
}

/// Closes journal and ledger; one whose disk does not answer is left, so that it keeps no process
/// from ending.
pub(super) async fn close(
    journal: Arc<FileJournal>,
    ledger: Arc<StandbyLedger>,
) -> Result<(), RunError> {
    if !ledger.can_close() {
        tracing::warn!(
            "the ledger cannot be written, so it is left as it is: what it took is in it"
        );
        std::mem::forget(ledger); // for as long as the process is there
        return closed(
            "journal",
            tokio::task::spawn_blocking(move || journal.close()),
        )
        .await;
    }
    let both = tokio::join!(
        closed(
            "journal",
            tokio::task::spawn_blocking(move || journal.close())
        ),
        closed(
            "ledger",
            tokio::task::spawn_blocking(move || ledger.close())
        ),
    );
    both.0.and(both.1)
}

async fn closed(what: &str, closing: JoinHandle<()>) -> Result<(), RunError> {
    match timeout(CLOSE, closing).await {
        Ok(closed) => {
            closed.map_err(|error| RunError::failed(&format!("closing the {what}"), error))
        }
        Err(_) => Err(RunError::Failed(format!(
            "the {what} did not close within {} s",
            CLOSE.as_secs()
        ))),
    }
}
