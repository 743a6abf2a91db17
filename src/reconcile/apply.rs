//! Doing what was planned, in order. Nothing is decided here.
//!
//! What closes comes first and needs nothing: closing steps are all tried, and none waits for the
//! ledger. A step that fails stops the steps after it that would open. Each of those asks right
//! before it and after it whether it still may. Other sites are told last, all at once, and none of
//! them waits for another.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use crate::decide::check::{Permissions, check};
use crate::decide::precedence;
use crate::domain::drift::Side;
use crate::domain::level::Level;
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::target::{Action, TargetKind};
use crate::domain::throttle::ThrottleName;
use crate::ports::TargetError;

use super::{ReconcileContext, StartedPass};

/// How long one step may take.
const STEP_LIMIT: Duration = Duration::from_secs(5);

const NOT_TRIED: StepOutcome = StepOutcome::Skipped("an earlier step failed");
const NOT_RECORDED: StepOutcome = StepOutcome::Skipped("the ledger had not taken the intent");

/// What a step that opens asks, when it does: the moment, and not what the pass began with.
#[derive(Clone, Copy)]
pub(super) struct OpeningGuard<'a> {
    pub(super) parts: &'a ReconcileContext,
    /// The newest tightening of the gates when the pass began.
    pub(super) known: u64,
}

impl OpeningGuard<'_> {
    /// What stands against opening this throttle, of which the pass knew that this level was asked
    /// for.
    fn objection(
        &self,
        throttle: &ThrottleName,
        asked: Level,
        kind: TargetKind,
    ) -> Option<&'static str> {
        if !self.parts.desired.leads() {
            return Some("another process leads");
        }
        // A kill is at the gates of this process before it is declared.
        if !self.parts.gate.kills(throttle).is_empty() {
            return Some("a kill came meanwhile");
        }
        if kind == TargetKind::Gate {
            return None; // it refuses by itself what was tightened since
        }
        let Some(declared) = self
            .parts
            .desired
            .declared()
            .into_iter()
            .find(|one| one.name == *throttle)
        else {
            return Some("it is not declared any more");
        };
        let now = precedence::most_restrictive(declared.level, declared.mode, &declared.holds);
        if now.killed {
            return Some("a kill came meanwhile");
        }
        (now.level > asked).then_some("something tighter was declared meanwhile")
    }

    /// One step that opens, of a throttle of which the pass knew that this level was asked for.
    async fn opens(&self, throttle: &ThrottleName, asked: Level, step: &Step) -> Opened {
        let kind = step.action.kind();
        if let Some(why) = self.objection(throttle, asked, kind) {
            return Opened {
                done: StepOutcome::Overtaken(why),
                late: None,
            };
        }
        let done = tokio::select! {
            biased;
            done = one(self.parts, throttle, &step.action) => done,
            // It may be done or not: the next pass reads it back, and it comes at once.
            () = self.parts.gate.held_after(self.known) => StepOutcome::Overtaken("a kill came while it was being done"),
        };
        // A gate that was killed since is shut by that.
        let asks_again = done == StepOutcome::Yes && kind != TargetKind::Gate;
        let late = if asks_again {
            self.objection(throttle, asked, kind)
        } else {
            None
        };
        Opened { done, late }
    }

    /// What keeps all of a plan from opening.
    fn bar(&self, begun: &StartedPass) -> Option<StepOutcome> {
        let may = Permissions {
            killed: begun.want.killed,
            leads: self.parts.desired.leads(),
            recorded: begun.recorded,
        };
        let wrong = check(&begun.planned.plan, begun.memory.law.level, may);
        let to_come = |step: usize| begun.done.get(step).is_some_and(Option::is_none);
        if !wrong.iter().any(|wrong| to_come(wrong.step())) {
            return None;
        }
        Some(if begun.recorded {
            StepOutcome::Overtaken("another process leads")
        } else {
            NOT_RECORDED
        })
    }
}

/// What became of a step that opens, and what came while it was being done.
struct Opened {
    done: StepOutcome,
    late: Option<&'static str>,
}

impl From<StepOutcome> for Opened {
    fn from(done: StepOutcome) -> Self {
        Self { done, late: None }
    }
}

/// Does what closes here.
pub(super) async fn close_here(parts: &ReconcileContext, begun: &mut StartedPass) {
    for (step, done) in begun.planned.plan.steps.iter().zip(&mut begun.done) {
        if done.is_none() && step.side == Side::Safer && is_here(step) {
            *done = Some(one(parts, &begun.throttle.name, &step.action).await);
        }
    }
}

/// Tells other sites what closes.
pub(super) async fn close_elsewhere(parts: &ReconcileContext, begun: &mut StartedPass) {
    let throttle = &begun.throttle.name;
    let steps = begun.planned.plan.steps.iter().zip(&mut begun.done);
    let closing =
        steps.filter(|(step, done)| done.is_none() && step.side == Side::Safer && !is_here(step));
    join_all(
        closing.map(async |(step, done)| *done = Some(one(parts, throttle, &step.action).await)),
    )
    .await;
}

/// Does what opens here, if it is recorded and still may be.
pub(super) async fn open_here(now: OpeningGuard<'_>, begun: &mut StartedPass) {
    let bar = now.bar(begun);
    let mut failed = failed(begun);
    for (step, done) in begun.planned.plan.steps.iter().zip(&mut begun.done) {
        if done.is_some() || !is_here(step) {
            continue;
        }
        let opened = match &bar {
            Some(done) => done.clone().into(),
            None if failed => NOT_TRIED.into(),
            None => {
                now.opens(&begun.throttle.name, begun.want.level, step)
                    .await
            }
        };
        failed |= opened.done != StepOutcome::Yes;
        (*done, begun.late) = (Some(opened.done), begun.late.or(opened.late));
    }
}

/// Tells other sites what opens, if it is recorded and still may be.
pub(super) async fn open_elsewhere(now: OpeningGuard<'_>, begun: &mut StartedPass) {
    let bar = now
        .bar(begun)
        .or_else(|| failed(begun).then_some(NOT_TRIED));
    let (throttle, asked) = (&begun.throttle.name, begun.want.level);
    let steps = begun
        .planned
        .plan
        .steps
        .iter()
        .zip(&mut begun.done)
        .filter(|(_, done)| done.is_none());
    let told = join_all(steps.map(async |(step, done)| {
        let opened = match &bar {
            Some(done) => done.clone().into(),
            None => now.opens(throttle, asked, step).await,
        };
        *done = Some(opened.done);
        opened.late
    }));
    let late = told.await.into_iter().flatten().next();
    begun.late = begun.late.or(late);
}

/// Whether something of a plan is not done that was to be by now; what was refused was not to be.
fn failed(begun: &StartedPass) -> bool {
    begun
        .done
        .iter()
        .flatten()
        .any(|done| !matches!(done, StepOutcome::Yes | StepOutcome::Refused(_)))
}

/// Whether a plan has yet to tell other sites anything.
pub(super) fn reaches_out(begun: &StartedPass) -> bool {
    begun
        .planned
        .plan
        .steps
        .iter()
        .zip(&begun.done)
        .any(|(step, done)| done.is_none() && !is_here(step))
}

fn is_here(step: &Step) -> bool {
    step.action.kind().is_here()
}

async fn one(parts: &ReconcileContext, throttle: &ThrottleName, action: &Action) -> StepOutcome {
    let done = match parts.targets.get(&action.kind()) {
        None => Err(TargetError::Refused(
            "this process cannot act on such a target".to_owned(),
        )),
        Some(target) => match timeout(STEP_LIMIT, target.apply(throttle, action)).await {
            Ok(result) => result,
            Err(_) => Err(TargetError::Unavailable(format!(
                "no answer within {} s",
                STEP_LIMIT.as_secs()
            ))),
        },
    };
    let Err(error) = done else {
        return StepOutcome::Yes;
    };
    tracing::warn!(%throttle, %error, "a step failed; it is planned again at the next look");
    match error {
        TargetError::Held(by) => StepOutcome::Held(by),
        error => StepOutcome::Failed(error.to_string()),
    }
}
