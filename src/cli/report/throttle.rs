//! One throttle in the report of `status`: what it refuses, who holds it there, what was found and
//! what happens next.
//!
//! Pure; knows of the service besides the throttle no more than what was read.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::ServiceSnapshot;
use crate::cli::known::covers_all;
use crate::cli::terminal::Paint;
use crate::cli::words::{WIDE, by_source, holder, lower_to, percent, since, way_to_end, who};
use crate::client::{AuditRow, ThrottleSummary};
use crate::source::crd_status::{ConditionStatus, EffectiveStatus};

/// Writes it, row by row.
pub(super) fn throttle(
    text: &mut String,
    one: &ThrottleSummary,
    command: Option<&AuditRow>,
    all: &ServiceSnapshot,
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
    let stands = stands(one, effective, killed, paint);
    let _ = writeln!(text, "{}: {stands}", one.name);
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
        let next = what_is_next(one, effective, declared, command.is_some());
        row("next", &next);
    }
}

/// What it refuses, and whether that is enforced or only reported.
fn stands(
    one: &ThrottleSummary,
    effective: &EffectiveStatus,
    killed: bool,
    paint: Paint,
) -> String {
    let in_force = f64::from(effective.level_millionths) / 1e6;
    let refuses = match effective.level_millionths {
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
    format!("{refuses}{observes}")
}

/// What people hold, and what a kill covers besides this throttle.
fn holds(
    one: &ThrottleSummary,
    all: &[ThrottleSummary],
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
fn found(one: &ThrottleSummary, row: &mut impl FnMut(&str, &str), paint: Paint) {
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
fn of_whom(one: &ThrottleSummary) -> &'static str {
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
fn callers_words(one: &ThrottleSummary) -> Option<String> {
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

/// What is declared, and by whom. Who and when is known of the last command alone, and counts only
/// if its level stands.
pub(super) fn declared_rows(
    one: &ThrottleSummary,
    command: Option<&AuditRow>,
    declared: i32,
    now: Timestamp,
    row: &mut impl FnMut(&str, &str),
) {
    let stands = |entry: &&AuditRow| {
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

fn exactly(entry: &AuditRow) -> String {
    entry
        .after
        .parse()
        .map_or_else(|_| entry.after.clone(), percent)
}

fn targets(one: &ThrottleSummary, row: &mut impl FnMut(&str, &str), paint: Paint) {
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
fn there(throttle: &ThrottleSummary, target: &str) -> String {
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

/// What happens next to a throttle that nobody killed, a source that does not report included.
fn what_is_next(
    one: &ThrottleSummary,
    effective: &EffectiveStatus,
    declared: i32,
    commanded: bool,
) -> String {
    let conditions = &one.status.conditions;
    let sheds = condition(conditions, "Shedding").is_some_and(|is| is.status == "True");
    let by = sheds.then_some(effective.reason.as_str());
    let stale = condition(conditions, "SignalsStale").is_some_and(|is| is.status == "True");
    let source = one
        .spec
        .signals
        .as_ref()
        .and_then(|signals| signals.source.as_deref())
        .unwrap_or_default();
    match stale && effective.throttle_percent > declared {
        true => {
            format!("stays until {source} reports: POST /observe with \"source\":\"{source}\"")
        }
        false => next(effective.throttle_percent, declared, by, commanded),
    }
}

/// The same, where every source reports.
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
