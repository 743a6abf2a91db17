//! From what was decided and what was read back to a plan: every step, in order, with nothing left
//! to decide. Nobody changes a plan that was made; what became of it is a value of its own
//! (`outcome.rs`).
//!
//! Closing goes gate, then workloads; opening goes workloads, then gate, and the gate waits for
//! their read-back. What other sites are told comes last, and nothing here waits for it: a site
//! that cannot be reached must not keep this one shut for ever, and each site opens by its own
//! ramp. What is made of each target is its kind's (`targets.rs`).

mod freeze;

use std::collections::BTreeMap;

use super::facts::Facts;
use super::targets::{self, TargetPlan};
use crate::domain::drift::{Drift, Side};
use crate::domain::level::Level;
use crate::domain::plan::Plan;
use crate::domain::target::{TargetId, TargetMemory};

/// A plan with what must be remembered once it is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The level that will be in force.
    pub effective: Level,
    /// What is remembered of what was done to targets.
    pub memory: BTreeMap<TargetId, TargetMemory>,
    /// Targets that are what they should be.
    pub agreeing: Vec<TargetId>,
    /// Differences that are there; the plan reports those of them that are new.
    pub open: BTreeMap<TargetId, Drift>,
    /// Whether a correction waits because there were many.
    pub damped: bool,
}

/// Makes the plan. `fresh_id` makes the id of a difference that is new.
pub fn plan(facts: &Facts<'_>, fresh_id: impl FnMut() -> String) -> Planned {
    let mut out = steps(facts);
    freeze::hold_back(facts, &mut out);
    freeze::name_drifts(facts, &mut out, fresh_id);
    out
}

/// Everything that should be done, however often it was tried before.
fn steps(facts: &Facts<'_>) -> Planned {
    let mut out = Planned {
        plan: Plan {
            throttle: facts.throttle.name.clone(),
            steps: Vec::new(),
            reported: Vec::new(),
        },
        effective: facts.current,
        memory: facts.memory.clone(),
        agreeing: Vec::new(),
        open: BTreeMap::new(),
        damped: false,
    };
    out.plan.reported.extend(targets::observed_level(facts));
    let (here, elsewhere): (Vec<_>, Vec<_>) = facts
        .reads
        .iter()
        .partition(|(spec, _)| spec.kind().is_here());
    let mut unread = false;
    for (spec, read) in here {
        let target = targets::plan(facts, spec, read);
        unread |= target.bars_opening;
        out.take(spec.id(), target);
    }
    let restoring = out.plan.steps.iter().any(|s| s.side == Side::Riskier);
    let opens = facts.next.level < facts.current;
    // What has not been read back as restored is not there yet: the gate stays as it is.
    if !(opens && (restoring || unread)) {
        out.effective = facts.next.level;
    }
    let step = targets::set_gate(facts, out.effective);
    if step.side == Side::Riskier {
        out.plan.steps.push(step)
    } else {
        out.plan.steps.insert(0, step)
    }
    for (spec, read) in elsewhere {
        out.take(spec.id(), targets::plan(facts, spec, read));
    }
    out
}

impl Planned {
    /// Takes in what is made of one target.
    fn take(&mut self, id: TargetId, target: TargetPlan) {
        self.plan.steps.extend(target.step);
        self.plan.reported.extend(target.reported);
        if target.agrees {
            self.agreeing.push(id.clone());
        }
        match target.memory {
            Some(memory) => self.memory.insert(id, memory),
            None => self.memory.remove(&id),
        };
    }
}
