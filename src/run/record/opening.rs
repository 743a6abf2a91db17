//! Opening a record at the start: what folder, ledger, journal and last state know is added up,
//! told, and durable before the process goes on.

use std::path::Path;
use std::sync::Arc;

use super::{BEGIN_LIMIT, Holds, OpenedRecord, RecordHealth, begin, folder};
use crate::domain::hold::{HoldEffect, Scope, ScopedHold, Source};
use crate::ports::Clock;
use crate::run::RunError;
use crate::run::awaited::Awaited;
use crate::run::data_folder::DataFolder;
use crate::store::{
    self, AtStart, FileJournal, JournalFile, JournalFound, LastFound, LastState, LedgerSnapshot,
    SqliteFolder, StandbyLedger, Start, StartInputs, StateFile,
};

/// Opens everything in a folder.
///
/// # Errors
/// If another process uses it, or it cannot be used and there is no last state to start from.
pub(in crate::run) async fn open(
    folder: &Path,
    holds: Holds,
    clock: &dyn Clock,
) -> Result<OpenedRecord, RunError> {
    let _awaited = Awaited::on(format!("ECHO_DATA_DIR {}", folder.display()));
    let lock = folder::lock(folder)?;
    let mut found = FolderContents::read(folder)?;
    // Unless what is lost without the ledger is worth to wait for its disk.
    let without = found.start(None, 0, holds, clock);
    let replaceable = found.last.state.is_some() && without.lost.is_empty();
    let started = StandbyLedger::start(SqliteFolder::new(folder), clock.now(), replaceable).await;
    let (ledger, at_start) =
        started.map_err(|e| RunError::failed(&format!("ECHO_DATA_DIR {}", folder.display()), e))?;
    let ledger = Arc::new(ledger);
    let opened = known_at_start(at_start, &found.last, folder, clock)?;
    // A ledger that cannot be asked is not known to have them.
    let settled = if opened.is_some() {
        found.journal.settled()
    } else {
        &[]
    };
    let lacking = ledger.lacks(settled).await.unwrap_or(settled.len());
    let start = found.start(opened.as_ref(), lacking, holds, clock);
    tell(&start);
    let seen = opened
        .as_ref()
        .and_then(|opened| opened.journal)
        .max(found.last.state.as_ref().and_then(|last| last.journal));
    found
        .mend(&ledger, &start, seen, lacking > 0, (holds, clock))
        .await;
    let journal = FileJournal::start(found.journal).map_err(|error| no_journal(folder, error))?;
    // What this does not start from settles nothing: it may be all there is of a kill.
    if let Some(opened) = &opened {
        store::settle_had(&journal, &opened.accounts.ended, ledger.as_ref()).await;
    }
    let told = RecordHealth {
        record: start.told,
        folder: DataFolder::of(folder),
    };
    let live = opened.iter().flat_map(|opened| &opened.accounts.live);
    let heard = live.map(|held| held.hold.epoch.clone()).collect();
    Ok(OpenedRecord {
        ledger,
        stored: start.stored,
        journal: Arc::new(journal),
        heard,
        last_state: found.last_state,
        told,
        _lock: lock,
    })
}

/// What a folder has of a record, before its ledger is opened.
struct FolderContents {
    journal: JournalFile,
    journal_found: JournalFound,
    /// Where the last state is kept; none if that file cannot be used.
    last_state: Option<StateFile>,
    last: LastFound,
    /// Why the last state cannot be kept, if it cannot.
    unkept: Option<String>,
    ledger_was_there: bool,
}

impl FolderContents {
    /// Looks. The journal of a new folder is made.
    fn read(folder: &Path) -> Result<Self, RunError> {
        let unusable = |error| no_journal(folder, error);
        let (mut journal, journal_found) =
            JournalFile::read(&folder.join("journal")).map_err(unusable)?;
        let (last_state, last, unkept) = last_state(folder);
        let ledger_was_there = folder::has_ledger(folder);
        if !ledger_was_there
            && journal_found == JournalFound::Missing
            && last == LastFound::default()
        {
            // A new folder: its journal comes first, so that a ledger without one is never new.
            journal.mend(0, false).map_err(unusable)?;
        }
        Ok(Self {
            journal,
            journal_found,
            last_state,
            last,
            unkept,
            ledger_was_there,
        })
    }

    /// Records what the process starts from, and mends the journal where that is due: then no trace
    /// is left of why something holds, and only that is worth to wait for a disk. As a rule nothing
    /// is due, and the last state is kept once the process serves.
    async fn mend(
        &mut self,
        ledger: &Arc<StandbyLedger>,
        start: &Start,
        journal: Option<u64>,
        anew: bool,
        (holds, clock): (Holds, &dyn Clock),
    ) {
        let seen = journal.unwrap_or_default();
        let mends = !start.lost.is_empty() || self.journal.is_to_be_mended(seen, anew);
        let limit = (!mends).then_some(BEGIN_LIMIT);
        begin(ledger, &start.stored.holds, clock, limit).await;
        let stored = start.stored.clone();
        if let (Some(file), true, Holds::Here) = (&self.last_state, mends, holds)
            && let Err(error) = file.write(&LastState { stored, journal })
        {
            tracing::error!(%error, "the last state cannot be kept; a start without the ledger would know an older one");
        }
        if let Err(error) = self.journal.mend(seen, anew) {
            tracing::error!(%error, "the journal cannot be written; kills are durable once the ledger has them");
        }
    }

    /// What to start from, by what the ledger knew and where holds live, with all there is to tell
    /// of it.
    fn start(
        &self,
        opened: Option<&LedgerSnapshot>,
        lacking: usize,
        holds: Holds,
        clock: &dyn Clock,
    ) -> Start {
        let known = StartInputs {
            ledger_was_there: self.ledger_was_there,
            ledger: opened,
            journal: &self.journal_found,
            journal_ever: self.journal.ever(),
            journal_settled: self.journal.settled_up_to(),
            lacking,
            pending: &self.journal.pending(),
            last: &self.last,
        };
        let mut start = store::start(&known, clock.now(), || {
            format!("unaccounted-{}", ulid::Ulid::generate())
        });
        if holds == Holds::Cluster {
            start.told.append(&mut start.lost);
            start.stored = opened
                .map(|opened| opened.stored.clone())
                .unwrap_or_default();
        }
        start.told.extend(self.unkept.clone());
        start.told.extend(
            opened
                .iter()
                .flat_map(|opened| opened.accounts.faults.clone()),
        );
        start
    }
}

fn no_journal(folder: &Path, error: std::io::Error) -> RunError {
    RunError::failed(
        &format!("the journal cannot be opened in {}", folder.display()),
        error,
    )
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
) -> Result<Option<LedgerSnapshot>, RunError> {
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
        if let (HoldEffect::AtLeast(level), Scope::One(throttle)) = (hold.bite, scope) {
            let (epoch, operator, reason) = (&hold.epoch.0, &hold.operator, &hold.reason);
            let (level, since) = (level.fraction(), hold.taken_at.to_string());
            tracing::warn!(%throttle, epoch, level, operator, reason, since, "a level is held on top of what is declared");
        }
    }
    for what in &start.told {
        tracing::warn!(what, "the record is not as it was left");
    }
}
