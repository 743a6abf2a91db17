//! Manners toward other sites: what each was told and has not been seen to obey, who is silent, and
//! why those that answer do not obey.
//!
//! Plain bookkeeping: how long an order waits is decided in `decide`.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::damping::SitePatience;
use crate::decide::outcome::PlanOutcome;
use crate::decide::plan::Planned;
use crate::domain::plan::StepOutcome;
use crate::domain::target::{Action, TargetId};
use crate::reconcile::gather::Read;

/// What is known of other sites.
#[derive(Default)]
pub(in crate::reconcile) struct SiteManners {
    /// The last order of each that has not been seen to obey it.
    patience: BTreeMap<TargetId, SitePatience>,
    /// Those that could not be read in the last pass.
    silent: BTreeSet<TargetId>,
    /// Why those that answer do not obey, as they said when they were last told.
    refusals: BTreeMap<TargetId, String>,
}

impl SiteManners {
    /// What was told and not seen to be obeyed.
    pub(in crate::reconcile) fn patience(&self) -> &BTreeMap<TargetId, SitePatience> {
        &self.patience
    }

    /// Why a site does not obey.
    pub(in crate::reconcile) fn refusal(&self, target: &TargetId) -> Option<String> {
        self.refusals.get(target).cloned()
    }

    /// Takes note of who answered: whoever is heard again is spoken to without a pause from here
    /// on.
    pub(super) fn heard(&mut self, reads: &[Read]) {
        let unread = reads.iter().filter(|(_, read)| read.is_err());
        let now_silent = unread.map(|(spec, _)| spec.id()).collect();
        let silent = std::mem::replace(&mut self.silent, now_silent);
        self.refusals.retain(|id, _| !self.silent.contains(id));
        self.patience
            .retain(|id, _| self.silent.contains(id) || !silent.contains(id));
    }

    /// Takes note of who obeys, of what the others were told, and of what they said; not of what
    /// was not tried.
    pub(super) fn keep(&mut self, planned: &Planned, outcome: &PlanOutcome, now: Duration) {
        for id in &planned.agreeing {
            self.patience.remove(id);
            self.refusals.remove(id);
        }
        for (step, done) in planned.plan.steps.iter().zip(&outcome.steps) {
            let Action::Remote { target, order } = &step.action else {
                continue;
            };
            let (id, order) = (target.id(), order.kind());
            if done.was_tried() {
                let known = self.patience.entry(id.clone());
                let known = known.or_insert_with(|| SitePatience::of(order));
                known.sent(order, now);
            }
            self.answered(&id, done);
        }
    }

    /// Takes note of what a site made of an order.
    pub(super) fn answered(&mut self, id: &TargetId, done: &StepOutcome) {
        match done {
            StepOutcome::Failed(why) | StepOutcome::Held(why) => {
                self.refusals.insert(id.clone(), why.clone());
            }
            StepOutcome::Yes => {
                self.refusals.remove(id);
            }
            StepOutcome::UnderWay
            | StepOutcome::Skipped(_)
            | StepOutcome::Overtaken(_)
            | StepOutcome::Refused(_) => {}
        }
    }
}
