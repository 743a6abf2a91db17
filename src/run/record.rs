//! The record of a process: its folder and lock, the ledger, the journal and the last state. A process starts with what
//! of it can be had.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::ConfigError;
use crate::domain::hold::{Bite, Epoch, Scope, ScopedHold, Source};
use crate::gate::Gate;
use crate::latch::Latch;
use crate::ports::{Clock, Journal, Stored};
use crate::store::{
    self, AtStart, FileJournal, JournalFile, JournalFound, Known, LEDGER_FILE, LastFound,
    LastState, LedgerDesired, Opened, StandbyLedger, Start, StateFile, private,
};

use super::RunError;
use super::awaited::Awaited;
use super::data_folder::DataFolder;

/// How often opening a ledger is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Shortest pause between two writes of the last state.
const BREATH: Duration = Duration::from_millis(50);
/// How long closing the ledger may take.
const CLOSE: Duration = Duration::from_secs(5);
/// How often the last state is looked at when the gate does not change.
const LOOK: Duration = Duration::from_secs(5);

/// Where holds live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Here: the union of ledger, journal and last state.
    Here,
    /// In the Kubernetes API; what the record says of them is told, and holds nothing.
    Cluster,
}

/// What a process keeps.
pub(super) struct Kept {
    pub(super) ledger: Arc<StandbyLedger>,
    /// What was known when the process before ended.
    pub(super) stored: Stored,
    pub(super) journal: Arc<FileJournal>,
    /// Holds that the ledger was heard to have.
    pub(super) heard: Vec<Epoch>,
    /// Where the last state is kept; none if that file cannot be used.
    pub(super) last_state: Option<StateFile>,
    /// What there is to tell of it in `/health`.
    pub(super) told: Told,
    /// Held for as long as the process uses the folder.
    pub(super) _lock: File,
}

/// What `/health` tells of the folder and what is in it.
#[derive(Clone)]
pub(super) struct Told {
    /// What was not as it was left, and holds nothing: told under `record`.
    pub(super) record: Vec<String>,
    /// The folder itself.
    pub(super) folder: Arc<DataFolder>,
}

/// Opens everything in a folder.
///
/// # Errors
/// If another process uses it, or it cannot be used and there is no last state to start from.
pub(super) async fn open(folder: &Path, holds: Holds, clock: &dyn Clock) -> Result<Kept, RunError> {
    let _awaited = Awaited::on(format!("ECHO_DATA_DIR {}", folder.display()));
    let lock = lock_folder(folder)?;
    let unusable = |e: std::io::Error| {
        RunError::failed(
            &format!("the journal cannot be opened in {}", folder.display()),
            e,
        )
    };
    let (mut journal, journal_found) =
        JournalFile::read(&folder.join("journal")).map_err(unusable)?;
    let (last_state, last, unkept) = last_state(folder);
    let ledger_was_there =
        std::fs::metadata(folder.join(LEDGER_FILE)).is_ok_and(|file| file.len() > 0);
    if !ledger_was_there && journal_found == JournalFound::Missing && last == LastFound::default() {
        // A new folder: its journal comes first, so that a ledger without one is never new.
        journal.mend(0, false).map_err(unusable)?;
    }
    let started = StandbyLedger::start(folder, clock.now()).await;
    let (ledger, found) =
        started.map_err(|e| RunError::failed(&format!("ECHO_DATA_DIR {}", folder.display()), e))?;
    let opened = known_at_start(found, &last, folder, clock)?;
    let pending = journal.pending();
    // A ledger that cannot be asked is not known to have them.
    let settled = if opened.is_some() {
        journal.settled()
    } else {
        &[]
    };
    let lacking = ledger.lacks(settled).await.unwrap_or(settled.len());
    let known = Known {
        ledger_was_there,
        ledger: opened.as_ref(),
        journal: &journal_found,
        journal_ever: journal.ever(),
        journal_settled: journal.settled_up_to(),
        lacking,
        pending: &pending,
        last: &last,
    };
    let mut start = store::start(&known, clock.now(), || {
        format!("unaccounted-{}", ulid::Ulid::generate())
    });
    if holds == Holds::Cluster {
        start.told.append(&mut start.lost);
        start.stored = opened
            .as_ref()
            .map(|opened| opened.stored.clone())
            .unwrap_or_default();
    }
    start.told.extend(unkept);
    start.told.extend(
        opened
            .iter()
            .flat_map(|opened| opened.accounts.faults.clone()),
    );
    tell(&start);
    let seen = opened
        .as_ref()
        .and_then(|opened| opened.journal)
        .max(last.state.as_ref().and_then(|last| last.journal));
    // What holds is durable before the traces of why are mended away.
    if let (Some(file), Holds::Here) = (&last_state, holds)
        && let Err(error) = file.write(&LastState {
            stored: start.stored.clone(),
            journal: seen,
        })
    {
        tracing::error!(%error, "the last state cannot be kept; a start without the ledger would know an older one");
    }
    begin(&ledger, &start.stored.holds, clock).await;
    if let Err(error) = journal.mend(seen.unwrap_or_default(), lacking > 0) {
        tracing::error!(%error, "the journal cannot be written; kills are durable once the ledger has them");
    }
    let ended = opened
        .as_ref()
        .map(|opened| opened.accounts.ended.clone())
        .unwrap_or_default();
    store::settle_had(&mut journal, &ended, &ledger).await;
    let journal = Arc::new(FileJournal::start(journal).map_err(unusable)?);
    let told = Told {
        record: start.told,
        folder: DataFolder::of(folder),
    };
    let live = opened.iter().flat_map(|opened| &opened.accounts.live);
    let heard = live.map(|held| held.hold.epoch.clone()).collect();
    Ok(Kept {
        ledger: Arc::new(ledger),
        stored: start.stored,
        journal,
        heard,
        last_state,
        told,
        _lock: lock,
    })
}

/// The last state, and why it cannot be kept, if it cannot.
fn last_state(folder: &Path) -> (Option<StateFile>, LastFound, Option<String>) {
    match StateFile::open(folder) {
        Ok((file, last)) => (Some(file), last, None),
        Err(error) => {
            let unkept = format!("the last state can be neither read nor kept: {error}");
            (None, LastFound::default(), Some(unkept))
        }
    }
}

/// What the ledger knew, if it can be read.
///
/// # Errors
/// If it cannot, and there is no last state to start from.
fn known_at_start(
    found: AtStart,
    last: &LastFound,
    folder: &Path,
    clock: &dyn Clock,
) -> Result<Option<Opened>, RunError> {
    match found {
        AtStart::Open(opened) => Ok(Some(opened)),
        AtStart::ReadOnly(opened, error) => {
            tracing::error!(%error, "the ledger can be read only: openings wait until it can be written, kills do not");
            Ok(Some(opened))
        }
        AtStart::Away(error) if last.state.is_some() => {
            let at = clock.now().to_string();
            tracing::error!(%error, at, "the ledger cannot be read: starting from the last state; openings wait for it");
            Ok(None)
        }
        AtStart::Away(error) => {
            let what = format!("ECHO_DATA_DIR {}", folder.display());
            Err(RunError::failed(&what, error))
        }
    }
}

/// Says what is not as it was left.
fn tell(start: &Start) {
    for held in start
        .stored
        .holds
        .iter()
        .filter(|held| held.hold.source == Source::Unaccounted)
    {
        let (epoch, reason) = (&held.hold.epoch.0, &held.hold.reason);
        tracing::error!(
            epoch,
            reason,
            "unaccounted: nothing tells that this hold ended; it stays until /revive"
        );
    }
    // Kills are told as the gate takes them.
    for ScopedHold { scope, hold } in &start.stored.holds {
        if let (Bite::AtLeast(level), Scope::One(throttle)) = (hold.bite, scope) {
            let (epoch, operator, reason) = (&hold.epoch.0, &hold.operator, &hold.reason);
            let (level, since) = (level.fraction(), hold.taken_at.to_string());
            tracing::warn!(%throttle, epoch, level, operator, reason, since, "a level is held on top of what is declared");
        }
    }
    for what in &start.told {
        tracing::warn!(what, "the record is not as it was left");
    }
}

/// Records what the process starts from, where the ledger can be written.
async fn begin(ledger: &StandbyLedger, holds: &[ScopedHold], clock: &dyn Clock) {
    let Ok(ledger) = ledger.ledger() else { return };
    if let Err(error) = ledger.begin(clock.now(), holds.to_vec()).await {
        tracing::error!(%error, "the ledger does not have what this process started from");
    }
}

/// One process at a time: two writers of one journal would lose kills.
fn lock_folder(folder: &Path) -> Result<File, RunError> {
    use std::io::{Read, Seek, Write};
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    // It holds raw payment events and a key: nobody else's to read.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| unusable(folder, &error))?;
    if let Some((file, what)) = private::first_special(folder) {
        return Err(RunError::Config(ConfigError {
            variable: "ECHO_DATA_DIR",
            expected: "a folder whose files are files".to_owned(),
            fix: format!(
                "{}: {what}. Look who put it there; then remove it, or name another folder.",
                file.display()
            ),
        }));
    }
    let path = folder.join("lock");
    let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let options = |write| {
        let mut options = File::options();
        options
            .read(true)
            .write(write)
            .create(write)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nofollow);
        options
    };
    // A file that may only be read can be locked all the same.
    let open = options(true).open(&path);
    let open = open.or_else(|error| {
        if path.exists() {
            options(false).open(&path)
        } else {
            Err(error)
        }
    });
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
    tighten(folder);
    Ok(file)
}

/// Takes from others what they could read in the folder, and says what it could not.
fn tighten(folder: &Path) {
    for (file, done) in private::tighten(folder) {
        match done {
            Ok(()) => tracing::warn!(
                file,
                "others could read it: it is its owner's alone now (0600)"
            ),
            Err(error) => {
                tracing::warn!(file, %error, "others may read it, and that cannot be changed")
            }
        }
    }
}

/// A folder that cannot hold a record.
fn unusable(path: &Path, error: &std::io::Error) -> RunError {
    RunError::Config(ConfigError {
        variable: "ECHO_DATA_DIR",
        expected: "a folder that this process may write, or may make".to_owned(),
        fix: format!(
            "{}: {error}. Name another, or let this process in.",
            path.display()
        ),
    })
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
    while ledger.ledger().is_err() && !stop.is_cancelled() {
        match ledger.try_open(clock.now()).await {
            Ok(opened) => {
                tracing::info!("the ledger is open again");
                let mut holds = opened.stored.holds.clone();
                if let Some(declared) = &declared {
                    declared.adopt(&opened.owned());
                    latch.obey(clock.elapsed());
                    // What the journal still has comes by its own record.
                    let owed = journal.pending();
                    holds = declared.recorded();
                    holds.retain(|held| {
                        !owed
                            .iter()
                            .any(|entry| entry.record.once == held.hold.epoch.0)
                    });
                }
                begin(&ledger, &holds, clock.as_ref()).await;
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

/// Tells the ledger once more what it lacks, and what is lost with this process if it still does.
pub(super) async fn last_words(latch: &Latch) {
    if latch.lacking().in_memory == 0 {
        return;
    }
    let _late = timeout(CLOSE, latch.settle()).await;
    let lost = latch.lacking().in_memory;
    if lost > 0 {
        tracing::error!(
            lost,
            "commands are lost with this process, kills among them: neither journal nor ledger took them"
        );
    }
}

/// Closes journal and ledger; one whose disk does not answer is left, so that it keeps no process from ending.
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

/// What the last state is made of, and where it goes.
pub(super) struct LastKept {
    pub(super) file: Arc<StateFile>,
    pub(super) gate: Arc<Gate>,
    pub(super) declared: Arc<LedgerDesired>,
    pub(super) journal: Arc<FileJournal>,
    pub(super) ledger: Arc<StandbyLedger>,
}

/// Keeps the last state on the disk: soon after the gate changes, when journal and ledger have what changed it.
pub(super) async fn keep(kept: Arc<LastKept>, stop: CancellationToken) {
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
            () = gate.changed() => sleep(BREATH).await,
            () = sleep(LOOK) => {}
        }
    }
}

/// Tells the ledger how many records the journal ever had. A ledger that hangs keeps the last state waiting for nothing.
pub(super) async fn count(kept: Arc<LastKept>, stop: CancellationToken) {
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
            () = sleep(AGAIN) => {}
        }
    }
}
