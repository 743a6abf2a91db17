//! The book of differences: which are there, with their ids, and when each target was corrected.
//!
//! Plain bookkeeping: how long a correction waits, and which difference is the same as before, is
//! decided in `decide`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::damping::Damping;
use crate::decide::facts::KnownDrifts;
use crate::decide::outcome::PlanOutcome;
use crate::decide::plan::Planned;
use crate::domain::drift::Drift;
use crate::domain::target::TargetId;

/// What is known of differences.
#[derive(Default)]
pub(in crate::reconcile) struct DriftBook {
    open: BTreeMap<TargetId, Drift>,
    damping: BTreeMap<TargetId, Damping>,
}

impl DriftBook {
    /// What a plan has to know of it.
    pub(in crate::reconcile) fn known(&self) -> KnownDrifts<'_> {
        KnownDrifts {
            open: &self.open,
            damping: &self.damping,
        }
    }

    /// Takes note of the differences that a pass found, and of what it corrected; not of what was
    /// not tried.
    pub(super) fn keep(&mut self, planned: &Planned, outcome: &PlanOutcome, now: Duration) {
        self.open.clone_from(&planned.open);
        for (step, done) in planned.plan.steps.iter().zip(&outcome.steps) {
            if let Some(drift) = step.corrects.as_ref().filter(|_| done.was_tried()) {
                let damping = self.damping.entry(drift.target.clone()).or_default();
                damping.corrected(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::decide::outcome::outcome;
    use crate::domain::drift::{DriftAction, Side};
    use crate::domain::level::Level;
    use crate::domain::plan::{Plan, Step, StepOutcome};
    use crate::domain::target::Action;
    use crate::domain::throttle::ThrottleName;

    const TARGET: &str = "apps/v1/Deployment/w";
    const NOW: Duration = Duration::from_secs(9);

    fn drift() -> Drift {
        Drift {
            id: "01".to_owned(),
            throttle: ThrottleName::default_throttle(),
            target: TARGET.into(),
            field: "spec.replicas".to_owned(),
            desired: "0".to_owned(),
            actual: "3".to_owned(),
            side: Side::Riskier,
            who: None,
            first_seen: Timestamp::UNIX_EPOCH,
            last_seen: Timestamp::UNIX_EPOCH,
            count: 1,
            action: DriftAction::Corrected,
            error: None,
        }
    }

    /// A plan of one correction.
    fn correcting() -> Planned {
        let step = Step {
            action: Action::SetGate {
                level: Level::STOP,
                reason: "kill",
                generation: 1,
            },
            side: Side::Safer,
            corrects: Some(drift()),
        };
        Planned {
            plan: Plan {
                throttle: ThrottleName::default_throttle(),
                steps: vec![step],
                reported: Vec::new(),
            },
            effective: Level::STOP,
            memory: BTreeMap::new(),
            agreeing: Vec::new(),
            open: BTreeMap::from([(TARGET.into(), drift())]),
            damped: false,
        }
    }

    fn kept(book: &mut DriftBook, planned: &Planned, done: StepOutcome) {
        let outcome = outcome(planned, vec![done], Level::STOP, None);
        book.keep(planned, &outcome, NOW);
    }

    #[test]
    fn a_difference_is_known_until_a_pass_does_not_find_it() {
        let mut book = DriftBook::default();
        kept(&mut book, &correcting(), StepOutcome::Yes);
        assert_eq!(book.known().open, &correcting().open);
        let calm = Planned {
            open: BTreeMap::new(),
            ..correcting()
        };
        kept(&mut book, &calm, StepOutcome::Skipped("it opens"));
        assert!(book.known().open.is_empty());
    }

    #[test]
    fn a_correction_counts_if_it_was_tried() {
        let failed = || StepOutcome::Failed("no".to_owned());
        for (done, counts) in [
            (StepOutcome::Yes, true),
            (failed(), true),
            (StepOutcome::Skipped("it opens"), false),
            (StepOutcome::Overtaken("a kill came"), false),
            (StepOutcome::Refused("it opens".to_owned()), false),
        ] {
            let mut book = DriftBook::default();
            (0..5).for_each(|_| kept(&mut book, &correcting(), done.clone()));
            let damping = book.known().damping.get(&TARGET.into());
            let waits = damping.is_some_and(|damping| !damping.allows(NOW));
            assert_eq!(waits, counts, "{done:?}");
        }
    }
}
