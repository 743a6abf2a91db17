//! What `/health` says of a record that is not as it was left: holds that nobody accounts for are
//! vital, all else is told.

use std::sync::Arc;

use crate::domain::hold::Source;
use crate::http::HealthParts;
use crate::ports::Desired;

/// Holds that are named where there are many.
const NAMED: usize = 4;

/// Adds both: `holds`, and `record` where there is something to tell.
pub(super) fn part(told: Vec<String>, desired: &Arc<dyn Desired>, parts: &mut HealthParts) {
    let desired = Arc::clone(desired);
    parts.vital.push((
        "holds",
        Arc::new(move || words(desired.as_ref()).map_or_else(|| Ok("ok".to_owned()), Err)),
    ));
    if !told.is_empty() {
        let words = format!(
            "not as it was left, see the log of the start: {}",
            told.join("; ")
        );
        parts
            .on
            .push(("record", Arc::new(move || Ok(words.clone()))));
    }
}

/// The holds that no recorded end accounts for: a person has to look.
fn words(desired: &dyn Desired) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    for declared in desired.declared() {
        for hold in declared
            .holds
            .iter()
            .filter(|hold| hold.source == Source::Unaccounted)
        {
            if !found.contains(&hold.epoch.0) {
                found.push(hold.epoch.0.clone());
            }
        }
    }
    // Not its reason: whoever asks here needs no key, and a reason is for whom it was written. The
    // log has it.
    let all: Vec<_> = found.iter().take(NAMED).map(String::as_str).collect();
    let more = found.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let ends = "nothing tells that it ended, so it stays until /revive";
    (!found.is_empty()).then(|| format!("unaccounted: {}{more}: {ends}", all.join(", ")))
}
