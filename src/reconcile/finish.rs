//! How a pass for one throttle ends: record → report, and what the next pass has to know.
//!
//! Does nothing to any target, and decides nothing.

use super::report::report;
use super::{Pass, Reconciler, StartedPass};
use crate::decide::outcome::outcome;
use crate::domain::plan::StepOutcome;
use crate::domain::target::TargetKind;

impl Reconciler {
    /// The end of a pass for one throttle: what became of it is recorded, remembered and told.
    pub(super) async fn finish(&mut self, mut begun: StartedPass) {
        let parts = &self.parts;
        let none = || StepOutcome::Skipped("the pass ended before");
        let done = std::mem::take(&mut begun.done)
            .into_iter()
            .map(|done| done.unwrap_or_else(none))
            .collect();
        let outcome = outcome(&begun.planned, done, begun.memory.law.level, begun.late);
        self.records.outcome(parts, &begun, &outcome).await;
        let StartedPass {
            throttle,
            want,
            next,
            now,
            reads,
            mut memory,
            planned,
            recorded,
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
        let mut steps = planned.plan.steps.iter().zip(&outcome.steps);
        if steps.any(|(step, done)| step.action.kind() != TargetKind::Gate && done.was_tried()) {
            parts.desired.wake();
        }
        // While it opens by the ramp, small steps; while it sheds, the law's own tick.
        self.settled &= recorded && (next.shedding || outcome.effective == want.level);
        self.settled &= outcome.trouble.is_none()
            && reads
                .iter()
                .all(|(spec, _)| planned.agreeing.contains(&spec.id()));
        memory.keep(&planned, &outcome, &pass);
        if memory.law.level > want.level {
            // Nothing opens before it is known what waits; then at once.
            self.known_in = self
                .known_in
                .into_iter()
                .chain(memory.law.offer.known_in(now.elapsed))
                .min();
        }
        parts.latch.found(&throttle, &planned.agreeing);
        report(parts, &pass, &reads, &planned, outcome, &memory).await;
        self.memory.insert(throttle.name.clone(), memory);
    }
}
