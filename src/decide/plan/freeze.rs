//! The last of a plan: corrections and orders that would come too often wait, and each difference
//! gets its id. After this the plan is not changed.
//!
//! Knows no clock and no randomness: moments and fresh ids are arguments.

use std::collections::BTreeMap;

use super::Planned;
use crate::decide::facts::Facts;
use crate::decide::targets;
use crate::domain::drift::{Drift, DriftAction};
use crate::domain::plan::Step;

/// Takes steps out whose target has not answered one before yet, and corrections that would come
/// too often; they stay reported. While killed none of the latter waits.
/// What another site was told and has not been seen to obey waits too, a stop for seconds only.
pub(super) fn hold_back(facts: &Facts<'_>, out: &mut Planned) {
    let fights = |step: &Step| !facts.killed && fights(facts, step);
    out.damped = out.plan.steps.iter().any(fights);
    let unanswered = |step: &Step| facts.under_way.contains(&step.action.target());
    let waits = |step: &mut Step| {
        fights(step) || targets::is_repeated(facts, &step.action) || unanswered(step)
    };
    let waiting: Vec<_> = out.plan.steps.extract_if(.., waits).collect();
    let waiting = waiting.into_iter().filter_map(|step| step.corrects);
    out.plan.reported.extend(waiting.map(|drift| Drift {
        action: DriftAction::Reported,
        ..drift
    }));
}

/// Whether a step corrects what was corrected often of late.
fn fights(facts: &Facts<'_>, step: &Step) -> bool {
    let corrected = step
        .corrects
        .as_ref()
        .and_then(|drift| facts.drifts.damping.get(&drift.target));
    corrected.is_some_and(|damping| !damping.allows(facts.now.elapsed))
}

/// Gives each drift its id: the one it had if it is still the same difference, a new one otherwise.
/// What is only reported and is not new leaves the plan: it was told.
pub(super) fn name_drifts(
    facts: &Facts<'_>,
    out: &mut Planned,
    mut fresh_id: impl FnMut() -> String,
) {
    let mut open = BTreeMap::new();
    let mut name = |drift: &mut Drift| {
        let before = facts
            .drifts
            .open
            .get(&drift.target)
            .filter(|old| old.desired == drift.desired && old.actual == drift.actual);
        match before {
            Some(old) => {
                drift.id.clone_from(&old.id);
                drift.first_seen = old.first_seen;
                drift.count = old.count + 1;
            }
            None => drift.id = fresh_id(),
        }
        open.insert(drift.target.clone(), drift.clone());
        before.is_none()
    };
    out.plan.reported.retain_mut(&mut name);
    for step in &mut out.plan.steps {
        if let Some(drift) = &mut step.corrects {
            name(drift);
        }
    }
    out.open = open;
}
