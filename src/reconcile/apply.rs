//! Doing what was planned, in order. Nothing is decided here.
//!
//! A step that fails stops the steps after it that would open; closing steps are all tried.

use std::time::Duration;

use tokio::time::timeout;

use crate::decide::plan::Planned;
use crate::domain::drift::{Outcome, Side};
use crate::domain::level::Level;
use crate::domain::plan::{Action, Plan};
use crate::domain::throttle::{TargetKind, TargetSpec, ThrottleName};
use crate::ports::TargetError;

use super::Parts;

/// How long one step may take.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It was done.
    Yes,
    /// It was tried and failed.
    Failed(String),
    /// It was not tried, because an earlier step failed and this one opens.
    Skipped,
}

/// Does the steps of a plan; answers what became of each.
pub(super) async fn steps(parts: &Parts, plan: &Plan) -> Vec<Done> {
    let mut done = Vec::with_capacity(plan.steps.len());
    let mut failed = false;
    for step in &plan.steps {
        if failed && step.side == Side::Riskier {
            done.push(Done::Skipped);
            continue;
        }
        done.push(match one(parts, &plan.throttle, &step.action).await {
            Ok(()) => Done::Yes,
            Err(error) => {
                failed = true;
                tracing::warn!(throttle = %plan.throttle, %error, "a step failed; it is planned again at the next look");
                Done::Failed(error.to_string())
            }
        });
    }
    done
}

/// What went wrong first, if anything did.
pub(super) fn trouble(done: &[Done]) -> Option<String> {
    done.iter().find_map(|done| if let Done::Failed(error) = done { Some(error.clone()) } else { None })
}

/// Takes out of `planned` what did not happen, so that nothing is remembered as done.
pub(super) fn take_back(planned: &mut Planned, done: &[Done], before: Level) {
    for (step, done) in planned.plan.steps.iter_mut().zip(done) {
        if *done == Done::Yes {
            continue;
        }
        match &step.action {
            Action::SetGate { .. } => planned.effective = before,
            Action::Scale { target, .. } => {
                planned.acknowledged.remove(&TargetSpec::Scale(target.clone()).id());
            }
        }
        if let Some(drift) = &mut step.corrects {
            drift.action = Outcome::Failed;
            drift.error = Some(if let Done::Failed(error) = done { error.clone() } else { "not tried".to_owned() });
        }
    }
}

async fn one(parts: &Parts, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
    let kind = match action {
        Action::SetGate { .. } => TargetKind::Gate,
        Action::Scale { .. } => TargetKind::Scale,
    };
    let Some(target) = parts.targets.get(&kind) else {
        return Err(TargetError::Refused("this process cannot act on such a target".to_owned()));
    };
    match timeout(STEP_LIMIT, target.apply(throttle, action)).await {
        Ok(result) => result,
        Err(_) => Err(TargetError::Unavailable(format!("no answer within {} s", STEP_LIMIT.as_secs()))),
    }
}
