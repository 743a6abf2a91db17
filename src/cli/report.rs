//! The report of `status`: a pure function of what the service answered.

mod throttle;

use std::fmt::Write as _;

use jiff::Timestamp;

use super::terminal::Paint;
use super::words::{percent, since, span, who};
use crate::client::{AuditRow, CommandRow, HealthSummary, ThrottleSummary};
use throttle::throttle;

/// What the service answered.
pub(super) struct ServiceSnapshot {
    pub(super) health: HealthSummary,
    pub(super) throttles: Vec<ThrottleSummary>,
    /// Whether they could not be read: then nobody here knows what each of them does.
    pub(super) unread: bool,
    /// The last `control` of throttles, where it was looked up.
    pub(super) commands: Vec<(String, AuditRow)>,
    /// Commands whose outcome was not known when they were answered; none: they could not be read.
    pub(super) doubts: Option<Vec<CommandRow>>,
}

/// Everything, for a person.
pub(super) fn report(base: &str, found: &ServiceSnapshot, now: Timestamp, paint: Paint) -> String {
    let ServiceSnapshot {
        health,
        throttles,
        unread,
        commands,
        doubts,
    } = found;
    let is = match health.status.as_str() {
        "healthy" => paint.good("healthy"),
        other => paint.warn(other),
    };
    let mut text = format!(
        "{base}: {} {}, {is}, up {}\n",
        health.mode,
        health.version,
        span(health.uptime_seconds)
    );
    if throttles.is_empty() {
        let stands = match (health.killed, unread) {
            (true, true) => paint.alarm(
                "KILLED, as far as /health tells; which throttles, by whom and why is unknown",
            ),
            (true, false) => paint.alarm("KILLED"),
            (false, true) => {
                paint.warn("what each throttle refuses is unknown: they could not be read")
            }
            (false, false) => format!("{} refused at most", percent(health.throttle_pct)),
        };
        let _ = writeln!(text, "\n{stands}");
    }
    for one in throttles {
        text.push('\n');
        // What a manifest declares is nobody's command, whatever level the last one asked for.
        let by_file = health
            .checks
            .get("manifest")
            .is_some_and(|state| !state.starts_with("off"))
            && one
                .status
                .declared
                .as_ref()
                .is_some_and(|declared| declared.source == "spec");
        let command = commands
            .iter()
            .find(|(name, _)| *name == one.name && !by_file)
            .map(|(_, entry)| entry);
        throttle(&mut text, one, command, found, now, paint);
    }
    doubted(&mut text, doubts.as_deref(), now, paint);
    parts(&mut text, health);
    text
}

/// What became of commands of which that was not known when they were answered. Whose they were has
/// a row of its own, so that a narrow terminal leaves the key whole.
fn doubted(text: &mut String, doubts: Option<&[CommandRow]>, now: Timestamp, paint: Paint) {
    let Some(doubts) = doubts else {
        let unread = "whether commands are not decided, or known there alone, is unknown: they could not be read";
        let _ = writeln!(text, "\n{}", paint.warn(unread));
        return;
    };
    text.push_str(if doubts.is_empty() {
        ""
    } else {
        "\ncommands that were answered before their outcome was known:\n"
    });
    for one in doubts {
        let became = match one.outcome.as_str() {
            "done" => paint.good("it was done"),
            "not_done" => "it was not done, and will not be".to_owned(),
            "undecided" => paint.alarm("not decided yet: it may still happen"),
            "refused" => paint.alarm("it is known there alone"),
            other => format!("{other}, which this version does not know"),
        };
        let of = if one.throttle.is_empty() {
            "all"
        } else {
            &one.throttle
        };
        let why = one
            .why
            .as_ref()
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        let came = since(&one.at, now);
        let _ = writeln!(
            text,
            "  {:<9} {became}: {} of {of}, {came}{why}",
            "command", one.action
        );
        let _ = writeln!(text, "  {:<9} {}", "by", who(&one.operator, &one.actor));
    }
}

/// The parts of the service that are not simply well, below what holds: what is wrong first, then
/// what is off.
fn parts(text: &mut String, health: &HealthSummary) {
    let told = health
        .checks
        .iter()
        .filter(|(_, state)| state.as_str() != "ok");
    let (off, wrong): (Vec<_>, Vec<_>) = told.partition(|(_, state)| state.starts_with("off"));
    for part in [wrong, off] {
        text.push_str(if part.is_empty() { "" } else { "\n" });
        for (name, state) in part {
            let _ = writeln!(text, "  {name:<9} {state}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::throttle::declared_rows;
    use super::*;
    use crate::cli::terminal::fit_words;

    /// A long name of a person leaves the name of the key whole, in a row that begins with it.
    #[test]
    fn whose_key_it_was_is_never_cut_by_what_its_bearer_says() {
        let now = Timestamp::UNIX_EPOCH;
        let (key, long) = (
            "k".repeat(64),
            format!("dana{}all is well", " ".repeat(200)),
        );
        let (mut rows, at) = (String::new(), now.to_string());
        let one = json!({ "name": "default", "mode": "enforce", "generation": 1, "spec": { "throttlePercent": 25 } });
        let entry = json!({
            "seq": 1, "at": at, "actor": key, "operator": long, "action": "control", "after": "0.25", "reason": "r",
        });
        let mut row = |name: &str, value: &str| rows += &format!("  {name:<9} {value}\n");
        let entry = serde_json::from_value(entry).unwrap();
        declared_rows(
            &serde_json::from_value(one).unwrap(),
            Some(&entry),
            25,
            now,
            &mut row,
        );
        let doubt = json!({ "at": at, "action": "revive", "actor": key, "operator": long, "outcome": "undecided" });
        let doubts = [serde_json::from_value(doubt).unwrap()];
        doubted(&mut rows, Some(&doubts), now, Paint::new(Some("1")));
        let fitted = fit_words(&rows, Some(80));
        let by: Vec<_> = fitted
            .lines()
            .filter(|line| line.starts_with("  by "))
            .collect();
        assert_eq!(by.len(), 2, "{fitted}");
        assert!(
            by.iter()
                .all(|row| row.starts_with(&format!("  by        {key}: "))),
            "{fitted}"
        );
        assert!(
            fitted.lines().all(|line| line.chars().count() <= 80),
            "{fitted}"
        );
        assert_eq!(
            (who("dana", "ci"), who("", "ci")),
            ("ci: dana".to_owned(), "ci".to_owned())
        );
    }
}
