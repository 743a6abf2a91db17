//! What became of a plan: a second value beside it, made of the plan and of what became of its
//! steps.
//!
//! Nothing is remembered as done that was not.

use std::collections::BTreeMap;

use super::plan::Planned;
use super::targets;
use crate::domain::drift::{Drift, DriftAction};
use crate::domain::level::Level;
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::target::{TargetId, TargetKind, TargetMemory};

/// What became of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanOutcome {
    /// What became of each of its steps, in their order.
    pub steps: Vec<StepOutcome>,
    /// The level that is in force.
    pub effective: Level,
    /// What is remembered of what was done to targets.
    pub memory: BTreeMap<TargetId, TargetMemory>,
    /// Differences to be recorded, with what was done about each.
    pub drifts: Vec<Drift>,
    /// What went wrong first, if anything did.
    pub trouble: Option<String>,
}

/// The level that a plan leaves in force, as far as is known of its steps: with `before`, the level
/// before it, where the step that moves it is refused.
pub fn intended_level(planned: &Planned, known: &[Option<StepOutcome>], before: Level) -> Level {
    let mut steps = planned.plan.steps.iter().zip(known);
    let refused = steps
        .any(|(step, known)| moves_gates(step) && matches!(known, Some(StepOutcome::Refused(_))));
    if refused { before } else { planned.effective }
}

/// What became of a plan whose steps became this, with the level `before` it, and what came too
/// `late` to keep it from opening.
pub fn outcome(
    planned: &Planned,
    steps: Vec<StepOutcome>,
    before: Level,
    late: Option<&str>,
) -> PlanOutcome {
    let mut out = PlanOutcome {
        steps: Vec::new(),
        effective: planned.effective,
        memory: planned.memory.clone(),
        drifts: planned.plan.reported.clone(),
        trouble: trouble(&steps, late),
    };
    for (step, done) in planned.plan.steps.iter().zip(&steps) {
        if moves_gates(step) && *done != StepOutcome::Yes {
            out.effective = before;
        }
        let target = step.action.target();
        let memory = out.memory.remove(&target);
        if let Some(memory) = targets::remembered(&step.action, done, memory) {
            out.memory.insert(target, memory);
        }
        // What is under way is told when it ends.
        if *done != StepOutcome::UnderWay {
            out.drifts.extend(corrected(step, done));
        }
    }
    out.steps = steps;
    out
}

fn moves_gates(step: &Step) -> bool {
    step.action.kind() == TargetKind::Gate
}

/// The drift that a step corrects, if it corrects one, with what that came to.
pub fn corrected(step: &Step, done: &StepOutcome) -> Option<Drift> {
    let drift = step.corrects.clone()?;
    if *done == StepOutcome::Yes {
        return Some(drift);
    }
    Some(Drift {
        action: DriftAction::Failed,
        error: Some(done.trouble().unwrap_or("not tried").to_owned()),
        ..drift
    })
}

/// What went wrong first: that the plan was refused, what came too late, or what a step came to.
fn trouble(steps: &[StepOutcome], late: Option<&str>) -> Option<String> {
    let refused = steps
        .iter()
        .find(|done| matches!(done, StepOutcome::Refused(_)));
    refused
        .and_then(StepOutcome::trouble)
        .or(late)
        .or_else(|| steps.iter().find_map(StepOutcome::trouble))
        .map(str::to_owned)
}
