//! The loop's words to the ledger: intent before, outcome after, and holds that came and went in the cluster.
//!
//! What the ledger does not take is owed and told again; nothing that opens is done before its intent is in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::decide::plan::Planned;
use crate::decide::precedence::Asked;
use crate::domain::audit::{AuditDraft, Change, IntentId, ThrottleRow};
use crate::domain::drift::Side;
use crate::domain::hold::{Epoch, Hold, Scope, ScopedHold, Source};
use crate::domain::moment::Moment;
use crate::domain::plan::{Action, RemoteOrder, Step};
use crate::domain::throttle::{Declared, ThrottleName};
use crate::ports::{LedgerError, Stored};

use super::apply::Done;
use super::memory::{Memory, new_id};
use super::{Parts, Pass};

/// Who the loop is in audit entries.
const ACTOR: &str = "echo-phoenix";
/// Outcomes kept while the ledger is away: at one a second, four minutes; older intents are closed at the next start.
const OWED: usize = 256;

/// What the ledger has been told, and what it is still owed.
pub(super) struct Records {
    holds: BTreeMap<Epoch, ScopedHold>,
    owed: VecDeque<Change>,
}

/// The intents of one plan: a step's number and its id.
pub(super) type Intents = Vec<(usize, IntentId)>;

impl Records {
    pub(super) fn new(stored: &Stored) -> Self {
        let holds = stored.holds.iter().map(|held| (held.hold.epoch.clone(), held.clone()));
        Self { holds: holds.collect(), owed: VecDeque::new() }
    }

    /// Tells again what the ledger did not take.
    pub(super) async fn catch_up(&mut self, parts: &Parts) {
        while let Some(change) = self.owed.front() {
            match parts.ledger.commit(change.clone()).await {
                Err(LedgerError::Unavailable(_)) => return,
                Err(error) => tracing::error!(%error, "an outcome was refused for good"),
                Ok(_) => {}
            }
            self.owed.pop_front();
        }
    }

    /// Records holds that the cluster shows and the ledger does not know, and the end of those that ended there.
    /// Holds of REST and of a manifest are recorded by the door they came through.
    pub(super) async fn holds(&mut self, parts: &Parts, all: &[Arc<Declared>], now: Timestamp) {
        let mut live: BTreeMap<&Epoch, (&Hold, Vec<&ThrottleName>)> = BTreeMap::new();
        for throttle in all {
            for hold in throttle.holds.iter().filter(|hold| recorded_here(hold)) {
                live.entry(&hold.epoch).or_insert_with(|| (hold, Vec::new())).1.push(&throttle.name);
            }
        }
        for (epoch, (hold, names)) in &live {
            if self.holds.contains_key(*epoch) {
                continue;
            }
            // Of several throttles it is an entry of all, which is found under every name; which ones it says itself.
            let (scope, name, whom) = match names.as_slice() {
                [one] => (Scope::One((*one).clone()), one.as_str(), String::new()),
                several => (Scope::All, "", format!(": {}", listed(several))),
            };
            let mut entry = draft(name, if hold.is_kill() { "kill" } else { "override" }, now);
            entry.actor = hold.source.to_string();
            entry.after = format!("{} {epoch}{whom}", if hold.is_kill() { "killed" } else { "tightened" });
            (entry.reason, entry.operator) = (hold.reason.clone(), hold.operator.clone());
            let held = ScopedHold { scope, hold: (*hold).clone() };
            let change = Change { audit: vec![entry], holds_taken: vec![held.clone()], ..Change::default() };
            if parts.ledger.commit(change).await.is_ok() {
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
            let throttle = if let Scope::One(name) = &held.scope { name.as_str() } else { "" };
            let mut entry = draft(throttle, "hold_ended", now);
            entry.before = held.hold.epoch.to_string();
            entry.reason = format!("{} is gone", held.hold.source);
            let change = Change { audit: vec![entry], holds_ended: vec![held.hold.epoch.clone()], ..Change::default() };
            if parts.ledger.commit(change).await.is_ok() {
                self.holds.remove(&held.hold.epoch);
            }
        }
    }

    /// Makes the intent durable. Answers `None` if the ledger did not take it; then nothing of the plan that opens is left.
    pub(super) async fn intent(
        &mut self,
        parts: &Parts,
        memory: &mut Memory,
        pass: &Pass<'_>,
        planned: &mut Planned,
    ) -> Option<Intents> {
        let Pass { throttle, want, next, now: Moment { wall: now, .. } } = *pass;
        let mut change = Change::default();
        let mut intents = Intents::new();
        let offered = memory.offered.moved(memory.level, planned.effective, want.level);
        let moved = planned.effective != memory.recorded;
        if moved || want.level != memory.asked || throttle.generation != memory.generation || memory.grew(&offered) {
            change.throttles.push(ThrottleRow {
                name: throttle.name.clone(),
                declared: throttle.level,
                effective: planned.effective,
                generation: throttle.generation,
                owner: throttle.owner,
                spec: None,
                offered: Some(offered.clone()),
            });
        }
        if next.shedding != memory.shedding {
            let mut entry = draft(throttle.name.as_str(), if next.shedding { "shed_start" } else { "shed_end" }, now);
            entry.before = memory.level.to_string();
            entry.after = planned.effective.to_string();
            entry.binding_signal = next.reason.as_str().to_owned();
            if memory.shedding {
                entry.reason = format!("refused up to {} since {}", memory.shed_most, memory.shed_since);
            }
            change.audit.push(entry);
        }
        for (index, step) in planned.plan.steps.iter().enumerate() {
            let Some(told) = told(&step.action) else { continue };
            let id = IntentId(new_id(now));
            let mut entry = draft(throttle.name.as_str(), told.intent, now);
            (entry.before, entry.after) = (told.before, told.after);
            entry.reason = reason_of(step, want);
            entry.request_id.clone_from(&id.0);
            change.audit.push(entry);
            change.opens.push(id.clone());
            intents.push((index, id));
        }
        if change == Change::default() {
            return Some(intents);
        }
        let keeps = !change.throttles.is_empty();
        match parts.ledger.commit(change).await {
            Ok(_) => {
                if keeps {
                    memory.recorded(planned.effective, offered);
                }
                Some(intents)
            }
            Err(error) => {
                match &error {
                    LedgerError::Conflict(_) => tracing::debug!(%error, "declared anew; the next pass goes by that"),
                    _ => tracing::error!(throttle = %throttle.name, %error, "nothing opens until the ledger is back"),
                }
                planned.plan.steps.retain(|step| step.side == Side::Safer);
                planned.effective = planned.effective.safer(memory.level);
                None
            }
        }
    }

    /// Records what became of a plan; each intent gets its one outcome.
    pub(super) async fn outcome(
        &mut self,
        parts: &Parts,
        planned: &Planned,
        done: &[Done],
        intents: Intents,
        now: Timestamp,
    ) {
        let mut change = Change { drifts: planned.plan.reported.clone(), ..Change::default() };
        change.drifts.extend(planned.plan.steps.iter().filter_map(|step| step.corrects.clone()));
        for (index, id) in intents {
            let made = planned.plan.steps.get(index).zip(done.get(index));
            let made = made.and_then(|(step, done)| Some((told(&step.action)?, done)));
            let mut entry = match made {
                Some((told, done)) => {
                    let mut entry = draft(planned.plan.throttle.as_str(), told.outcome, now);
                    (entry.before, entry.after) = (told.before, told.after);
                    entry.reason = match done {
                        Done::Yes => "done".to_owned(),
                        Done::Held(by) => format!("taken, and held there: {by}"),
                        Done::Failed(error) => format!("failed: {error}"),
                        Done::Skipped => "not tried: an earlier step failed".to_owned(),
                    };
                    entry
                }
                // The checker took the steps away; the intent has its one outcome all the same.
                None => {
                    let mut entry = draft(planned.plan.throttle.as_str(), "intent_refused", now);
                    "not done: the plan was refused".clone_into(&mut entry.reason);
                    entry
                }
            };
            entry.request_id.clone_from(&id.0);
            change.audit.push(entry);
            change.settles.push(id);
        }
        if change != Change::default() && parts.ledger.commit(change.clone()).await.is_err() {
            if self.owed.len() == OWED {
                self.owed.pop_front();
                tracing::error!("an outcome is lost to the ledger's absence; its intent is closed at the next start");
            }
            self.owed.push_back(change);
        }
    }
}

/// A step as the audit log tells it.
struct Told {
    intent: &'static str,
    outcome: &'static str,
    before: String,
    after: String,
}

/// What is told of a step; nothing of one whose effect stands in the state of the throttle, or that has none.
fn told(action: &Action) -> Option<Told> {
    let told = |(intent, outcome), what: &str, before: String, after: String| {
        Some(Told { intent, outcome, before: format!("{what} {before}"), after: format!("{what} {after}") })
    };
    match action {
        Action::SetGate { .. } => None,
        Action::Scale { from, to, .. } if from == to => None, // only the note on the object is tidied up
        Action::Scale { target, from, to, .. } => {
            told(("scale_intent", "scale"), &target.name, from.to_string(), to.to_string())
        }
        Action::Remote { target, order } => {
            let (before, after) = match order {
                RemoteOrder::Kill { .. } => ("not killed by us".to_owned(), "killed".to_owned()),
                RemoteOrder::Revive { epochs } => (format!("killed {}", listed_epochs(epochs)), "opening".to_owned()),
                RemoteOrder::Level { from, to, .. } => (from.to_string(), to.to_string()),
            };
            told(("remote_intent", "remote"), &target.id(), before, after)
        }
    }
}

fn listed_epochs(epochs: &[Epoch]) -> String {
    epochs.iter().map(|epoch| epoch.0.as_str()).collect::<Vec<_>>().join(",")
}

fn recorded_here(hold: &Hold) -> bool {
    !matches!(hold.source, Source::Rest | Source::Manifest | Source::Unaccounted)
}

/// Names as one bounded text; a hold on every throttle of a large cluster is still one entry.
fn listed(names: &[&ThrottleName]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).map(|name| name.as_str()).collect::<Vec<_>>().join(",");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

fn reason_of(step: &Step, want: &Asked) -> String {
    match &step.corrects {
        Some(drift) => format!("drift {}: found {}", drift.id, drift.actual),
        None => format!("declared by {}", want.source),
    }
}

fn draft(throttle: &str, action: &str, at: Timestamp) -> AuditDraft {
    AuditDraft { throttle: throttle.to_owned(), ..AuditDraft::new(at, ACTOR, action) }
}
