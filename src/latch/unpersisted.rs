//! What neither journal nor ledger took, kept in memory. Bounded, and what stops something is never
//! given up for it.

use crate::domain::audit::{AuditAction, AuditDraft, CommandRecord, CommandResponse};
use crate::ports::{Effect, JournalEntry};
use crate::sync::Mutex;

/// Commands kept: some hundred bytes each, and each a person's.
const MOST: usize = 4096;
/// The action of the one entry that stands for all that found no room.
const TALLY: AuditAction = AuditAction::CommandsNotKept;

/// The commands, oldest first.
#[derive(Default)]
pub(super) struct UnpersistedCommands(Mutex<Vec<JournalEntry>>);

impl UnpersistedCommands {
    /// Keeps one. Where there is no room, the oldest goes that repeated what held already, then the
    /// oldest level; what went is counted in an entry of its own, and answered. A hold never goes:
    /// there is at most one of each throttle's.
    pub(super) fn push(&self, entry: JournalEntry) -> Vec<String> {
        let (mut all, mut gone) = (self.0.lock(), Vec::new());
        while all.len() >= MOST
            && let Some(once) = make_room(&mut all)
        {
            gone.push(once);
        }
        all.push(entry);
        gone
    }

    /// The ledger has this one.
    pub(super) fn entered(&self, once: &str) {
        self.0.lock().retain(|owed| owed.record.once != once);
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<JournalEntry> {
        self.0.lock().clone()
    }

    /// Whether the one with this id is among them.
    pub(super) fn has(&self, once: &str) -> bool {
        self.0.lock().iter().any(|owed| owed.record.once == once)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// Gives one up, if there is one that may be; answers its id.
fn make_room(all: &mut Vec<JournalEntry>) -> Option<String> {
    let is_tally = |entry: &JournalEntry| entry.record.audit.action == TALLY;
    let repeats = |entry: &JournalEntry| entry.effect == Effect::Nothing && !is_tally(entry);
    let is_level = |entry: &JournalEntry| matches!(entry.effect, Effect::Level { .. });
    let index = all
        .iter()
        .position(repeats)
        .or_else(|| all.iter().position(is_level))?;
    let gone = all.remove(index);
    match all.iter_mut().find(|entry| is_tally(entry)) {
        Some(tally) => count_one_more(&mut tally.record.audit),
        None => all.insert(index, tally(&gone.record)),
    }
    Some(gone.record.once)
}

fn tally(first: &CommandRecord) -> JournalEntry {
    let audit = AuditDraft {
        after: "1".to_owned(),
        reason: "done and answered as pending, then too many to keep while neither journal nor ledger could be written"
            .to_owned(),
        ..AuditDraft::own(first.audit.at, TALLY)
    };
    let answer = CommandResponse {
        key: None,
        ..first.answer.clone()
    };
    JournalEntry {
        effect: Effect::Nothing,
        record: CommandRecord {
            once: format!("{}-tally", first.once),
            audit,
            answer,
        },
    }
}

fn count_one_more(audit: &mut AuditDraft) {
    audit.after = audit
        .after
        .parse::<u64>()
        .unwrap_or(0)
        .saturating_add(1)
        .to_string();
}
