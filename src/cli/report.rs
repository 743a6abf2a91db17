//! The report of `status`: a pure function of what the service answered.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::known::covers_all;
use super::terminal::Paint;
use super::words::{WIDE, by_source, holder, lower_to, percent, since, span, way_to_end, who};
use crate::client::{AuditEntry, DoubtedCommand, Health, Throttle};
use crate::source::crd_status::ConditionStatus;

/// What the service answered.
pub(super) struct Found {
    pub(super) health: Health,
    pub(super) throttles: Vec<Throttle>,
    /// Whether they could not be read: then nobody here knows what each of them does.
    pub(super) unread: bool,
    /// The last `control` of throttles, where it was looked up.
    pub(super) commands: Vec<(String, AuditEntry)>,
    /// Commands whose outcome was not known when they were answered; none: they could not be read.
    pub(super) doubts: Option<Vec<DoubtedCommand>>,
}

/// Everything, for a person.
pub(super) fn report(base: &str, found: &Found, now: Timestamp, paint: Paint) -> String {
    let Found {
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

/// What became of commands of which that was not known when they were answered. Whose they were has a row of its own, so that
/// a narrow terminal leaves the key whole.
fn doubted(text: &mut String, doubts: Option<&[DoubtedCommand]>, now: Timestamp, paint: Paint) {
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

/// The parts of the service that are not simply well, below what holds: what is wrong first, then what is off.
fn parts(text: &mut String, health: &Health) {
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

fn throttle(
    text: &mut String,
    one: &Throttle,
    command: Option<&AuditEntry>,
    all: &Found,
    now: Timestamp,
    paint: Paint,
) {
    let status = &one.status;
    let Some(effective) = &status.effective else {
        let stands = if all.health.killed {
            "KILLED, as far as /health tells"
        } else {
            "the loop has not looked at it yet"
        };
        let _ = writeln!(text, "{}: {}", one.name, paint.warn(stands));
        return;
    };
    let in_force = f64::from(effective.level_millionths) / 1e6;
    let declared = status
        .declared
        .as_ref()
        .map_or(effective.throttle_percent, |declared| {
            declared.throttle_percent
        });
    let kills: Vec<_> = status
        .holds
        .iter()
        .filter(|hold| hold.throttle_percent.is_none())
        .collect();
    let killed = !kills.is_empty();
    let stands = match effective.level_millionths {
        _ if killed => paint.alarm("KILLED, nothing but its allow-list is admitted"),
        0 => paint.good("open, nothing is refused"),
        1_000_000 => paint.alarm("shut, nothing but its allow-list is admitted"),
        _ => paint.warn(&format!("{}{} refused", percent(in_force), of_whom(one))),
    };
    let observes = match one.mode.as_str() {
        "enforce" => String::new(),
        "observe" => " (mode observe: only reported)".to_owned(),
        other => format!(" (mode {other}, which this version does not know)"),
    };
    let _ = writeln!(text, "{}: {stands}{observes}", one.name);
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    holds(one, &all.throttles, killed, now, &mut row);
    if !killed {
        declared_rows(one, command, declared, now, &mut row);
        if effective.level_millionths > 0
            && effective.reason != "target"
            && effective.reason != "none"
        {
            row("because", &format!("of {}", effective.reason));
        }
    }
    found(one, &mut row, paint);
    for hold in kills {
        row("next", &way_to_end(hold, &one.name));
    }
    if !killed {
        let sheds = condition(&status.conditions, "Shedding").is_some_and(|is| is.status == "True");
        let by = sheds.then_some(effective.reason.as_str());
        let stale =
            condition(&status.conditions, "SignalsStale").is_some_and(|is| is.status == "True");
        let source = one
            .spec
            .signals
            .as_ref()
            .and_then(|signals| signals.source.as_deref())
            .unwrap_or_default();
        let next = match stale && effective.throttle_percent > declared {
            true => {
                format!("stays until {source} reports: POST /observe with \"source\":\"{source}\"")
            }
            false => next(effective.throttle_percent, declared, by, command.is_some()),
        };
        row("next", &next);
    }
}

/// What people hold, and what a kill covers besides this throttle.
fn holds(
    one: &Throttle,
    all: &[Throttle],
    killed: bool,
    now: Timestamp,
    row: &mut impl FnMut(&str, &str),
) {
    for hold in &one.status.holds {
        if let Some(percent) = hold.throttle_percent {
            row(
                "held",
                &format!(
                    "at {percent} % or more, by {}: {}",
                    holder(hold),
                    hold.reason
                ),
            );
            let ends = match hold.kind.as_str() {
                "Rest" if killed => "a revive that names no epoch ends this too".to_owned(),
                "Rest" => format!(
                    "by {}; a revive that ends a kill ends this too",
                    lower_to(hold, one)
                ),
                _ => lower_to(hold, one),
            };
            row("ends", &ends);
        } else {
            row("since", &since(&hold.taken_at, now));
            row("by", &format!("{}: {}", holder(hold), hold.reason));
            row("epoch", &hold.epoch);
            if covers_all(all, &hold.epoch) {
                row("covers", WIDE);
            }
        }
    }
}

/// What was measured and found.
fn found(one: &Throttle, row: &mut impl FnMut(&str, &str), paint: Paint) {
    let status = &one.status;
    if let Some(callers) = callers_words(one) {
        row("callers", &callers);
    }
    targets(one, row, paint);
    if let Some(drift) = condition(&status.conditions, "Drifted").filter(|is| is.status == "True") {
        row(
            "drift",
            &paint.warn(&format!("{} ({})", drift.message, drift.reason)),
        );
    }
    if let Some(ignored) = condition(&status.conditions, "RulesIgnored") {
        row("allow", &paint.warn(&ignored.message));
    }
    if let Some(stale) =
        condition(&status.conditions, "SignalsStale").filter(|is| is.status == "True")
    {
        row("signals", &paint.warn(&stale.message));
    }
}

/// Whose share a level is, where it is not of requests.
fn of_whom(one: &Throttle) -> &'static str {
    let gates = one
        .status
        .observed
        .as_ref()
        .and_then(|observed| observed.gates.as_ref());
    if gates.is_some_and(|gates| gates.callers.is_some()) {
        " of callers"
    } else {
        ""
    }
}

/// What a level over callers comes to, where the throttle has a key.
fn callers_words(one: &Throttle) -> Option<String> {
    let gates = one.status.observed.as_ref()?.gates.as_ref()?;
    let seen = gates.callers?;
    let requests = gates
        .refused_percent
        .map(|percent| format!("; of the requests {percent} % refused, measured"));
    Some(format!(
        "the level is a share of callers, about {seen} this hour{}",
        requests.unwrap_or_default()
    ))
}

/// What is declared, and by whom. Who and when is known of the last command alone, and counts only if its level stands.
fn declared_rows(
    one: &Throttle,
    command: Option<&AuditEntry>,
    declared: i32,
    now: Timestamp,
    row: &mut impl FnMut(&str, &str),
) {
    let stands = |entry: &&AuditEntry| {
        entry
            .after
            .parse::<f64>()
            .is_ok_and(|level| format!("{:.0}", (level * 100.0).ceil()) == declared.to_string())
    };
    let source = one
        .status
        .declared
        .as_ref()
        .map_or("", |declared| declared.source.as_str());
    let by_file = source == "spec"
        && declared == one.spec.throttle_percent
        && command.filter(stands).is_none();
    match command.filter(stands) {
        // As it was asked for: what is declared is told rounded up to whole percent.
        Some(entry) => {
            row(
                "declared",
                &format!("{}, {}", exactly(entry), since(&entry.at, now)),
            );
            row("by", &who(&entry.operator, &entry.actor));
        }
        None if by_file || source.is_empty() => row("declared", &format!("{declared} %")),
        None => row("declared", &format!("{declared} % {}", by_source(source))),
    }
}

fn exactly(entry: &AuditEntry) -> String {
    entry
        .after
        .parse()
        .map_or_else(|_| entry.after.clone(), percent)
}

fn targets(one: &Throttle, row: &mut impl FnMut(&str, &str), paint: Paint) {
    for target in &one.targets {
        let agrees = match (target.agrees, &target.error) {
            (_, Some(error)) => paint.warn(error),
            (Some(true), None) => "as it should be".to_owned(),
            (Some(false), None) => paint.warn("not as it should be yet"),
            (None, None) => "not looked at yet".to_owned(),
        };
        row(
            "target",
            &format!("{}: {agrees}{}", target.target, there(one, &target.target)),
        );
    }
}

/// How another site stands, if the target is one that was read.
fn there(throttle: &Throttle, target: &str) -> String {
    let site = throttle
        .status
        .remotes
        .iter()
        .find(|remote| remote.target == target);
    let Some(seen) = site.and_then(|site| site.observed.as_ref()) else {
        return String::new();
    };
    match (seen.killed, &seen.others) {
        (true, Some(others)) => format!(" (killed there by {others})"),
        (true, None) => " (killed there)".to_owned(),
        (false, _) => format!(
            " (refuses {} % there, declared {} %)",
            seen.effective_percent, seen.declared_percent
        ),
    }
}

/// What happens next to a throttle that nobody killed.
fn next(effective: i32, declared: i32, shed_by: Option<&str>, commanded: bool) -> String {
    if let Some(signal) = shed_by {
        return format!(
            "opens towards {declared} % once {signal} calm down; what is measured holds it"
        );
    }
    match (effective, declared) {
        (0, 0) => "nothing: it is open".to_owned(),
        (100, 100) if !commanded => {
            "it was never opened: echo-phoenix set 0 --operator YOU --reason WHY, or a manifest"
                .to_owned()
        }
        (effective, declared) if effective > declared => {
            format!("opens step by step to {declared} %, as fast as what is measured allows")
        }
        (effective, declared) if effective < declared => {
            format!("closes to {declared} % at the next look")
        }
        _ => "nothing: it is where it was declared to be".to_owned(),
    }
}

fn condition<'a>(all: &'a [ConditionStatus], kind: &str) -> Option<&'a ConditionStatus> {
    all.iter().find(|one| one.kind == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
