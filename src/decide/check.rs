//! The independent checker: looks at a finished plan and refuses what must never be done, whatever
//! made the plan.
//!
//! Shares no code with `plan.rs` and `targets/` on purpose: an error there must not be blind here.
//! What a step does is the word of its [`Action`](crate::domain::target::Action).

use crate::domain::drift::Side;
use crate::domain::level::Level;
use crate::domain::plan::{Plan, StepOutcome};

/// What the checker believes of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// A kill hold is in force on this throttle.
    pub killed: bool,
    /// This process leads, so it may open, scale and correct.
    pub leads: bool,
    /// The ledger has the intent.
    pub recorded: bool,
}

/// A step that must not be done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Violation {
    /// E3: while a kill is in force nothing opens.
    #[error("step {0} opens while the throttle is killed")]
    OpensWhileKilled(usize),
    /// Only the leader opens or scales.
    #[error("step {0} is the leader's to do")]
    NotLeader(usize),
    /// E2: nothing riskier happens before its intent is durable.
    #[error("step {0} opens before its intent is in the ledger")]
    NotRecorded(usize),
    /// A step says it is safer and is not.
    #[error("step {0} is marked safer and opens")]
    Mislabelled(usize),
    /// Replicas are a count.
    #[error("step {0} asks for a negative number of replicas")]
    Negative(usize),
}

impl Violation {
    /// The number of the step.
    pub fn step(&self) -> usize {
        let (Self::OpensWhileKilled(index)
        | Self::NotLeader(index)
        | Self::NotRecorded(index)
        | Self::Mislabelled(index)
        | Self::Negative(index)) = self;
        *index
    }
}

/// What is known of each step of a plan before any is done: those in violation are refused, and so
/// is whatever opens after the first of them; none: it may be done.
pub fn refuse(plan: &Plan, violations: &[Violation]) -> Vec<Option<StepOutcome>> {
    let mut first = None;
    let steps = plan.steps.iter().enumerate().map(|(index, step)| {
        let own = violations.iter().find(|wrong| wrong.step() == index);
        let before = first.filter(|_| step.side == Side::Riskier);
        first = first.or(own);
        let wrong = own.or(before)?;
        Some(StepOutcome::Refused(format!("plan refused: {wrong}")))
    });
    steps.collect()
}

/// Finds everything wrong with a plan, given the level in force before it.
pub fn check(plan: &Plan, current: Level, may: Permissions) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let opens = step.action.opens(current);
        let leaders = step.action.is_leaders();
        if step.action.is_negative() {
            wrong.push(Violation::Negative(index));
        }
        if leaders && !may.leads {
            wrong.push(Violation::NotLeader(index));
        }
        if !opens {
            continue;
        }
        if step.side == Side::Safer {
            wrong.push(Violation::Mislabelled(index));
        }
        if may.killed {
            wrong.push(Violation::OpensWhileKilled(index));
        }
        if !leaders && !may.leads {
            wrong.push(Violation::NotLeader(index));
        }
        if !may.recorded {
            wrong.push(Violation::NotRecorded(index));
        }
    }
    wrong
}
