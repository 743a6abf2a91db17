//! What is remembered of differences: their ids, when each was corrected last, and what other sites
//! were told and do not obey.
//!
//! Plain bookkeeping: how long a correction waits is decided in `decide`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::{Memory, new_id};
use crate::decide::damping::Patience;
use crate::domain::drift::{Drift, DriftAction};
use crate::domain::level::Level;
use crate::domain::plan::{Action, Plan, RemoteOrder, Step};
use crate::reconcile::apply::StepOutcome;
use crate::reconcile::gather::Read;

impl Memory {
    /// Gives each drift of a plan its id: the one it had if it is still the same difference, a new
    /// one otherwise. What is only reported and is not new leaves the plan: it was told.
    pub(in crate::reconcile) fn name_drifts(&mut self, plan: &mut Plan, now: Timestamp) {
        let mut still = BTreeMap::new();
        let known = std::mem::take(&mut self.drifts);
        let mut name = |drift: &mut Drift| {
            let before = known
                .get(&drift.target)
                .filter(|old| old.desired == drift.desired && old.actual == drift.actual);
            let is_new = before.is_none();
            match before {
                Some(old) => {
                    drift.id.clone_from(&old.id);
                    drift.first_seen = old.first_seen;
                    drift.count = old.count + 1;
                }
                None => drift.id = new_id(now),
            }
            still.insert(drift.target.clone(), drift.clone());
            is_new
        };
        plan.reported.retain_mut(|drift| name(drift));
        for drift in plan
            .steps
            .iter_mut()
            .filter_map(|step| step.corrects.as_mut())
        {
            name(drift);
        }
        self.drifts = still;
    }

    /// What was read of other sites: whoever obeys, or is heard again, is spoken to without a pause
    /// from here on.
    pub(in crate::reconcile) fn look(&mut self, reads: &[Read], agreeing: &[String]) {
        let now_silent: BTreeSet<_> = reads
            .iter()
            .filter(|(_, read)| read.is_err())
            .map(|(spec, _)| spec.id())
            .collect();
        let silent = std::mem::replace(&mut self.silent, now_silent);
        let heard_again = |id: &String| silent.contains(id) && !self.silent.contains(id);
        self.refusals
            .retain(|id, _| !(self.silent.contains(id) || agreeing.contains(id)));
        self.patience
            .retain(|id, _| !(heard_again(id) || agreeing.contains(id)));
    }

    /// Takes corrections out of a plan that would come too often; they stay reported. While killed
    /// none waits. What another site was told and has not been seen to obey waits too, a stop for
    /// seconds only.
    pub(in crate::reconcile) fn damp(&mut self, plan: &mut Plan, killed: bool, now: Duration) {
        let (damping, patience) = (&self.damping, &self.patience);
        let fights = |step: &Step| {
            let target = step.corrects.as_ref().map(|drift| &drift.target);
            target
                .and_then(|target| damping.get(target))
                .is_some_and(|damping| !damping.allows(now))
        };
        let unheard = |step: &Step| {
            let order = order_of(step);
            let known =
                order.and_then(|(id, word)| patience.get(&id).filter(|known| known.0 == word));
            known.is_some_and(|(word, patience)| !patience.allows(*word == OrderKind::Stop, now))
        };
        let waits = |step: &Step| (!killed && fights(step)) || unheard(step);
        self.damped = !killed && plan.steps.iter().any(fights);
        if plan.steps.iter().any(waits) {
            let (wait, stay): (Vec<_>, Vec<_>) =
                std::mem::take(&mut plan.steps).into_iter().partition(waits);
            plan.steps = stay;
            let waiting = wait.into_iter().filter_map(|step| step.corrects);
            plan.reported.extend(waiting.map(|drift| Drift {
                action: DriftAction::Reported,
                ..drift
            }));
        }
    }

    /// Takes note of what was corrected, and of what other sites were told; not of what was not
    /// tried.
    pub(in crate::reconcile) fn note_corrections(
        &mut self,
        plan: &Plan,
        done: &[StepOutcome],
        now: Duration,
    ) {
        let tried = || {
            plan.steps
                .iter()
                .zip(done)
                .filter(|(_, done)| done.was_tried())
                .map(|(step, _)| step)
        };
        for (id, word) in tried().filter_map(order_of) {
            let known = self
                .patience
                .entry(id)
                .or_insert((word, Patience::default()));
            if known.0 != word {
                *known = (word, Patience::default()); // a new order never waits for an old one
            }
            known.1.sent(now);
        }
        for drift in tried().filter_map(|step| step.corrects.as_ref()) {
            self.damping
                .entry(drift.target.clone())
                .or_default()
                .corrected(now);
        }
    }

    /// Takes note of what became of what other sites were told.
    pub(in crate::reconcile) fn note_refusals(&mut self, plan: &Plan, done: &[StepOutcome]) {
        for (step, done) in plan.steps.iter().zip(done) {
            let Action::Remote { target, .. } = &step.action else {
                continue;
            };
            match done {
                StepOutcome::Failed(why) | StepOutcome::Held(why) => {
                    self.refusals.insert(target.id(), why.clone())
                }
                StepOutcome::Yes => self.refusals.remove(&target.id()),
                StepOutcome::Skipped(_) | StepOutcome::Overtaken(_) => None,
            };
        }
    }

    /// Why another site does not obey.
    pub(in crate::reconcile) fn refusal(&self, target: &str) -> Option<String> {
        self.refusals.get(target).cloned()
    }

    pub(in crate::reconcile) fn open_drifts(&self) -> Vec<String> {
        self.drifts.keys().cloned().collect()
    }
}

/// What another site is told, as far as it is told the same again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderKind {
    Stop,
    End,
    Level(Level),
}

fn order_of(step: &Step) -> Option<(String, OrderKind)> {
    let Action::Remote { target, order } = &step.action else {
        return None;
    };
    let word = match order {
        RemoteOrder::Kill { .. } => OrderKind::Stop,
        RemoteOrder::Revive { .. } => OrderKind::End,
        RemoteOrder::Level { to, .. } => OrderKind::Level(*to),
    };
    Some((target.id(), word))
}
