//! What is made of each kind of target, one file a kind: of what was read and what is asked the
//! step, the drift, what is remembered, the row of the status and the words for the audit log.
//!
//! Every match here is over all kinds, so that a new one cannot be forgotten; a kind's file knows
//! no other kind. Knows nothing of how a target is read or moved.

mod gate;
mod remote;
mod scale;

use super::facts::{Facts, TargetRead};
use crate::domain::audit::AuditAction;
use crate::domain::drift::{Drift, DriftAction, Side};
use crate::domain::level::Level;
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::report::TargetReport;
use crate::domain::target::{Action, TargetId, TargetMemory, TargetSpec};
use crate::domain::throttle::Mode;

pub(super) use gate::{observed_level, set_gate};
pub use scale::wanted_replicas;

/// What a plan makes of one target.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TargetPlan {
    /// What to do.
    pub(super) step: Option<Step>,
    /// A difference that is only reported.
    pub(super) reported: Option<Drift>,
    /// What is remembered of it once the step is done; none: nothing.
    pub(super) memory: Option<TargetMemory>,
    /// Whether it is what it should be.
    pub(super) agrees: bool,
    /// Whether gates that would open wait until it can be read.
    pub(super) bars_opening: bool,
}

impl TargetPlan {
    /// Nothing is done, and what is known of the target stays.
    fn nothing(known: Option<TargetMemory>) -> Self {
        Self {
            memory: known,
            ..Self::default()
        }
    }
}

/// What is made of one target.
pub(super) fn plan(facts: &Facts<'_>, spec: &TargetSpec, read: &TargetRead) -> TargetPlan {
    let known = facts.memory.get(&spec.id()).copied();
    match spec {
        TargetSpec::Gate(_) => gate::plan(read, known),
        TargetSpec::Scale(scale) => scale::plan(facts, scale, read, known),
        TargetSpec::Remote(remote) => remote::plan(facts, remote, read, known),
    }
}

/// Whether a step says again what its target was told a moment ago.
pub(super) fn is_repeated(facts: &Facts<'_>, action: &Action) -> bool {
    match action {
        Action::SetGate { .. } | Action::Scale { .. } => false,
        Action::Remote { target, order } => remote::is_repeated(facts, target, order),
    }
}

/// What is remembered of the target of a step, of which `planned` is to be remembered, when the
/// step became this.
pub fn remembered(
    action: &Action,
    done: &StepOutcome,
    planned: Option<TargetMemory>,
) -> Option<TargetMemory> {
    match action {
        Action::SetGate { .. } => planned,
        Action::Scale { from, to, .. } => scale::remembered((*from, *to), done, planned),
        Action::Remote { order, .. } => remote::remembered(order, done, planned),
    }
}

/// A step as the audit log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepWords {
    /// What the entry before it is called.
    pub intent: AuditAction,
    /// What the entry after it is called.
    pub outcome: AuditAction,
    /// From what.
    pub before: String,
    /// To what.
    pub after: String,
}

/// What the audit log is told of a step; nothing of one whose effect stands in the state of the
/// throttle, or that has none.
pub fn words(action: &Action) -> Option<StepWords> {
    match action {
        Action::SetGate { .. } => None,
        Action::Scale {
            target, from, to, ..
        } => scale::words(target, *from, *to),
        Action::Remote { target, order } => Some(remote::words(target, order)),
    }
}

/// How a target stands when a pass ends.
#[derive(Clone, Debug)]
pub struct TargetStanding<'a> {
    /// Whether it is what it should be.
    pub agrees: bool,
    /// Why it did not do what it was told last, if it did not.
    pub refusal: Option<String>,
    /// What is remembered of it.
    pub memory: Option<&'a TargetMemory>,
    /// The level that gates should refuse at.
    pub in_force: Level,
}

/// What is told of a target.
pub fn report(spec: &TargetSpec, read: &TargetRead, stands: TargetStanding<'_>) -> TargetReport {
    let (row, wrong) = match spec {
        TargetSpec::Gate(_) => gate::told(read, &stands),
        TargetSpec::Scale(_) => (scale::row(read), None),
        TargetSpec::Remote(_) => remote::told(read, &stands),
    };
    TargetReport {
        target: spec.id(),
        agrees: stands.agrees,
        unread: read.as_ref().err().cloned(),
        refusal: stands.refusal,
        wrong,
        row,
    }
}

/// A difference of this moment: of what was desired, and of what is.
fn drift(
    facts: &Facts<'_>,
    target: TargetId,
    field: &str,
    (desired, actual): (String, String),
    side: Side,
) -> Drift {
    Drift {
        id: String::new(), // given last
        throttle: facts.throttle.name.clone(),
        target,
        field: field.to_owned(),
        desired,
        actual,
        side,
        who: None,
        first_seen: facts.now.wall,
        last_seen: facts.now.wall,
        count: 1,
        action: if facts.throttle.mode == Mode::Observe {
            DriftAction::Reported
        } else {
            DriftAction::Corrected
        },
        error: None,
    }
}
