//! What REST adds to a throttle that somebody else owns: a hold that only tightens.

use super::LedgerDesired;
use super::state::hear;
use crate::domain::audit::{Change, CommandRecord, CommandResponse};
use crate::domain::hold::{Epoch, HeldBy, HeldLevel, Hold, HoldEffect, Scope, ScopedHold, Source};
use crate::domain::level::Level;
use crate::domain::measurement::Measurement;
use crate::domain::text::{self, REASON_LIMIT};
use crate::domain::throttle::{Declared, Owner};
use crate::ports::{Declaration, DesiredError};

impl LedgerDesired {
    /// What `POST /control` does to a throttle that somebody else owns: a hold that only tightens,
    /// in place of the one it made before.
    pub(super) async fn tighten(
        &self,
        found: &Declared,
        level: Level,
        measured: Option<Measurement>,
        mut record: CommandRecord,
    ) -> Result<Declaration, DesiredError> {
        // What came after it keeps its place: what is as tight and owed to the ledger is brought
        // there next.
        let later = self.state.lock().owed_above(level);
        let replaced = replaced(found, &record.once, &later);
        answer_for(&mut record, found, level, &replaced);
        let hold = added(found, level, &record);
        // What is measured comes with what holds from here on; where less will hold, with that,
        // once the ledger has it.
        let (with_hold, with_end) = if hold.is_some() {
            (measured, None)
        } else {
            (None, measured)
        };
        // In place of one that holds more it opens: then it is in memory only once the ledger has
        // it.
        let more = |hold: &&Hold| matches!(hold.bite, HoldEffect::AtLeast(held) if held > level);
        let lowers = replaced.iter().any(more);
        let command = record.clone();
        if !lowers {
            self.take_added(found, hold.as_ref(), &command, with_hold.as_ref());
        }
        // It is no declaration of its own, nor where the ledger refuses it: a hold asks for as
        // much, this one or a higher one.
        self.state.lock().held(&found.name, level, found.level);
        let asked: CommandResponse = record.answer.clone();
        let change = Change {
            holds_taken: hold.iter().cloned().collect(),
            holds_ended: replaced.iter().map(|hold| hold.epoch.clone()).collect(),
            ..Change::of(record)
        };
        let receipt = self.commit(change).await?;
        // It was here before: what it ended then has ended, what was taken since has not, what it
        // did not take then does not begin now, nor is what was measured then what is measured now.
        let epoch = hold.as_ref().map(|held| &held.hold.epoch);
        let is_done = !receipt.repeated || epoch.is_some_and(|epoch| receipt.known.contains(epoch));
        if lowers && is_done {
            self.take_added(found, hold.as_ref(), &command, with_hold.as_ref());
        }
        let mut gone = receipt.over.clone();
        let mut state = self.state.lock();
        if let Some(epoch) = epoch {
            state.recorded(epoch);
            gone.extend((!is_done).then(|| epoch.clone()));
        }
        state.release(&gone);
        let with_end = with_end.filter(|_| is_done);
        state.change(&found.name, |declared| {
            with_end
                .into_iter()
                .for_each(|measured| hear(declared, measured))
        });
        Ok(Declaration {
            generation: found.generation,
            answer: receipt.answer.unwrap_or(asked),
        })
    }

    /// Takes the hold of a command, if it is one, into memory, with what was measured beside it.
    fn take_added(
        &self,
        found: &Declared,
        hold: Option<&ScopedHold>,
        command: &CommandRecord,
        measured: Option<&Measurement>,
    ) {
        let (Some(hold), mut state) = (hold, self.state.lock()) else {
            return;
        };
        state.take(hold, command);
        state.change(&found.name, |declared| {
            measured
                .into_iter()
                .for_each(|measured| hear(declared, measured.clone()));
        });
    }
}

/// The holds whose place a command takes: those that REST made before. Brought again, it is in
/// force already: it takes the place of others, never of itself. `later` came after it.
fn replaced<'a>(found: &'a Declared, once: &str, later: &[Epoch]) -> Vec<&'a Hold> {
    let mine = |hold: &&Hold| hold.source == Source::Rest && !hold.is_kill();
    found
        .holds
        .iter()
        .filter(mine)
        .filter(|hold| hold.epoch.0 != once && !later.contains(&hold.epoch))
        .collect()
}

/// What is answered to a command, and what the record says of it: what it replaces, and what is
/// declared where that is above what it asked for.
fn answer_for(record: &mut CommandRecord, found: &Declared, level: Level, replaced: &[&Hold]) {
    let levels: Vec<_> = replaced
        .iter()
        .filter_map(|hold| HeldLevel::of(hold))
        .collect();
    record.answer.set("replaced", serde_json::json!(levels));
    record.answer.set("generation", found.generation);
    if level >= found.level {
        return;
    }
    let floor = floor(found);
    record.answer.set("held_by", serde_json::json!([floor]));
    let held = format!(
        "{} is declared by the {}: change it there, and name the throttle there again if it is gone from it",
        found.level, floor.source
    );
    let above = !replaced.is_empty() || found.stored > found.level;
    let opens = if above {
        "opens tick by tick (5 s) down to what holds"
    } else {
        "none"
    };
    record.answer.set("next_step", format!("{opens}: {held}"));
    // What is declared from here on is the owner's level; the one that was asked for is in the
    // reason.
    record.audit.after = found.level.to_string();
    record.audit.reason = not_taken(level, &record.audit.reason);
}

/// What somebody else declares of a throttle, as what holds it there.
fn floor(found: &Declared) -> HeldBy {
    HeldBy {
        epoch: format!("{}@{}", found.name, found.generation),
        source: found.owner.as_str().to_owned(),
        operator: found.owner.as_str().to_owned(),
        reason: format!("declared {}", found.level),
        since: None,
    }
}

/// The hold that stands for a level above what somebody else declares of a throttle.
pub(super) fn added(found: &Declared, level: Level, record: &CommandRecord) -> Option<ScopedHold> {
    (found.owner != Owner::Rest && level > found.level).then(|| ScopedHold {
        scope: Scope::One(found.name.clone()),
        hold: Hold {
            epoch: Epoch(record.once.clone()),
            bite: HoldEffect::AtLeast(level),
            source: Source::Rest,
            reason: said(&record.audit.reason, "POST /control"),
            operator: said(&record.audit.operator, &record.audit.actor),
            taken_at: record.audit.at,
        },
    })
}

/// Why somebody asked for a level that did not take.
fn not_taken(level: Level, reason: &str) -> String {
    let why = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    text::cut(format!("{level} was asked for{why}"), REASON_LIMIT)
}

/// What somebody said, or what is said where nobody did.
fn said(words: &str, otherwise: &str) -> String {
    if words.is_empty() { otherwise } else { words }.to_owned()
}
