//! The loop's words in the audit log: whom a change concerns, and why it does a step.
//!
//! Pure; knows neither the ledger nor what it was told before, nor what a step is called: that is
//! its target's kind's.

use crate::decide::precedence::Restriction as Want;
use crate::domain::plan::Step;
use crate::domain::throttle::ThrottleName;

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
