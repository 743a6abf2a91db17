//! Doing what was planned, in order. Nothing is decided here.
//!
//! What closes comes first and needs nothing: closing steps are all tried, beside each other, and
//! none waits for the ledger. A step that fails stops the steps after it that would open. Each of
//! those asks right before it and after it whether it still may. Other sites are told last, all at
//! once, and none of them waits for another. Who leads is asked at each step that is the leader's.

use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use crate::decide::check::{Permissions, check};
use crate::decide::precedence;
use crate::domain::drift::Side;
use crate::domain::level::Level;
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::target::{Action, RemoteOrder, TargetKind};
use crate::domain::throttle::ThrottleName;

use super::LoopContext;
use super::calls::{BROKEN_OFF, StepResult};
use super::gather::Read;
use super::started::StartedPass;
use super::target_calls::PendingReads;

const NOT_TRIED: StepOutcome = StepOutcome::Skipped("an earlier step failed");
const NOT_RECORDED: StepOutcome = StepOutcome::Skipped("the ledger had not taken the intent");

/// Somebody else acts now.
pub(super) const NOT_LEADER: StepOutcome = StepOutcome::Overtaken("another process leads");

/// What a step asks, when it is done: the moment, and not what the pass began with.
#[derive(Clone, Copy)]
pub(super) struct StepGuard<'a> {
    shared: &'a LoopContext,
    throttle: &'a ThrottleName,
    /// The newest tightening of the gates when the pass began.
    known: u64,
    /// The level of which the pass knew that it was asked for.
    asked: Level,
}

impl<'a> StepGuard<'a> {
    pub(super) fn new(
        shared: &'a LoopContext,
        throttle: &'a ThrottleName,
        known: u64,
        asked: Level,
    ) -> Self {
        Self {
            shared,
            throttle,
            known,
            asked,
        }
    }

    fn of(shared: &'a LoopContext, begun: &'a StartedPass) -> Self {
        let (throttle, asked) = (&begun.throttle.name, begun.want.level);
        Self::new(shared, throttle, begun.known, asked)
    }

    /// What stands against opening.
    fn objection(&self, kind: TargetKind) -> Option<&'static str> {
        let parts = &self.shared.parts;
        if !parts.leadership.leads() {
            return Some("another process leads");
        }
        // A kill is at the gates of this process before it is declared.
        if !parts.gate.kills(self.throttle).is_empty() {
            return Some("a kill came meanwhile");
        }
        if kind == TargetKind::Gate {
            return None; // it refuses by itself what was tightened since
        }
        let Some(declared) = parts.desired.find(self.throttle) else {
            return Some("it is not declared any more");
        };
        let now = precedence::most_restrictive(declared.level, declared.mode, &declared.holds);
        if now.killed {
            return Some("a kill came meanwhile");
        }
        (now.level > self.asked).then_some("something tighter was declared meanwhile")
    }

    /// One step that closes.
    async fn closes(&self, step: &Step) -> StepResult {
        let parts = &self.shared.parts;
        // A gate and a stop are everybody's to close.
        let is_leaders = match &step.action {
            Action::SetGate { .. } => false,
            Action::Scale { .. } => true,
            Action::Remote { order, .. } => !matches!(order, RemoteOrder::Kill { .. }),
        };
        if is_leaders && !parts.leadership.leads() {
            return StepResult::Done(NOT_LEADER);
        }
        self.shared.caller.write(parts, self.throttle, step).await
    }

    /// One step that opens, and what came while it was being done.
    async fn opens(&self, step: &Step) -> (StepResult, Option<&'static str>) {
        let (kind, parts) = (step.action.kind(), &self.shared.parts);
        // Few at a time: closing has places of its own. A kill needs none: what opens asks for it.
        let _place = if kind == TargetKind::Gate {
            None
        } else {
            tokio::select! {
                place = self.shared.openings.acquire() => place.ok(),
                () = parts.gate.held_at_after(self.throttle, self.known) => None,
            }
        };
        if let Some(why) = self.objection(kind) {
            return (StepResult::Done(StepOutcome::Overtaken(why)), None);
        }
        let write = self.shared.caller.write(parts, self.throttle, step);
        let written = tokio::select! {
            biased;
            written = write => written,
            // It may be done or not: the next pass reads it back, and it comes at once.
            () = parts.gate.held_at_after(self.throttle, self.known) => StepResult::Done(BROKEN_OFF),
        };
        // A gate that was killed since is shut by that.
        let asks_again =
            matches!(written, StepResult::Done(StepOutcome::Yes)) && kind != TargetKind::Gate;
        let late = if asks_again {
            self.objection(kind)
        } else {
            None
        };
        (written, late)
    }

    /// What keeps all of a plan from opening.
    fn bar(&self, begun: &StartedPass) -> Option<StepOutcome> {
        let may = Permissions {
            killed: begun.want.killed,
            leads: self.shared.parts.leadership.leads(),
            recorded: begun.recorded,
        };
        let wrong = check(&begun.planned.plan, begun.memory.law.level, may);
        let to_come = |step: usize| begun.done.get(step).is_some_and(Option::is_none);
        if !wrong.iter().any(|wrong| to_come(wrong.step())) {
            return None;
        }
        Some(if begun.recorded {
            NOT_LEADER
        } else {
            NOT_RECORDED
        })
    }
}

/// Does what closes while targets are still being read: each step as soon as what is known gives
/// it. A target that does not answer keeps no other from being stopped.
pub(super) async fn close_early(
    guard: StepGuard<'_>,
    reading: &mut PendingReads<'_>,
    closing: impl Fn(&[Read]) -> Vec<Step>,
) -> Vec<(Step, StepResult)> {
    let (mut begun, mut written) = (Vec::new(), Vec::new());
    let mut under_way = FuturesUnordered::new();
    loop {
        // All that is there without a wait belongs to one look.
        while reading.next().now_or_never() == Some(true) {}
        if reading.is_over() {
            break;
        }
        for step in closing(&reading.so_far()) {
            if !begun.contains(&step.action) {
                begun.push(step.action.clone());
                under_way.push(async move { (guard.closes(&step).await, step) });
            }
        }
        tokio::select! {
            _ = reading.next() => {}
            Some((done, step)) = under_way.next() => written.push((step, done)),
        }
    }
    while let Some((done, step)) = under_way.next().await {
        written.push((step, done));
    }
    written
}

/// Does what closes, here and elsewhere.
pub(super) async fn close(shared: &LoopContext, begun: &mut StartedPass) {
    let guard = StepGuard::of(shared, begun);
    let closing = begun.to_come().filter(|(_, step)| step.side == Side::Safer);
    let written = join_all(closing.map(async |(at, step)| (at, guard.closes(step).await))).await;
    begun.wrote(written);
}

/// Does what opens here, if it is recorded and still may be.
pub(super) async fn open_here(shared: &LoopContext, begun: &mut StartedPass) {
    let guard = StepGuard::of(shared, begun);
    let bar = guard.bar(begun);
    let (mut failed, mut late) = (failed(begun, is_here), begun.late);
    let mut written = Vec::new();
    for (at, step) in begun.to_come().filter(|(_, step)| is_here(step)) {
        let done = match &bar {
            Some(done) => StepResult::Done(done.clone()),
            None if failed => StepResult::Done(NOT_TRIED),
            None => {
                let (done, came) = guard.opens(step).await;
                late = late.or(came);
                done
            }
        };
        failed |= !matches!(done, StepResult::Done(StepOutcome::Yes));
        written.push((at, done));
    }
    begun.late = late;
    begun.wrote(written);
}

/// Tells other sites what opens, if it is recorded and still may be.
pub(super) async fn open_elsewhere(shared: &LoopContext, begun: &mut StartedPass) {
    let guard = StepGuard::of(shared, begun);
    let bar = guard
        .bar(begun)
        .or_else(|| failed(begun, |_| true).then_some(NOT_TRIED));
    let told = join_all(begun.to_come().map(async |(at, step)| match &bar {
        Some(done) => (at, (StepResult::Done(done.clone()), None)),
        None => (at, guard.opens(step).await),
    }))
    .await;
    let late = told.iter().find_map(|(_, (_, late))| *late);
    let written = told.into_iter().map(|(at, (written, _))| (at, written));
    let written: Vec<_> = written.collect();
    begun.late = begun.late.or(late);
    begun.wrote(written);
}

/// Whether something of these steps is not done that was to be by now; what was refused was not to
/// be.
fn failed(begun: &StartedPass, which: impl Fn(&Step) -> bool) -> bool {
    let steps = begun.planned.plan.steps.iter().zip(&begun.done);
    let mut done = steps
        .filter(|(step, _)| which(step))
        .flat_map(|(_, done)| done);
    done.any(|done| !matches!(done, StepOutcome::Yes | StepOutcome::Refused(_)))
}

fn is_here(step: &Step) -> bool {
    step.action.kind().is_here()
}
