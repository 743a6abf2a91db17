//! The loop's words to the ledger: intent before, outcome after, and holds that came and went in
//! the cluster.
//!
//! What the ledger does not take is owed, with the time when it was. Nothing that opens is done
//! before its intent is in; what closes has been done already.

mod intention;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::decide::outcome::{PlanOutcome, corrected};
use crate::decide::targets;
use crate::domain::audit::{AuditAction, AuditDraft, Change, IntentId};
use crate::domain::drift::Side;
use crate::domain::hold::{Epoch, Hold, Scope, ScopedHold, Source};
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::throttle::{Declared, ThrottleName};
use crate::ports::{LedgerError, Stored};
use crate::sync::Mutex;

use super::ReconcileContext;
use super::calls::OpenWrite;
use super::change_queue::{ChangeQueue, CommitOutcome};
use super::memory::new_id;
use super::patience::LedgerPatience;
use super::started::StartedPass;

use intention::Intention;
use words::listed;

/// What the ledger has been told, and what it is still owed.
pub(super) struct PassRecorder {
    /// Holds that it has, or is owed.
    holds: Mutex<BTreeMap<Epoch, ScopedHold>>,
    owed: ChangeQueue,
}

impl PassRecorder {
    pub(super) fn new(stored: &Stored) -> Self {
        let holds = stored
            .holds
            .iter()
            .map(|held| (held.hold.epoch.clone(), held.clone()));
        Self {
            holds: Mutex::new(holds.collect()),
            owed: ChangeQueue::default(),
        }
    }

    /// Whether nobody waits for the ledger, since it did not take something.
    pub(super) fn is_silent(&self) -> bool {
        self.owed.is_silent()
    }

    /// Whether the ledger takes changes, and has all that it was owed.
    pub(super) fn is_clear(&self) -> bool {
        self.owed.is_clear()
    }

    /// Brings commands to the ledger that it did not take before.
    pub(super) async fn settle(&self, patience: &LedgerPatience<'_>) {
        // Those that are not taken stay owed, and are told again at the next look.
        let _told = patience.wait(patience.parts.latch.retry_pending()).await;
        if self.owed.probe(patience).await {
            // What they could not record they can now.
            patience.parts.wake.wake(&Scope::All);
        }
    }

    /// Brings the ledger up to date: with commands, with what it did not take before, and with the
    /// holds there are now.
    pub(super) async fn catch_up(&self, patience: &LedgerPatience<'_>) {
        self.settle(patience).await;
        // By now: a hold may have ended while an earlier command was told.
        self.holds(patience.parts, &patience.parts.desired.declared());
        self.owed.tell_owed(patience).await;
    }

    /// Records the holds of one throttle that the ledger does not know, and the end of those that
    /// its pass `before` had, ahead of what is done for them: with all throttles that have them.
    async fn holds_of(&self, patience: &LedgerPatience<'_>, throttle: &Declared, before: &[Epoch]) {
        let has = |epoch: &Epoch| throttle.holds.iter().any(|hold| hold.epoch == *epoch);
        let latch = &patience.parts.latch;
        let is_news = {
            let known = self.holds.lock();
            let mut new = throttle.holds.iter().filter(|hold| recorded_here(hold));
            new.any(|hold| !known.contains_key(&hold.epoch) && !latch.owes(&hold.epoch))
                || (before.iter()).any(|epoch| !has(epoch) && known.contains_key(epoch))
        };
        if is_news {
            self.holds(patience.parts, &patience.parts.desired.declared());
            self.owed.tell_owed(patience).await;
        }
    }

    /// Records holds that the cluster shows and the ledger does not know, and the end of those that
    /// ended there. Holds of REST and of a manifest are recorded by the door they came through.
    fn holds(&self, parts: &ReconcileContext, all: &[Arc<Declared>]) {
        let mut known_holds = self.holds.lock();
        let now = parts.clock.now();
        let mut live: BTreeMap<&Epoch, (&Hold, Vec<&ThrottleName>)> = BTreeMap::new();
        for throttle in all {
            for hold in throttle.holds.iter().filter(|hold| recorded_here(hold)) {
                live.entry(&hold.epoch)
                    .or_insert_with(|| (hold, Vec::new()))
                    .1
                    .push(&throttle.name);
            }
        }
        for (epoch, (hold, names)) in &live {
            if let Some(known) = known_holds.get_mut(*epoch) {
                // What its own command recorded ends with its object all the same.
                known.hold.source.clone_from(&hold.source);
                continue;
            }
            // Its command says what it is: an object that bears its id may be anybody's.
            if parts.latch.owes(epoch) {
                continue;
            }
            let (held, entry) = beginning(hold, names, now);
            // Its own command may have recorded it: then nothing is left to say.
            let change = Change {
                begins: vec![(held.clone(), entry)],
                ..own(now)
            };
            if self.owed.push(change) {
                known_holds.insert((*epoch).clone(), held);
            }
        }
        let gone: Vec<_> = known_holds
            .values()
            .filter(|h| recorded_here(&h.hold) && !live.contains_key(&h.hold.epoch))
            .cloned()
            .collect();
        for held in gone {
            let entry = end(&held, now);
            let change = Change {
                audit: vec![entry],
                holds_ended: vec![held.hold.epoch.clone()],
                ..own(now)
            };
            if self.owed.push(change) {
                known_holds.remove(&held.hold.epoch);
            }
        }
    }

    /// Makes the intent durable. Where the ledger does not take it nothing opens, and it is owed
    /// what has begun.
    pub(super) async fn intent(&self, parts: &ReconcileContext, begun: &mut StartedPass) {
        let throttle = Arc::clone(&begun.throttle);
        let patience = begun.patience(parts, &throttle.name);
        self.holds_of(&patience, &throttle, &begun.last.held).await;
        let intention = Intention::of(begun);
        let change = intention.change(|_| true);
        if change == Change::default() {
            begun.recorded = true;
            return;
        }
        let asked = self.owed.ask(&patience, change.clone()).await;
        let (owed, intents) = match asked {
            CommitOutcome::Taken => {
                if let Some((state, offered)) = intention.state() {
                    begun.memory.recorded(state, offered);
                }
                begun.recorded = true;
                (None, intention.intents(|_| true))
            }
            CommitOutcome::Unheard => {
                begun.memory.doubts();
                // It may have all of it, and then this does nothing.
                (Some(change), intention.intents(|_| true))
            }
            CommitOutcome::Not(why) => {
                match &why {
                    Some(LedgerError::Conflict(_)) => {
                        tracing::debug!("declared anew; the next pass goes by that")
                    }
                    // That is this throttle's trouble, and no other's.
                    Some(error @ LedgerError::Refused(_)) => {
                        tracing::error!(throttle = %throttle.name, %error, "an intent was refused");
                    }
                    Some(error) => self.owed.away(error),
                    None => {} // it was told when it began
                }
                let closes = |side| side == Side::Safer;
                (Some(intention.change(closes)), intention.intents(closes))
            }
        };
        begun.intents = intents;
        // The state is told anew by the pass that finds the ledger well: an older one would stand
        // in for the newest.
        let owed = owed.map(|change| Change {
            throttles: Vec::new(),
            ..change
        });
        if let Some(owed) = owed.filter(|owed| !owed.audit.is_empty()) {
            let _kept = self.owed.push(owed);
        }
    }

    /// Records what became of a plan; each intent gets its one outcome. What is under way gets it
    /// when it ends.
    pub(super) async fn outcome(
        &self,
        patience: &LedgerPatience<'_>,
        begun: &StartedPass,
        outcome: &PlanOutcome,
    ) {
        let plan = &begun.planned.plan;
        let now = begun.now.wall;
        let mut change = own(now);
        change.drifts.clone_from(&outcome.drifts);
        for (index, id) in &begun.intents {
            let of_step = plan.steps.get(*index).zip(outcome.steps.get(*index));
            if let Some(ended) = of_step.filter(|(_, done)| **done != StepOutcome::UnderWay) {
                settle(&mut change, &plan.throttle, ended, id, now);
            }
        }
        if !(change.audit.is_empty() && change.drifts.is_empty()) {
            self.owed.tell(patience, change).await;
        }
    }

    /// Owes what became of a step that its pass did not wait for.
    pub(super) fn ended(&self, throttle: &ThrottleName, write: &OpenWrite, done: &StepOutcome) {
        let now = write.at.wall;
        let mut change = own(now);
        if let Some(id) = &write.intent {
            settle(&mut change, throttle, (&write.step, done), id, now);
        }
        change.drifts.extend(corrected(&write.step, done));
        if !(change.audit.is_empty() && change.drifts.is_empty()) {
            let _kept = self.owed.push_outcome(change);
        }
    }

    /// The same of steps that were broken off.
    pub(super) fn left(&self, throttle: &ThrottleName, writes: &[OpenWrite], done: &StepOutcome) {
        for write in writes {
            self.ended(throttle, write, done);
        }
    }
}

/// Adds the outcome of a step to a change, if it is one that is told.
fn settle(
    change: &mut Change,
    throttle: &ThrottleName,
    (step, done): (&Step, &StepOutcome),
    intent: &IntentId,
    now: Timestamp,
) {
    let Some(told) = targets::words(&step.action) else {
        return;
    };
    let mut entry = AuditDraft::own(now, told.outcome).on(throttle.as_str());
    (entry.before, entry.after) = (told.before, told.after);
    entry.reason = match done {
        StepOutcome::Yes => "done".to_owned(),
        StepOutcome::UnderWay => "it is under way".to_owned(),
        StepOutcome::Held(by) => format!("taken, and held there: {by}"),
        StepOutcome::Failed(error) => format!("failed: {error}"),
        StepOutcome::Skipped(why) => format!("not tried: {why}"),
        StepOutcome::Overtaken(why) => format!("not done: {why}"),
        StepOutcome::Refused(why) => format!("not done: {why}"),
    };
    entry.request_id.clone_from(&intent.0);
    change.audit.push(entry);
    change.settles.push(intent.clone());
}

/// A change of the loop's own. Told twice, it is made once.
fn own(now: Timestamp) -> Change {
    Change {
        once: Some(new_id(now)),
        ..Change::default()
    }
}

/// A hold of the cluster that the ledger does not know, and the entry of it.
fn beginning(hold: &Hold, names: &[&ThrottleName], now: Timestamp) -> (ScopedHold, AuditDraft) {
    // Of several throttles it is an entry of all, which is found under every name; which ones it
    // says itself.
    let (scope, name, whom) = match names {
        [one] => (Scope::One((*one).clone()), one.as_str(), String::new()),
        several => (Scope::All, "", format!(": {}", listed(several))),
    };
    let (action, did) = if hold.is_kill() {
        (AuditAction::Kill, "killed")
    } else {
        (AuditAction::Override, "tightened")
    };
    let mut entry = AuditDraft::own(now, action).on(name);
    entry.actor = hold.source.to_string();
    entry.after = format!("{did} {}{whom}", hold.epoch);
    (entry.reason, entry.operator) = (hold.reason.clone(), hold.operator.clone());
    let hold = hold.clone();
    (ScopedHold { scope, hold }, entry)
}

/// The entry of a hold that has ended in the cluster.
fn end(held: &ScopedHold, now: Timestamp) -> AuditDraft {
    let throttle = if let Scope::One(name) = &held.scope {
        name.as_str()
    } else {
        ""
    };
    let mut entry = AuditDraft::own(now, AuditAction::HoldEnded).on(throttle);
    entry.before = held.hold.epoch.to_string();
    entry.reason = format!("{} is gone", held.hold.source);
    entry
}

fn recorded_here(hold: &Hold) -> bool {
    !matches!(
        hold.source,
        Source::Rest | Source::Manifest | Source::Unaccounted
    )
}
