//! gather → decide → check of one pass: what the targets are, and the plan that follows.
//!
//! While a throttle is killed, what closes by what is known already is done before all of them have
//! answered. Records nothing and opens nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::decide::check::{Permissions, Violation, check, refuse};
use crate::decide::facts::Facts;
use crate::decide::plan::{Planned, plan};
use crate::decide::precedence::{Restriction, most_restrictive};
use crate::decide::step::{NextLevel, worst};
use crate::domain::drift::Side;
use crate::domain::moment::Moment;
use crate::domain::plan::Step;
use crate::domain::target::TargetId;
use crate::domain::throttle::Declared;

use super::apply::{self, StepGuard};
use super::calls::BROKEN_OFF;
use super::gather::Read;
use super::memory::{Memory, new_id};
use super::started::{StartedPass, ThrottleState};
use super::target_calls::TargetCalls;
use super::{LoopContext, ReconcileContext};

/// What the targets are, and what follows from it.
pub(super) async fn decide(
    shared: &LoopContext,
    throttle: Arc<Declared>,
    state: Option<ThrottleState>,
    known: u64,
) -> StartedPass {
    let parts = &shared.parts;
    let now = parts.clock.moment();
    let ThrottleState {
        mut memory,
        mut calls,
        mut last,
    } = state.unwrap_or_else(|| ThrottleState::new(&throttle, now));
    let want = most_restrictive(throttle.level, throttle.mode, &throttle.holds);
    let comes = !want.killed && !parts.gate.kills(&throttle.name).is_empty();
    last.undeclared = comes.then(|| last.undeclared.unwrap_or(now.elapsed));
    if want.killed && !memory.law.killed && break_off(shared, &throttle, &mut calls) {
        last.broken_off = Some(now.elapsed);
    }
    let under_way = calls.under_way();
    let deciding = Deciding {
        parts,
        throttle: &throttle,
        want: &want,
        under_way: &under_way,
        now,
    };
    let when = (want.killed, now.elapsed);
    let mut reading = calls.begin_reads(&shared.caller, parts, &throttle, when);
    let mut early = Vec::new();
    if want.killed {
        let guard = StepGuard::new(shared, &throttle.name, known, want.level);
        let closing = |reads: &[Read]| deciding.plan(&memory, reads).closing();
        early = apply::close_early(guard, &mut reading, closing).await;
    }
    while reading.next().await {}
    let reads = calls.end_reads(reading);
    memory.found(&reads, now.elapsed);
    memory.law.spare(want.killed, now.elapsed);
    let Decided {
        next,
        planned,
        violations,
    } = deciding.plan(&memory, &reads);
    if !violations.is_empty() {
        tracing::error!(throttle = %throttle.name, ?violations, "a plan was refused");
    }
    let done = refuse(&planned.plan, &violations);
    let mut begun = StartedPass {
        throttle,
        want,
        next,
        now,
        known,
        reads,
        memory,
        calls,
        planned,
        open: done.iter().map(|_| None).collect(),
        done,
        intents: Vec::new(),
        recorded: false,
        late: None,
        last,
    };
    begun.wrote_early(early);
    begun
}

/// A stop waits for nothing that went on before it; whether anything did that may be done yet.
fn break_off(shared: &LoopContext, throttle: &Declared, calls: &mut TargetCalls) -> bool {
    let aborted = calls.begin_anew();
    shared.records.left(&throttle.name, &aborted, &BROKEN_OFF);
    !aborted.is_empty()
}

/// From what was read to a plan.
struct Deciding<'a> {
    parts: &'a ReconcileContext,
    throttle: &'a Declared,
    want: &'a Restriction,
    under_way: &'a BTreeSet<TargetId>,
    now: Moment,
}

/// A plan, and what its checker says of it.
struct Decided {
    next: NextLevel,
    planned: Planned,
    violations: Vec<Violation>,
}

impl Deciding<'_> {
    fn plan(&self, memory: &Memory, reads: &[Read]) -> Decided {
        let Self {
            parts,
            throttle,
            want,
            now,
            ..
        } = *self;
        let next = worst(
            &parts.law.of(&throttle.signals),
            &memory.law.situations(throttle, want, now.elapsed),
        );
        let facts = Facts {
            throttle,
            asked: want.level,
            killed: want.killed,
            current: memory.law.level,
            next,
            reads,
            memory: &memory.targets,
            drifts: memory.drifts.known(),
            patience: memory.sites.patience(),
            under_way: self.under_way,
            now,
        };
        let planned = plan(&facts, || new_id(now.wall));
        // That it is recorded is asked again before anything opens.
        let may = Permissions {
            killed: want.killed,
            leads: parts.leadership.leads(),
            recorded: true,
        };
        Decided {
            violations: check(&planned.plan, memory.law.level, may),
            next,
            planned,
        }
    }
}

impl Decided {
    /// The steps that close and may be done.
    fn closing(self) -> Vec<Step> {
        let refused = refuse(&self.planned.plan, &self.violations);
        let steps = self.planned.plan.steps.into_iter().zip(refused);
        steps
            .filter(|(step, refused)| step.side == Side::Safer && refused.is_none())
            .map(|(step, _)| step)
            .collect()
    }
}
