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

use crate::decide::outcome::PlanOutcome;
use crate::decide::targets;
use crate::domain::audit::{AuditDraft, Change, IntentId};
use crate::domain::drift::Side;
use crate::domain::hold::{Epoch, Hold, Scope, ScopedHold, Source};
use crate::domain::plan::StepOutcome;
use crate::domain::throttle::{Declared, ThrottleName};
use crate::ports::{LedgerError, Stored};

use super::change_queue::{ChangeQueue, CommitOutcome};
use super::memory::new_id;
use super::{ReconcileContext, StartedPass};

use intention::Intention;
use words::{draft, listed};

/// What the ledger has been told, and what it is still owed.
pub(super) struct PassRecorder {
    /// Holds that it has, or is owed.
    holds: BTreeMap<Epoch, ScopedHold>,
    owed: ChangeQueue,
}

/// The intent of one step: the step's number and the intent's id.
pub(super) type Intent = (usize, IntentId);

impl PassRecorder {
    pub(super) fn new(stored: &Stored) -> Self {
        let holds = stored
            .holds
            .iter()
            .map(|held| (held.hold.epoch.clone(), held.clone()));
        Self {
            holds: holds.collect(),
            owed: ChangeQueue::default(),
        }
    }

    /// A pass begins, when this was the gates' newest tightening.
    pub(super) fn begin(&mut self, known: u64) {
        self.owed.begin(known);
    }

    /// Nothing more of this pass waits for the ledger.
    pub(super) fn give_up(&mut self) {
        self.owed.give_up();
    }

    /// Brings commands to the ledger that it did not take before.
    pub(super) async fn settle(&mut self, parts: &ReconcileContext) {
        if !self.owed.is_silent()
            && self
                .owed
                .within(parts, parts.latch.retry_pending())
                .await
                .is_none()
        {
            self.owed.give_up();
        }
    }

    /// Brings the ledger up to date: with commands, with what it did not take before, and with the
    /// holds there are now.
    pub(super) async fn catch_up(&mut self, parts: &ReconcileContext, all: &[Arc<Declared>]) {
        self.settle(parts).await;
        self.holds(parts, all);
        self.owed.tell_all(parts).await;
    }

    /// Records holds that the cluster shows and the ledger does not know, and the end of those that
    /// ended there. Holds of REST and of a manifest are recorded by the door they came through.
    fn holds(&mut self, parts: &ReconcileContext, all: &[Arc<Declared>]) {
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
            if let Some(known) = self.holds.get_mut(*epoch) {
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
                self.holds.insert((*epoch).clone(), held);
            }
        }
        let gone: Vec<_> = self
            .holds
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
                self.holds.remove(&held.hold.epoch);
            }
        }
    }

    /// Makes the intent durable. Where the ledger does not take it nothing opens, and it is owed
    /// what has begun.
    pub(super) async fn intent(&mut self, parts: &ReconcileContext, begun: &mut StartedPass) {
        let intention = Intention::of(begun);
        let change = intention.change(|_| true);
        if change == Change::default() {
            begun.recorded = true;
            return;
        }
        let asked = self.owed.ask(parts, change.clone()).await;
        let (owed, intents) = match asked {
            CommitOutcome::Taken => {
                if let Some((state, offered)) = intention.state() {
                    begun.memory.recorded(state, offered);
                }
                begun.recorded = true;
                (None, intention.intents(|_| true))
            }
            CommitOutcome::Unheard => {
                self.owed.unheard(parts);
                begun.memory.doubts();
                // It may have all of it, and then this does nothing.
                (Some(change), intention.intents(|_| true))
            }
            CommitOutcome::Not(why) => {
                match &why {
                    Some(LedgerError::Conflict(_)) => {
                        tracing::debug!("declared anew; the next pass goes by that")
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

    /// Records what became of a plan; each intent gets its one outcome.
    pub(super) async fn outcome(
        &mut self,
        parts: &ReconcileContext,
        begun: &StartedPass,
        outcome: &PlanOutcome,
    ) {
        let plan = &begun.planned.plan;
        let now = begun.now.wall;
        let mut change = own(now);
        change.drifts.clone_from(&outcome.drifts);
        for (index, id) in &begun.intents {
            let Some((step, done)) = plan.steps.get(*index).zip(outcome.steps.get(*index)) else {
                continue;
            };
            let Some(told) = targets::words(&step.action) else {
                continue;
            };
            let mut entry = draft(plan.throttle.as_str(), told.outcome, now);
            (entry.before, entry.after) = (told.before, told.after);
            entry.reason = match done {
                StepOutcome::Yes => "done".to_owned(),
                StepOutcome::Held(by) => format!("taken, and held there: {by}"),
                StepOutcome::Failed(error) => format!("failed: {error}"),
                StepOutcome::Skipped(why) => format!("not tried: {why}"),
                StepOutcome::Overtaken(why) => format!("not done: {why}"),
                StepOutcome::Refused(why) => format!("not done: {why}"),
            };
            entry.request_id.clone_from(&id.0);
            change.audit.push(entry);
            change.settles.push(id.clone());
        }
        if !(change.audit.is_empty() && change.drifts.is_empty()) {
            self.owed.tell(parts, change).await;
        }
    }
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
        ("kill", "killed")
    } else {
        ("override", "tightened")
    };
    let mut entry = draft(name, action, now);
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
    let mut entry = draft(throttle, "hold_ended", now);
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
