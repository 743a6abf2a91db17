//! What a process starts from: the union of what ledger, journal and last state know. Pure.
//!
//! A hold that any of them knows, and whose end none of them recorded, stays; unknown never means
//! open. What this takes for lost it says, and stays shut by a hold of its own, until a person ends
//! it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::accounts::{Accounts, Unexplained};
use super::journal::JournalFound;
use super::last_state::{LastFound, LastState};
use crate::domain::audit::ThrottleRow;
use crate::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use crate::ports::{JournalEntry, Stored};

/// What is said of a ledger that lacks what the journal had brought to it.
const OLDER: &str =
    "the ledger is an older one: it lacks commands that it had taken from the journal";
/// Who takes the hold that stands for what cannot be named.
const ACTOR: &str = "echo-phoenix";

/// What the ledger knew when it could be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerSnapshot {
    /// Throttles and the holds in force by its own accounts.
    pub stored: Stored,
    /// Those accounts.
    pub accounts: Accounts,
    /// How many records the journal had when the ledger last heard of it; none before it ever did.
    pub journal: Option<u64>,
}

impl LedgerSnapshot {
    /// Throttles and holds, where holds live in the ledger: those that do not add up are nobody's.
    #[must_use]
    pub fn owned(&self) -> Stored {
        let mut stored = self.stored.clone();
        let unaccounted =
            |held: &&mut ScopedHold| self.accounts.unaccounted.contains(&held.hold.epoch);
        stored
            .holds
            .iter_mut()
            .filter(unaccounted)
            .for_each(|held| held.hold.source = Source::Unaccounted);
        for row in &mut stored.throttles {
            self.unexplained(row)
                .into_iter()
                .for_each(|by_log| distrust(row, by_log, None));
        }
        stored
    }

    fn unexplained(&self, row: &ThrottleRow) -> Option<&Unexplained> {
        self.accounts
            .unexplained
            .iter()
            .find(|by_log| by_log.name == row.name.as_str())
    }
}

/// Everything that is known at a start.
pub struct StartInputs<'a> {
    /// Whether there was a file of a ledger, with something in it.
    pub ledger_was_there: bool,
    /// What could be read of the ledger; none while it cannot be.
    pub ledger: Option<&'a LedgerSnapshot>,
    /// How the journal was found.
    pub journal: &'a JournalFound,
    /// How many records it says it ever had.
    pub journal_ever: u64,
    /// How many of them a ledger had.
    pub journal_settled: u64,
    /// Commands that it settled with a ledger and that this one lacks.
    pub lacking: usize,
    /// What it holds that the ledger may lack.
    pub pending: &'a [JournalEntry],
    /// The last state.
    pub last: &'a LastFound,
}

impl StartInputs<'_> {
    /// Whether the last state is whole, and knows of all that the journal ever had.
    fn knows_all(&self) -> bool {
        let seen = self.last.state.as_ref().and_then(|last| last.journal);
        self.last.fault.is_none() && seen.is_some_and(|seen| seen >= self.journal_ever)
    }
}

/// What to start from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    /// Throttles and holds.
    pub stored: Stored,
    /// Why a hold stands for what cannot be named.
    pub lost: Vec<String>,
    /// What is told and changes nothing.
    pub told: Vec<String>,
}

/// Adds everything up. `at` and `epoch` are those of a hold that stands for what cannot be named,
/// should there be need.
#[must_use]
pub fn start(known: &StartInputs<'_>, at: Timestamp, epoch: impl FnOnce() -> String) -> Start {
    let mut start = Start {
        lost: lost(known),
        ..Start::default()
    };
    let last = known.last.state.as_ref().map(|last| &last.stored);
    start.stored = match (known.ledger, last) {
        (Some(ledger), last) => union(ledger, last, known.pending, &mut start.told),
        (None, last) => last.cloned().unwrap_or_default(),
    };
    start.told.extend(
        known
            .last
            .fault
            .iter()
            .map(|fault| format!("the last state: {fault}")),
    );
    if known.lacking > 0 && known.knows_all() {
        start.told.push(OLDER.to_owned());
    }
    let is_used = known.ledger.is_some_and(|ledger| ledger.journal.is_some());
    if is_used && *known.last == LastFound::default() {
        start.told.push("the last state is missing".to_owned());
    }
    if !start.lost.is_empty() {
        let reason = start.lost.join("; ");
        let stands = |held: &ScopedHold| {
            held.hold.source == Source::Unaccounted && held.hold.reason == reason
        };
        if !start.stored.holds.iter().any(stands) {
            start
                .stored
                .holds
                .push(nameless(Epoch(epoch()), reason, at));
        }
    }
    start
}

/// What is missing, in words.
fn lost(known: &StartInputs<'_>) -> Vec<String> {
    let mut lost = Vec::new();
    let last = known.last.state.as_ref();
    let seen = known
        .ledger
        .and_then(|ledger| ledger.journal)
        .max(last.and_then(|last| last.journal));
    // A journal that could not be brought into today's form counts none: it is the same one still.
    let seen = seen.filter(|seen| *seen > 0);
    let is_new = !known.ledger_was_there && last.is_none() && known.last.fault.is_none();
    match known.journal {
        JournalFound::Damaged(what) => lost.push(format!("the journal is damaged: {what}")),
        JournalFound::Missing if !is_new => lost.push("the journal is missing".to_owned()),
        JournalFound::Headless if seen.is_some() => {
            lost.push("the journal is an older one, or emptied".to_owned())
        }
        JournalFound::Whole if seen.is_some_and(|seen| seen > known.journal_ever) => {
            lost.push("the journal is an older one".to_owned());
        }
        _ => {}
    }
    if known.lacking > 0 && !known.knows_all() {
        lost.push(OLDER.to_owned());
    }
    // The first record of a journal is made with it; more, and there was a ledger that took them.
    let used = known.journal_ever > 1
        || *known.journal == JournalFound::Headless
        || known.last.fault.is_some();
    if !known.ledger_was_there && last.is_none() && used {
        lost.push("the ledger is missing, and no last state is there in its place".to_owned());
    }
    if !known.ledger_was_there && last.is_some() {
        lost.push(
            "the ledger is missing: what it recorded, events of payments too, is nowhere else"
                .to_owned(),
        );
    }
    let is_behind = |last: &LastState| {
        last.journal
            .is_some_and(|seen| seen < known.journal_settled)
    };
    if known.ledger_was_there
        && known.ledger.is_none()
        && (known.last.fault.is_some() || last.is_some_and(is_behind))
    {
        lost.push("the ledger cannot be read, and the last state may be an older one".to_owned());
    }
    if known.ledger.is_some_and(|ledger| ledger.accounts.unsure) {
        lost.push("the audit log is not as it was written".to_owned());
    }
    lost
}

fn nameless(epoch: Epoch, reason: String, at: Timestamp) -> ScopedHold {
    let hold = Hold {
        epoch,
        bite: HoldEffect::Kill,
        source: Source::Unaccounted,
        reason,
        operator: ACTOR.to_owned(),
        taken_at: at,
    };
    ScopedHold {
        scope: Scope::All,
        hold,
    }
}

/// The ledger's word, and what the last state knows beyond it.
fn union(
    ledger: &LedgerSnapshot,
    last: Option<&Stored>,
    pending: &[JournalEntry],
    told: &mut Vec<String>,
) -> Stored {
    let mut stored = ledger.owned();
    let Some(last) = last else { return stored };
    // What the journal still has comes back by its own record.
    let journalled: BTreeSet<&str> = pending
        .iter()
        .map(|entry| entry.record.once.as_str())
        .collect();
    for held in &last.holds {
        let epoch = &held.hold.epoch;
        let known = stored.holds.iter().any(|known| known.hold.epoch == *epoch);
        if !known
            && !ledger.accounts.ended.contains(epoch)
            && !journalled.contains(epoch.0.as_str())
        {
            let mut hold = held.hold.clone();
            if hold.source.is_declared() {
                // It held before the ledger had it; what declared it says anew whether it still
                // does, and records it.
                told.push(format!(
                    "hold {epoch}: the ledger lacks it; what declared it ends it ({})",
                    hold.source
                ));
            } else {
                hold.source = Source::Unaccounted;
            }
            stored.holds.push(ScopedHold {
                scope: held.scope.clone(),
                hold,
            });
        }
    }
    for row in &last.throttles {
        match stored
            .throttles
            .iter_mut()
            .find(|known| known.name == row.name)
        {
            Some(known) => join(ledger.unexplained(known), known, row, told),
            None => stored.throttles.push(row.clone()),
        }
    }
    stored
}

/// What the last state knows of a throttle, joined to its row; `by_log` is what the log says in the
/// row's place, where that does not follow from it.
fn join(
    by_log: Option<&Unexplained>,
    known: &mut ThrottleRow,
    last: &ThrottleRow,
    told: &mut Vec<String>,
) {
    if let Some(by_log) = by_log {
        return distrust(known, by_log, Some(last));
    }
    // In no entry of the log either: more may wait than the ledger says.
    if let (Some(offered), Some(last)) = (&known.offered, &last.offered) {
        known.offered = Some(offered.safer(last));
    }
    let (was, number) = (known.declared, known.generation);
    raise(known, last);
    if was != known.declared {
        // The ledger lacks this declaration: under a number of its own it is recorded with the next
        // step.
        known.generation = known.generation.max(number.saturating_add(1));
        told.push(format!(
            "{}: the last state knows a higher level than the ledger",
            last.name
        ));
    }
}

/// No level below what the last state says, unless a newer declaration explains it; and a level in
/// force that was lower is reached again in the loop's own steps.
fn raise(known: &mut ThrottleRow, last: &ThrottleRow) {
    known.effective = known.effective.safer(last.effective);
    if known.generation <= last.generation {
        known.declared = known.declared.safer(last.declared);
        known.generation = last.generation;
    }
}

/// Takes a row that does not follow from the log for what it may safely be: no level below any that
/// is known, and no specification that exempts requests but the one that was declared.
fn distrust(known: &mut ThrottleRow, by_log: &Unexplained, last: Option<&ThrottleRow>) {
    known.declared = known.declared.safer(by_log.level);
    known.generation = known.generation.max(by_log.generation);
    if let Some(last) = last {
        known.declared = known.declared.safer(last.declared);
        known.effective = known.effective.safer(last.effective);
        known.generation = known.generation.max(last.generation);
    }
    known.effective = known.effective.safer(known.declared);
    let Some(declared) = &by_log.spec else { return };
    let spec = last
        .and_then(|last| last.spec.clone())
        .or_else(|| known.spec.take());
    known.spec = match spec {
        _ if declared.is_empty() => None,
        Some(spec) if by_log.is(&spec) => Some(spec),
        spec => spec.map(|spec| spec.without_exemptions()),
    };
}
