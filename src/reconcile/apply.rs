//! Doing what was planned, in order. Nothing is decided here.
//!
//! A step that fails stops the steps after it that would open; closing steps are all tried. Other sites are told last, all
//! at once, and none of them waits for another.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use crate::decide::plan::Planned;
use crate::domain::drift::{Outcome, Side};
use crate::domain::level::Level;
use crate::domain::plan::{Action, Plan, RemoteOrder, Step};
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
    /// It was acknowledged, and something else holds.
    Held(String),
    /// It was not tried, because an earlier step failed and this one opens.
    Skipped,
}

/// Does the steps of a plan on what is here; answers what became of each.
pub(super) async fn here(parts: &Parts, plan: &Plan) -> Vec<Done> {
    let mut done = Vec::with_capacity(plan.steps.len());
    let mut failed = false;
    for step in plan.steps.iter().take_while(|step| is_here(step)) {
        if failed && step.side == Side::Riskier {
            done.push(Done::Skipped);
            continue;
        }
        done.push(match one(parts, &plan.throttle, &step.action).await {
            Ok(()) => Done::Yes,
            Err(error) => {
                failed = true;
                told(plan, error)
            }
        });
    }
    done
}

/// Does the steps of a plan on other sites, which come last; `before` is what became of those before.
pub(super) async fn elsewhere(parts: &Parts, plan: &Plan, before: &[Done]) -> Vec<Done> {
    let failed = before.iter().any(|done| *done != Done::Yes);
    let steps = plan.steps.iter().skip_while(|step| is_here(step));
    join_all(steps.map(|step| async move {
        if failed && step.side == Side::Riskier {
            return Done::Skipped;
        }
        one(parts, &plan.throttle, &step.action).await.map_or_else(|error| told(plan, error), |()| Done::Yes)
    }))
    .await
}

/// Whether a plan tells other sites anything.
pub(super) fn reaches_out(plan: &Plan) -> bool {
    !plan.steps.iter().all(is_here)
}

fn is_here(step: &Step) -> bool {
    step.action.kind() != TargetKind::Remote
}

fn told(plan: &Plan, error: TargetError) -> Done {
    tracing::warn!(throttle = %plan.throttle, %error, "a step failed; it is planned again at the next look");
    match error {
        TargetError::Held(by) => Done::Held(by),
        error => Done::Failed(error.to_string()),
    }
}

/// What went wrong first, if anything did.
pub(super) fn trouble(done: &[Done]) -> Option<String> {
    done.iter().find_map(|done| match done {
        Done::Failed(error) | Done::Held(error) => Some(error.clone()),
        Done::Yes | Done::Skipped => None,
    })
}

/// Takes out of `planned` what did not happen, so that nothing is remembered as done; puts in what other sites took.
pub(super) fn take_back(planned: &mut Planned, done: &[Done], before: Level) {
    for (step, done) in planned.plan.steps.iter_mut().zip(done) {
        if let (Action::Remote { target, order }, Done::Yes | Done::Held(_)) = (&step.action, done) {
            let sent = planned.sent.entry(target.id()).or_default();
            match order {
                RemoteOrder::Kill { .. } => sent.killed = true,
                RemoteOrder::Revive { .. } => sent.killed = false,
                RemoteOrder::Level { to, .. } => sent.level = Some(*to),
            }
        }
        if *done == Done::Yes {
            continue;
        }
        match &step.action {
            Action::SetGate { .. } => planned.effective = before,
            Action::Scale { target, .. } => {
                planned.acknowledged.remove(&TargetSpec::Scale(target.clone()).id());
            }
            Action::Remote { .. } => {}
        }
        if let Some(drift) = &mut step.corrects {
            drift.action = Outcome::Failed;
            drift.error = Some(match done {
                Done::Failed(error) | Done::Held(error) => error.clone(),
                Done::Yes | Done::Skipped => "not tried".to_owned(),
            });
        }
    }
}

async fn one(parts: &Parts, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
    let Some(target) = parts.targets.get(&action.kind()) else {
        return Err(TargetError::Refused("this process cannot act on such a target".to_owned()));
    };
    match timeout(STEP_LIMIT, target.apply(throttle, action)).await {
        Ok(result) => result,
        Err(_) => Err(TargetError::Unavailable(format!("no answer within {} s", STEP_LIMIT.as_secs()))),
    }
}
