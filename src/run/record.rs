//! The record of a process: its folder and lock, the ledger, the journal and the last state. A process starts with what
//! of it can be had.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::ConfigError;
use crate::gate::Gate;
use crate::latch::Latch;
use crate::ports::{Clock, Journal, Stored};
use crate::store::{AtStart, FileJournal, LedgerDesired, StandbyLedger, StateFile};

use super::RunError;

/// How often opening a ledger is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Shortest pause between two writes of the last state.
const BREATH: Duration = Duration::from_millis(50);
/// How often the last state is looked at when the gate does not change.
const LOOK: Duration = Duration::from_secs(5);

/// What a process keeps.
pub(super) struct Kept {
    pub(super) ledger: Arc<StandbyLedger>,
    /// What was known when the process before ended.
    pub(super) stored: Stored,
    pub(super) journal: Arc<dyn Journal>,
    /// Where the last state is kept; none if that file cannot be used.
    pub(super) last_state: Option<StateFile>,
    /// Held for as long as the process uses the folder.
    pub(super) _lock: File,
}

/// Opens everything in a folder.
///
/// # Errors
/// If another process uses it, or it cannot be used and there is no last state to start from.
pub(super) async fn open(folder: &Path, clock: &dyn Clock) -> Result<Kept, RunError> {
    let lock = lock_folder(folder)?;
    let journal = FileJournal::open(&folder.join("journal"));
    let journal = Arc::new(journal.map_err(|e| RunError::failed("the journal cannot be opened", e))?);
    let (last_state, last) = match StateFile::open(folder) {
        Ok((file, last)) => (Some(file), last),
        Err(error) => {
            tracing::warn!(%error, "the last state can be neither read nor kept");
            (None, None)
        }
    };
    let started = StandbyLedger::start(folder, clock.now()).await;
    let (ledger, found) = started.map_err(|e| RunError::failed(&format!("ECHO_DATA_DIR {}", folder.display()), e))?;
    let stored = match (found, last) {
        (AtStart::Open(stored), _) => stored,
        (AtStart::ReadOnly(stored, error), _) => {
            tracing::error!(%error, "the ledger can be read only: openings wait until it can be written, kills do not");
            stored
        }
        (AtStart::Away(error), Some(last)) => {
            let at = clock.now().to_string();
            tracing::error!(%error, at, "the ledger cannot be read: starting from the last state; openings wait for it");
            last
        }
        (AtStart::Away(error), None) => {
            let what = format!("ECHO_DATA_DIR {}", folder.display());
            return Err(RunError::failed(&what, error));
        }
    };
    Ok(Kept { ledger: Arc::new(ledger), stored, journal, last_state, _lock: lock })
}

/// One process at a time: two writers of one journal would lose kills.
fn lock_folder(folder: &Path) -> Result<File, RunError> {
    use std::io::{Read, Seek, Write};
    use std::os::unix::fs::DirBuilderExt;
    // It holds raw payment events and a key: nobody else's to read.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unusable(folder, &error))?;
    let path = folder.join("lock");
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    // A file that may only be read can be locked all the same.
    let open = open.or_else(|error| if path.exists() { File::open(&path) } else { Err(error) });
    let mut file = open.map_err(|error| unusable(&path, &error))?;
    if file.try_lock().is_err() {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        return Err(RunError::Failed(format!(
            "ECHO_DATA_DIR {}: in use by process {}; stop it, or use another folder",
            folder.display(),
            holder.trim()
        )));
    }
    let note = format!("{:<10}", std::process::id()); // always as long, so that it wants no new space
    let noted = file.rewind().and_then(|()| file.write_all(note.as_bytes()));
    if let Err(error) = noted {
        tracing::warn!(%error, "the data folder's lock does not name its holder");
    }
    Ok(file)
}

/// A folder that cannot hold a record.
fn unusable(path: &Path, error: &std::io::Error) -> RunError {
    RunError::Config(ConfigError {
        variable: "ECHO_DATA_DIR",
        expected: "a folder that this process may write, or may make".to_owned(),
        fix: format!("{}: {error}. Name another, or let this process in.", path.display()),
    })
}

/// Opens the ledger as soon as that is possible.
pub(super) async fn watch(
    ledger: Arc<StandbyLedger>,
    declared: Option<Arc<LedgerDesired>>,
    latch: Arc<Latch>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    while ledger.ledger().is_err() && !stop.is_cancelled() {
        match ledger.try_open(clock.now()).await {
            Ok(stored) => {
                tracing::info!("the ledger is open again");
                if let Some(declared) = &declared {
                    declared.adopt(&stored);
                }
                latch.settle().await;
            }
            Err(error) => tracing::debug!(%error, "the ledger still cannot be opened"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(AGAIN) => {}
        }
    }
    stop.cancelled().await;
}

/// Keeps the last state on the disk: at once when the gate changes.
pub(super) async fn keep(file: Arc<StateFile>, gate: Arc<Gate>, declared: Arc<LedgerDesired>, stop: CancellationToken) {
    let mut failed = false;
    loop {
        let (writer, state) = (Arc::clone(&file), declared.last_state());
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
        sleep(BREATH).await;
        tokio::select! {
            () = stop.cancelled() => {} // once more: what changed last is kept
            () = gate.changed() => {}
            () = sleep(LOOK) => {}
        }
    }
}
