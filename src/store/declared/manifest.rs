//! Declarations that a manifest file owns: what the file says, and what REST may add to it.
//!
//! The file's word is taken over once the ledger has it; what is safer of it holds before that. Knows no files.

use jiff::Timestamp;

use super::LedgerDesired;
use super::lock;
use super::state::{State, hear};
use crate::domain::audit::{Answer, AuditDraft, Change, Record, ThrottleRow};
use crate::domain::evidence::Evidence;
use crate::domain::hold::{Bite, Epoch, HeldBy, Hold, Scope, ScopedHold, Source};
use crate::domain::level::Level;
use crate::domain::offered::Offered;
use crate::domain::text::{self, REASON_LIMIT};
use crate::domain::throttle::{Declared, FromFile, Mode, Owner, ThrottleName};
use crate::ports::{Declaration, DesiredError};

/// What taking over a manifest came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Throttles that changed.
    pub changed: Vec<ThrottleName>,
    /// Holds of the file that ended, for the gate to let go.
    pub ended: Vec<Epoch>,
    /// Throttles that the file owned and no longer names: they keep their last state.
    pub left: Vec<ThrottleName>,
}

/// One throttle before and after.
struct Move {
    before: Option<Declared>,
    after: Declared,
    taken: Option<ScopedHold>,
    ended: Vec<Epoch>,
}

impl LedgerDesired {
    /// What is safer in a file than what is declared, in memory at once: the loop must not open what closes. What is new
    /// stands at what the file declares.
    pub fn foresee(&self, file: &[FromFile], at: Timestamp) {
        foresee(&mut lock(&self.state), file, at);
    }

    /// Takes over what a file declares; each throttle that changes is one audit entry, and a kill that begins or ends
    /// another one, by the word by which all such are found.
    ///
    /// # Errors
    /// While the ledger does not take it; what [`LedgerDesired::foresee`] tightened stays.
    pub async fn take_over(&self, file: &[FromFile], at: Timestamp) -> Result<Taken, DesiredError> {
        let _one_at_a_time = self.declaring.lock().await;
        let now = lock(&self.state).known();
        let moves = moves(&now, file, at);
        let mut taken = Taken {
            left: now
                .iter()
                .filter(|d| d.owner == Owner::Manifest && !file.iter().any(|f| f.name == d.name))
                .map(|d| d.name.clone())
                .collect(),
            ..Taken::default()
        };
        if moves.is_empty() {
            return Ok(taken);
        }
        let mut change = Change::default();
        for Move { before, after, taken, ended } in &moves {
            change.audit.push(entry(before.as_ref(), after, taken.as_ref(), at));
            change.audit.extend(taken.iter().map(|taken| kill(after, &taken.hold, at)));
            change.audit.extend(ended.iter().map(|epoch| end(after, epoch, at)));
            change.throttles.push(row(after));
            change.holds_taken.extend(taken.clone());
            change.holds_ended.extend(ended.iter().cloned());
        }
        let asked = change.holds_taken.clone();
        if self.commit(change).await?.repeated {
            self.look_again(&asked, file, at).await?;
            return Err(DesiredError::Unavailable(
                "the ledger knew a hold of it already: it is asked again".to_owned(),
            ));
        }
        let mut state = lock(&self.state);
        for Move { after, taken: hold, ended, .. } in moves {
            taken.changed.push(after.name.clone());
            taken.ended.extend(ended.iter().cloned());
            state.adopt_holds(hold.as_slice());
            state.put(after);
            state.release(&ended);
        }
        state.publish();
        drop(state);
        self.woken.notify_one();
        Ok(taken)
    }

    /// Brings memory in line with a ledger that knew one of these holds, so that nothing of the change was made: either
    /// the change before was, unheard; or the number of a hold is spent, and the next one is the file's.
    async fn look_again(&self, asked: &[ScopedHold], file: &[FromFile], at: Timestamp) -> Result<(), DesiredError> {
        let stored = self.stored().await?;
        let mut state = lock(&self.state);
        state.adopt(&stored.throttles);
        for ScopedHold { scope, hold } in asked {
            let known = stored.holds.iter().find(|known| known.hold.epoch == hold.epoch);
            let Scope::One(name) = scope else { continue };
            if known.is_some_and(|known| known.hold.source == Source::Manifest) {
                continue; // in memory since it was foreseen
            }
            if known.is_none() {
                state.release(std::slice::from_ref(&hold.epoch));
            }
            state.change(name, |declared| declared.generation += 1);
        }
        foresee(&mut state, file, at);
        Ok(())
    }

    /// What `POST /control` does to a throttle that somebody else owns: a hold that only tightens, in place of the one it
    /// made before.
    pub(super) async fn tighten(
        &self,
        found: &Declared,
        level: Level,
        measured: Option<Evidence>,
        mut record: Record,
    ) -> Result<Declaration, DesiredError> {
        let name = &found.name;
        let mine = |hold: &&Hold| hold.source == Source::Rest && !hold.is_kill();
        // Brought again, it is in force already: it takes the place of others, never of itself.
        let other = |hold: &&Hold| mine(hold) && hold.epoch.0 != record.once;
        let before: Vec<Epoch> = found.holds.iter().filter(other).map(|hold| hold.epoch.clone()).collect();
        record.answer.set("generation", found.generation);
        let floor = HeldBy {
            epoch: format!("{name}@{}", found.generation),
            source: found.owner.as_str().to_owned(),
            operator: found.owner.as_str().to_owned(),
            reason: format!("declared {}", found.level),
            since: None,
        };
        if level < found.level {
            record.answer.set("held_by", serde_json::json!([floor]));
            let held = format!(
                "{} is declared by the {}: change it there, and name the throttle there again if it is gone from it",
                found.level, floor.source
            );
            let above = !before.is_empty() || found.stored > found.level;
            let opens = if above { "opens tick by tick (5 s) down to what holds" } else { "none" };
            record.answer.set("next_step", format!("{opens}: {held}"));
            // What is declared from here on is the owner's level; the one that was asked for is in the reason.
            record.audit.after = found.level.to_string();
            record.audit.reason = not_taken(level, &record.audit.reason);
        }
        let hold = (level > found.level).then(|| ScopedHold {
            scope: Scope::One(name.clone()),
            hold: Hold {
                epoch: Epoch(record.once.clone()),
                bite: Bite::AtLeast(level),
                source: Source::Rest,
                reason: said(&record.audit.reason, "POST /control"),
                operator: said(&record.audit.operator, &record.audit.actor),
                taken_at: record.audit.at,
            },
        });
        // What is measured comes with what holds from here on; where less will hold, with that, once the ledger has it.
        let (with_hold, with_end) = if hold.is_some() { (measured, None) } else { (None, measured) };
        if let Some(hold) = &hold {
            let mut state = lock(&self.state);
            state.take(hold, &record);
            state.change(name, |declared| with_hold.into_iter().for_each(|measured| hear(declared, measured)));
        }
        let asked: Answer = record.answer.clone();
        let change =
            Change { holds_taken: hold.iter().cloned().collect(), holds_ended: before.clone(), ..Change::of(record) };
        let receipt = self.commit(change).await?;
        // It was here before: what it ended then has ended, what was taken since has not.
        let live = if receipt.repeated { Some(self.stored().await?.holds) } else { None };
        let holds = |epoch: &Epoch| live.as_ref().is_some_and(|live| live.iter().any(|held| held.hold.epoch == *epoch));
        let mut gone: Vec<Epoch> = before.into_iter().filter(|epoch| !holds(epoch)).collect();
        let mut state = lock(&self.state);
        if let Some(hold) = &hold {
            state.recorded(&hold.hold.epoch);
            gone.extend(Some(hold.hold.epoch.clone()).filter(|epoch| live.is_some() && !holds(epoch)));
        }
        state.release(&gone);
        state.change(name, |declared| with_end.into_iter().for_each(|measured| hear(declared, measured)));
        Ok(Declaration { generation: found.generation, answer: receipt.answer.unwrap_or(asked) })
    }
}

/// What is safer in a file, in memory.
fn foresee(state: &mut State, file: &[FromFile], at: Timestamp) {
    state.forget_foreseen();
    for Move { before, after, taken, .. } in moves(&state.known(), file, at) {
        if before.is_none() {
            // Nothing is in force of it until the ledger has it.
            state.put(Declared { generation: 0, level: Level::STOP, stored: Level::STOP, ..after.clone() });
        }
        state.foresee(&after.name, after.level);
        state.adopt_holds(taken.as_slice());
    }
    state.publish();
}

/// Every throttle that differs from what the file says of it.
fn moves(now: &[Declared], file: &[FromFile], at: Timestamp) -> Vec<Move> {
    file.iter().filter_map(|one| step(now.iter().find(|declared| declared.name == one.name), one, at)).collect()
}

/// What has to change so that a throttle is what the file says; nothing if it is.
fn step(now: Option<&Declared>, file: &FromFile, at: Timestamp) -> Option<Move> {
    let held: Vec<&Hold> =
        now.iter().flat_map(|now| &now.holds).filter(|hold| hold.source == Source::Manifest).collect();
    let same = now.is_some_and(|now| {
        now.owner == Owner::Manifest && now.generation > 0 && now.level == file.level && now.spec() == file.spec
    });
    // A kill that is foreseen is in memory under the epoch it will have.
    let recorded = now.is_some_and(|now| held.iter().all(|hold| hold.epoch.0 != epoch(now, now.generation + 1).0));
    if same && recorded && held.is_empty() == file.kill.is_none() {
        return None;
    }
    let generation = now.map_or(0, |now| now.generation) + 1;
    let mut after = now.cloned().unwrap_or_else(|| Declared::bare(file.name.clone(), file.level));
    if now.is_none_or(|now| now.generation == 0) {
        // A new throttle starts where it is declared; one that only observes asks for nothing.
        after.stored = if file.spec.mode == Mode::Observe { Level::OPEN } else { file.level };
        after.offered = Some(Offered::new_throttle());
    }
    (after.owner, after.level, after.generation) = (Owner::Manifest, file.level, generation);
    after.set_spec(file.spec.clone());
    let next = epoch(&after, generation);
    let kept = held.iter().any(|hold| hold.epoch != next);
    let taken = file.kill.as_ref().filter(|_| !kept).map(|words| ScopedHold {
        scope: Scope::One(file.name.clone()),
        hold: Hold {
            epoch: next.clone(),
            bite: Bite::Kill,
            source: Source::Manifest,
            reason: words.reason.clone(),
            operator: words.operator.clone(),
            taken_at: at,
        },
    });
    let ended = if file.kill.is_none() { held.iter().map(|hold| hold.epoch.clone()).collect() } else { Vec::new() };
    Some(Move { before: now.cloned(), after, taken, ended })
}

fn epoch(declared: &Declared, generation: i64) -> Epoch {
    Epoch(format!("{}@{generation}", declared.name))
}

fn row(declared: &Declared) -> ThrottleRow {
    ThrottleRow {
        name: declared.name.clone(),
        declared: declared.level,
        effective: declared.stored,
        generation: declared.generation,
        owner: declared.owner,
        spec: Some(declared.spec()),
        offered: declared.offered.clone(),
    }
}

/// Why somebody asked for a level that did not take.
fn not_taken(level: Level, reason: &str) -> String {
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    text::cut(format!("{level} was asked for{why}"), REASON_LIMIT)
}

/// What somebody said, or what is said where nobody did.
fn said(words: &str, otherwise: &str) -> String {
    if words.is_empty() { otherwise } else { words }.to_owned()
}

/// The entry of a kill that the file took.
fn kill(after: &Declared, hold: &Hold, at: Timestamp) -> AuditDraft {
    AuditDraft {
        operator: hold.operator.clone(),
        throttle: after.name.to_string(),
        after: format!("killed {}", hold.epoch),
        reason: hold.reason.clone(),
        binding_signal: "kill".to_owned(),
        ..AuditDraft::new(at, "manifest", "kill")
    }
}

/// The entry of a kill that is gone from the file.
fn end(after: &Declared, epoch: &Epoch, at: Timestamp) -> AuditDraft {
    AuditDraft {
        throttle: after.name.to_string(),
        before: epoch.to_string(),
        reason: format!("gone from the file; generation {}", after.generation),
        ..AuditDraft::new(at, "manifest", "hold_ended")
    }
}

fn entry(before: Option<&Declared>, after: &Declared, taken: Option<&ScopedHold>, at: Timestamp) -> AuditDraft {
    let kill = if taken.is_some() { ", killed" } else { "" };
    let why = taken.map(|taken| format!(": {}", taken.hold.reason)).unwrap_or_default();
    AuditDraft {
        operator: taken.map(|taken| taken.hold.operator.clone()).unwrap_or_default(),
        throttle: after.name.to_string(),
        before: before
            .filter(|before| before.generation > 0)
            .map_or_else(String::new, |before| before.level.to_string()),
        after: format!("{}{kill}", after.level),
        reason: format!("generation {}{why}", after.generation),
        ..AuditDraft::new(at, "manifest", "declare")
    }
}
