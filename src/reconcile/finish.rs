//! How a pass for one throttle ends: record → report, and what the next pass has to know.
//!
//! Does nothing to any target, and decides nothing.

use super::apply::{self, StepOutcome};
use super::report::report;
use super::{Pass, Reconciler, StartedPass};
use crate::domain::hold::Scope;
use crate::domain::throttle::TargetKind;

impl Reconciler {
    /// The end of a pass for one throttle: what became of it is recorded, remembered and told.
    pub(super) async fn finish(&mut self, mut begun: StartedPass) {
        let parts = &self.parts;
        let none = || StepOutcome::Skipped("the pass ended before");
        let done: Vec<_> = std::mem::take(&mut begun.done)
            .into_iter()
            .map(|done| done.unwrap_or_else(none))
            .collect();
        apply::take_back(&mut begun.planned, &done, begun.memory.level);
        self.records.outcome(parts, &begun, &done).await;
        let StartedPass {
            throttle,
            want,
            next,
            now,
            reads,
            mut memory,
            planned,
            recorded,
            refused,
            late,
            ..
        } = begun;
        let pass = Pass {
            throttle: &throttle,
            want: &want,
            next,
            now,
        };
        // What was just written is read back; what was not tried would wake the loop for nothing,
        // again and again.
        let mut steps = planned.plan.steps.iter().zip(&done);
        if steps.any(|(step, done)| step.action.kind() != TargetKind::Gate && done.was_tried()) {
            parts.wake.wake(&Scope::One(throttle.name.clone()));
        }
        memory.note_corrections(&planned.plan, &done, now.elapsed);
        memory.note_refusals(&planned.plan, &done);
        let trouble = refused
            .or_else(|| late.map(str::to_owned))
            .or_else(|| apply::trouble(&done));
        // While it opens by the ramp, small steps; while it sheds, the law's own tick.
        self.settled &= recorded && (next.shedding || planned.effective == want.level);
        self.settled &= trouble.is_none()
            && reads
                .iter()
                .all(|(spec, _)| planned.agreeing.contains(&spec.id()));
        memory.keep(&planned, &pass);
        if memory.level > want.level {
            // Nothing opens before it is known what waits; then at once.
            self.known_in = self
                .known_in
                .into_iter()
                .chain(memory.known_in(now.elapsed))
                .min();
        }
        parts.latch.found(&throttle, &planned.agreeing);
        report(parts, &pass, &reads, &planned, &memory, trouble).await;
        self.memory.insert(throttle.name.clone(), memory);
    }
}
