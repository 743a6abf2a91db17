//! How a pass for one throttle ends: record → report, and what the next pass has to know.
//!
//! Does nothing to any target, and decides nothing.

use std::sync::Arc;
use std::time::Duration;

use super::calls::{BROKEN_OFF, WRITE_LIMIT};
use super::gather::Read;
use super::memory::LawMemory;
use super::started::{NextLook, Pass, PassBefore, PassEnd, StartedPass, ThrottleState};
use super::{LoopContext, ReconcileContext, report};
use crate::decide::outcome::{PlanOutcome, outcome};
use crate::domain::hold::Scope;
use crate::domain::level::Level;
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::target::TargetKind;
use crate::domain::throttle::Declared;

/// The end of a pass: what became of it is recorded and remembered, and made ready to be told.
pub(super) async fn finish(shared: &LoopContext, mut begun: StartedPass) -> PassEnd {
    let parts = &shared.parts;
    let none = || StepOutcome::Skipped("the pass ended before");
    let done = std::mem::take(&mut begun.done)
        .into_iter()
        .map(|done| done.unwrap_or_else(none))
        .collect();
    let outcome = outcome(&begun.planned, done, begun.memory.law.level, begun.late);
    let throttle = Arc::clone(&begun.throttle);
    let patience = begun.patience(parts, &throttle.name);
    shared.records.outcome(&patience, &begun, &outcome).await;
    let StartedPass {
        want,
        next,
        now,
        reads,
        mut memory,
        mut calls,
        planned,
        open,
        intents,
        recorded,
        last,
        ..
    } = begun;
    let steps = &planned.plan.steps;
    for (at, (call, step)) in open.into_iter().zip(steps).enumerate() {
        let intent = intents.iter().find(|(of, _)| *of == at);
        if let Some(call) = call {
            calls.opened(call, step.clone(), intent.map(|(_, id)| id.clone()), now);
        }
    }
    let failed = wakes_itself(parts, &throttle, (steps, &outcome.steps), last.failed);
    let broken_off = broken_off(&outcome, last.broken_off, now.elapsed);
    // While it opens by the ramp, small steps; while it sheds, the law's own tick.
    let agrees = |(spec, _): &Read| planned.agreeing.contains(&spec.id());
    let settled = recorded
        && (next.shedding || outcome.effective == want.level)
        && outcome.trouble.is_none()
        && broken_off.is_none()
        && reads.iter().all(agrees);
    let pass = Pass {
        throttle: &throttle,
        want: &want,
        next,
    };
    memory.keep((&planned, &outcome), want.level, next, now);
    let next = next_look(&memory.law, settled, want.level, now.elapsed);
    parts.latch.found(&throttle, &planned.agreeing);
    let told = parts.report.is_some();
    let held = throttle.holds.iter().map(|hold| hold.epoch.clone());
    let last = PassBefore {
        undeclared: last.undeclared,
        failed,
        broken_off,
        held: held.collect(),
    };
    PassEnd {
        name: throttle.name.clone(),
        report: told.then(|| report::report(parts, &pass, &reads, &planned, outcome, &memory)),
        state: Some(ThrottleState {
            memory,
            calls,
            last,
        }),
        next,
    }
}

/// When something was broken off: it may be done all the same, for as long as a write may take.
fn broken_off(outcome: &PlanOutcome, before: Option<Duration>, now: Duration) -> Option<Duration> {
    if outcome.steps.contains(&BROKEN_OFF) {
        return Some(now);
    }
    before.filter(|at| now.saturating_sub(*at) < WRITE_LIMIT)
}

/// When the next pass is due.
fn next_look(law: &LawMemory, settled: bool, asked: Level, now: Duration) -> NextLook {
    // Nothing opens before it is known what waits; then at once.
    let known_in = law.offer.known_in(now).filter(|_| law.level > asked);
    let tick_in = law.tick_in(now).filter(|_| law.shed.is_some());
    let within = known_in.into_iter().chain(tick_in).min();
    if settled {
        NextLook::Tick(within)
    } else {
        NextLook::Soon(within)
    }
}

/// What was just written is read back, and what failed is tried again, at once but for a second
/// failure; what was not tried would wake the loop for nothing, again and again. Answers whether
/// anything failed.
fn wakes_itself(
    parts: &ReconcileContext,
    throttle: &Declared,
    (steps, done): (&[Step], &[StepOutcome]),
    failed_before: bool,
) -> bool {
    let here = |step: &Step| step.action.kind() == TargetKind::Gate;
    let tried = || steps.iter().zip(done).filter(|(step, _)| !here(step));
    let failed = tried().any(|(_, done)| matches!(done, StepOutcome::Failed(_)));
    if tried().any(|(_, done)| done.was_taken()) || (failed && !failed_before) {
        parts.wake.wake(&Scope::One(throttle.name.clone()));
    }
    failed
}
