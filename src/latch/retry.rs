//! Telling the ledger again what it lacks: in the order it happened, as far as that matters.
//!
//! What is stuck keeps nothing back but what comes after it for the same throttle, or for all.

use futures::future::{join, join_all};

use super::Latch;
use super::announce::PATIENCE;
use super::in_flight::InFlightCommand;
use super::persist::{EntryOutcome, LEDGER_PATIENCE, UNNOTED};
use crate::domain::hold::{Hold, HoldEffect, Scope};
use crate::domain::level::Level;
use crate::domain::throttle::ThrottleName;
use crate::ports::{DesiredError, Effect, JournalEntry};
use crate::sync::timeout;

/// Throttles whose entries are told at the same time.
const LANES: usize = 8;

impl Latch {
    /// Tells the ledger again what it does not have yet; whoever else is telling it at this moment
    /// is waited for. Answers whether it has all that came before now.
    pub async fn retry_pending(&self) -> bool {
        let pending = self.pending();
        self.again.keep(&pending);
        // Others are told beside it, for as long as the loop lets itself be kept by them.
        let (all, _told) = join(
            self.settle_all(pending.clone()),
            timeout(PATIENCE, self.tell_others(&pending)),
        )
        .await;
        all
    }

    /// The same, for a command that may go into the ledger only behind all that happened before it
    /// to what it means.
    pub(super) async fn catch_up(&self, scope: &Scope) -> Result<(), DesiredError> {
        let before = before(self.pending(), scope);
        let settled = timeout(LEDGER_PATIENCE, self.settle_all(before.clone())).await;
        let lacks = || {
            format!(
                "the ledger lacks an earlier command{}",
                self.again.why(&before)
            )
        };
        settled
            .is_ok_and(|all| all)
            .then_some(())
            .ok_or_else(|| DesiredError::Unavailable(lacks()))
    }

    async fn settle_all(&self, entries: Vec<JournalEntry>) -> bool {
        for lanes in in_turn(entries) {
            let mut all = true;
            for some in lanes.chunks(LANES) {
                let told = join_all(some.iter().map(|lane| self.settle_lane(lane))).await;
                all &= told.iter().all(|told| *told);
                // Where nothing of several gets through, nothing else does.
                if some.len() == LANES && !told.contains(&true) {
                    break;
                }
            }
            if !all {
                return false; // what came later waits, so that the order stays
            }
        }
        true
    }

    async fn settle_lane(&self, lane: &[JournalEntry]) -> bool {
        for entry in lane {
            let _under_way = InFlightCommand::again(self, &entry.record.once).await;
            if !self.lacks(&entry.record.once) {
                self.again.works(&entry.record.once);
                continue; // it is there, with the answer its caller heard; perhaps since we began
            }
            if self.is_unasked(&entry.record.once) {
                return false; // others would hear of it by that
            }
            let told = match &entry.effect {
                // A safer level has come since: what this one asked for is recorded, and declares
                // nothing any more.
                Effect::Level { throttle, level } if self.asked_above(throttle, *level) => {
                    self.commit_entry(
                        &JournalEntry {
                            effect: Effect::Nothing,
                            record: entry.record.clone(),
                        },
                        None,
                    )
                    .await
                }
                _ => self.commit_entry(entry, None).await,
            };
            let why = match told {
                EntryOutcome::NotYet(why) => Some(why),
                EntryOutcome::Unnoted => Some(UNNOTED.to_owned()),
                EntryOutcome::Told(_) | EntryOutcome::Alone(_) | EntryOutcome::LetGo => None,
            };
            if let Some(why) = why {
                self.again.fails(&entry.record, why);
                return false;
            }
            self.again.works(&entry.record.once);
        }
        true
    }

    /// Whether more is asked of a throttle than this level, by its declaration or a hold.
    fn asked_above(&self, throttle: &ThrottleName, level: Level) -> bool {
        let found = self.desired.find(throttle);
        let above = |hold: &Hold| matches!(hold.bite, HoldEffect::AtLeast(held) if held > level);
        found.is_some_and(|found| found.level > level || found.holds.iter().any(above))
    }

    pub(super) fn lacks(&self, once: &str) -> bool {
        let journal = self.journal.as_ref();
        self.owed.has(once) || journal.is_some_and(|journal| journal.is_pending(once))
    }
}

/// The throttle an entry is about; none: all of them.
fn throttle_of(entry: &JournalEntry) -> Option<ThrottleName> {
    match &entry.effect {
        Effect::Hold(held) => match &held.scope {
            Scope::All => None,
            Scope::One(name) => Some(name.clone()),
        },
        Effect::Level { throttle, .. } => Some(throttle.clone()),
        Effect::Nothing => ThrottleName::try_from(entry.record.audit.throttle.clone()).ok(),
    }
}

/// The entries that a command has to wait for: those of what it means, and whatever those wait for.
fn before(entries: Vec<JournalEntry>, scope: &Scope) -> Vec<JournalEntry> {
    let to_all = entries
        .iter()
        .rposition(|entry| throttle_of(entry).is_none())
        .map_or(0, |last| last + 1);
    let waits = |entry: &JournalEntry| throttle_of(entry).is_some_and(|name| scope.covers(&name));
    let all = entries.into_iter().enumerate();
    all.filter(|(index, entry)| *index < to_all || waits(entry))
        .map(|(_, entry)| entry)
        .collect()
}

/// Entries that go one after the other, in lanes that wait for no other; all of these lanes before
/// the next ones.
fn in_turn(entries: Vec<JournalEntry>) -> Vec<Vec<Vec<JournalEntry>>> {
    let mut turns: Vec<Vec<Vec<JournalEntry>>> = Vec::new();
    // Whether the last turn is of all throttles.
    let mut closed = true;
    for entry in entries {
        let of = throttle_of(&entry);
        if of.is_none() || closed {
            closed = of.is_none();
            turns.push(vec![vec![entry]]);
            continue;
        }
        let Some(lanes) = turns.last_mut() else {
            continue;
        };
        match lanes
            .iter_mut()
            .find(|lane| lane.first().is_some_and(|first| throttle_of(first) == of))
        {
            Some(lane) => lane.push(entry),
            None => lanes.push(vec![entry]),
        }
    }
    turns
}
