//! The loop's words in the audit log: who it is, what each step is called, from what to what and
//! why.
//!
//! Pure; knows neither the ledger nor what it was told before.

use jiff::Timestamp;

use crate::decide::precedence::Restriction as Want;
use crate::domain::audit::AuditDraft;
use crate::domain::hold::Epoch;
use crate::domain::plan::{Action, RemoteOrder, Step};
use crate::domain::throttle::ThrottleName;

/// Who the loop is in audit entries.
const ACTOR: &str = "echo-phoenix";

/// A step as the audit log tells it.
pub(super) struct StepWords {
    pub(super) intent: &'static str,
    pub(super) outcome: &'static str,
    pub(super) before: String,
    pub(super) after: String,
}

/// What is told of a step; nothing of one whose effect stands in the state of the throttle, or that
/// has none.
pub(super) fn told(action: &Action) -> Option<StepWords> {
    let told = |(intent, outcome), what: &str, before: String, after: String| {
        Some(StepWords {
            intent,
            outcome,
            before: format!("{what} {before}"),
            after: format!("{what} {after}"),
        })
    };
    match action {
        Action::SetGate { .. } => None,
        // Only the note on the object is tidied up.
        Action::Scale { from, to, .. } if from == to => None,
        Action::Scale {
            target, from, to, ..
        } => told(
            ("scale_intent", "scale"),
            &target.name,
            from.to_string(),
            to.to_string(),
        ),
        Action::Remote { target, order } => {
            let (before, after) = match order {
                RemoteOrder::Kill { .. } => ("not killed by us".to_owned(), "killed".to_owned()),
                RemoteOrder::Revive { epochs } => (
                    format!("killed {}", listed_epochs(epochs)),
                    "opening".to_owned(),
                ),
                RemoteOrder::Level { from, to, .. } => (from.to_string(), to.to_string()),
            };
            told(("remote_intent", "remote"), &target.id(), before, after)
        }
    }
}

fn listed_epochs(epochs: &[Epoch]) -> String {
    epochs
        .iter()
        .map(|epoch| epoch.0.as_str())
        .collect::<Vec<_>>()
        .join(",")
}

/// Names as one bounded text; a hold on every throttle of a large cluster is still one entry.
pub(super) fn listed(names: &[&ThrottleName]) -> String {
    const SHOWN: usize = 8;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(|name| name.as_str())
        .collect::<Vec<_>>()
        .join(",");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

pub(super) fn reason_of(step: &Step, want: &Want) -> String {
    match &step.corrects {
        Some(drift) => format!("drift {}: found {}", drift.id, drift.actual),
        None => format!("declared by {}", want.source),
    }
}

pub(super) fn draft(throttle: &str, action: &str, at: Timestamp) -> AuditDraft {
    AuditDraft {
        throttle: throttle.to_owned(),
        ..AuditDraft::new(at, ACTOR, action)
    }
}
