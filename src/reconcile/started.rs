//! One pass of a throttle as a value, from its begin to what it leaves to the next one.
//!
//! Does nothing and decides nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::plan::Planned;
use crate::decide::precedence::Restriction;
use crate::decide::step::NextLevel;
use crate::domain::audit::IntentId;
use crate::domain::hold::Epoch;
use crate::domain::moment::Moment;
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::report::PassReport;
use crate::domain::throttle::{Declared, ThrottleName};

use super::calls::{LateAnswer, OpenCall, StepResult};
use super::gather::Read;
use super::memory::Memory;
use super::patience::LedgerPatience;
use super::target_calls::TargetCalls;
use super::{LoopContext, ReconcileContext};

/// How long a kill that is at the gate may take to be declared. Until then no pass of its throttle
/// waits for the ledger: the one that tells others of the kill would be late by that.
const DECLARED_WITHIN: Duration = Duration::from_secs(1);

/// The intent of one step: the step's number and the intent's id.
pub(super) type Intent = (usize, IntentId);

/// What one pass leaves to the next one of its throttle.
pub(super) struct ThrottleState {
    pub(super) memory: Memory,
    pub(super) calls: TargetCalls,
    pub(super) last: PassBefore,
}

/// What the next pass has to know of the last one, besides what is remembered.
#[derive(Default)]
pub(super) struct PassBefore {
    /// Since when a kill is at the gate that is not declared.
    pub(super) undeclared: Option<Duration>,
    /// Whether a step failed.
    pub(super) failed: bool,
    /// When something was broken off that may be done all the same, later.
    pub(super) broken_off: Option<Duration>,
    /// The holds it went by.
    pub(super) held: Vec<Epoch>,
}

impl ThrottleState {
    pub(super) fn new(throttle: &Declared, now: Moment) -> Self {
        Self {
            memory: Memory::new(throttle, now),
            calls: TargetCalls::default(),
            last: PassBefore::default(),
        }
    }

    /// Hears what a call came to after its pass had gone on; whether a pass is to go by it at once.
    pub(super) fn hear(&mut self, shared: &LoopContext, answer: LateAnswer) -> bool {
        let throttle = answer.throttle.clone();
        let now = shared.parts.clock.elapsed();
        let (ended, is_news) = self.calls.hear(answer, now);
        if let Some((write, done)) = ended {
            self.memory.ended(&write.step, &done);
            shared.records.ended(&throttle, &write, &done);
            shared.news.notify_one();
        }
        is_news
    }
}

/// What came of a pass.
pub(super) struct PassEnd {
    pub(super) name: ThrottleName,
    /// None where this process does not act on the throttle: what it remembers would be stale when
    /// it does again.
    pub(super) state: Option<ThrottleState>,
    /// What is told of it, if somebody hears it.
    pub(super) report: Option<PassReport>,
    pub(super) next: NextLook,
}

/// When the next pass is due, if nothing wakes it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextLook {
    /// At the tick, or after this time if that is sooner.
    Tick(Option<Duration>),
    /// Soon: something that was asked for is not in force or not read back yet.
    Soon(Option<Duration>),
}

/// What one pass has found and decided.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) throttle: &'a Arc<Declared>,
    pub(super) want: &'a Restriction,
    pub(super) next: NextLevel,
}

/// A pass, from what was decided on.
pub(super) struct StartedPass {
    pub(super) throttle: Arc<Declared>,
    pub(super) want: Restriction,
    pub(super) next: NextLevel,
    pub(super) now: Moment,
    /// The newest tightening of the gates when it began.
    pub(super) known: u64,
    pub(super) reads: Vec<Read>,
    pub(super) memory: Memory,
    pub(super) calls: TargetCalls,
    pub(super) planned: Planned,
    /// What became of each step; none: it is still to come.
    pub(super) done: Vec<Option<StepOutcome>>,
    /// What goes on of each step that is under way.
    pub(super) open: Vec<Option<OpenCall>>,
    pub(super) intents: Vec<Intent>,
    /// Whether the ledger has what it intends.
    pub(super) recorded: bool,
    /// What came while something opened that would have kept it from that.
    pub(super) late: Option<&'static str>,
    /// The pass before; but since when a kill is at the gate that is not declared is known by now.
    pub(super) last: PassBefore,
}

impl StartedPass {
    /// The steps of which nothing has become yet.
    pub(super) fn to_come(&self) -> impl Iterator<Item = (usize, &Step)> {
        let steps = self.planned.plan.steps.iter().zip(&self.done).enumerate();
        steps
            .filter(|(_, (_, done))| done.is_none())
            .map(|(at, (step, _))| (at, step))
    }

    /// Takes note of what became of steps, by their number.
    pub(super) fn wrote(&mut self, written: Vec<(usize, StepResult)>) {
        for (at, written) in written {
            let (done, open) = match written {
                StepResult::Done(done) => (done, None),
                StepResult::Open(call) => (StepOutcome::UnderWay, Some(call)),
            };
            if done.was_tried() {
                self.calls.wrote(&self.planned.plan.steps[at].action);
            }
            (self.done[at], self.open[at]) = (Some(done), open);
        }
    }

    /// Takes note of steps that were done before all targets had answered: they belong to the plan,
    /// whatever it says by now.
    pub(super) fn wrote_early(&mut self, early: Vec<(Step, StepResult)>) {
        for (step, written) in early {
            let steps = &mut self.planned.plan.steps;
            let planned = steps.iter().position(|one| one.action == step.action);
            let at = planned.unwrap_or_else(|| {
                steps.push(step);
                self.done.push(None);
                self.open.push(None);
                steps.len() - 1
            });
            self.wrote(vec![(at, written)]);
        }
    }

    /// How the pass of this throttle waits for the ledger.
    pub(super) fn patience<'a>(
        &self,
        parts: &'a ReconcileContext,
        throttle: &'a ThrottleName,
    ) -> LedgerPatience<'a> {
        let hurries = |since| self.now.elapsed.saturating_sub(since) < DECLARED_WITHIN;
        LedgerPatience {
            parts,
            throttle: Some(throttle),
            known: self.known,
            hurries: self.last.undeclared.is_some_and(hurries),
        }
    }
}
