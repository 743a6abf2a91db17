//! A plan: everything one pass of the loop is about to do, as a value that can be printed and
//! checked.
//!
//! Execution has nothing left to decide; deciding is `decide`'s, checking `decide/check.rs`'s.

use serde::Serialize;

use super::drift::{Drift, Side};
use super::target::Action;
use super::throttle::ThrottleName;

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What.
    pub action: Action,
    /// Which way it moves the system: riskier steps need proof, safer ones nothing.
    pub side: Side,
    /// The drift it corrects, where it does.
    #[serde(skip)]
    pub corrects: Option<Drift>,
}

/// Everything one pass is about to do for one throttle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The throttle.
    pub throttle: ThrottleName,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Drift that is only reported.
    #[serde(skip)]
    pub reported: Vec<Drift>,
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It was done.
    Yes,
    /// It was tried and failed.
    Failed(String),
    /// It was acknowledged, and something else holds.
    Held(String),
    /// It was tried, and goes on beside the passes: what became of it is told when it ends.
    UnderWay,
    /// It was not tried, since it opens: why not.
    Skipped(&'static str),
    /// It opens, or is the leader's, and this came before it, or while it was under way.
    Overtaken(&'static str),
    /// The plan's checker refused it, or one before it, and it must not be tried: why.
    Refused(String),
}

impl StepOutcome {
    /// Whether it was tried.
    pub fn was_tried(&self) -> bool {
        matches!(
            self,
            Self::Yes | Self::Failed(_) | Self::Held(_) | Self::UnderWay
        )
    }

    /// Whether a target has taken it, so that it can be read back by now.
    pub fn was_taken(&self) -> bool {
        matches!(self, Self::Yes | Self::Held(_))
    }

    /// Why it is not as planned, if that is for somebody to know.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Failed(why) | Self::Held(why) | Self::Refused(why) => Some(why),
            Self::Overtaken(why) => Some(why),
            Self::Yes | Self::UnderWay | Self::Skipped(_) => None,
        }
    }
}
