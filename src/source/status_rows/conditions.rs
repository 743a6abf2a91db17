//! The conditions of a status: what is in force, what is not and why, in words for people. Pure.
//!
//! Knows what a pass found and the conditions that stood before; not the rows beside them.

use jiff::Timestamp;

use crate::domain::hold::Hold;
use crate::domain::level::Level;
use crate::domain::report::{PassReport, StatusRow, TargetReport};
use crate::domain::target::TargetId;
use crate::domain::text::shown;
use crate::domain::throttle::Mode;
use crate::source::crd_status::{ConditionStatus, EchoThrottleStatus};

/// All conditions, in a fixed order; RulesIgnored, Reconciling and Stalled stand there only while
/// they are true.
pub(super) fn conditions(
    outcome: &PassReport,
    killed: bool,
    before: &EchoThrottleStatus,
) -> Vec<ConditionStatus> {
    let observes = outcome.throttle.mode == Mode::Observe && !killed;
    let ramping = outcome.effective != outcome.declared && !outcome.shedding && !observes;
    let disagreeing: Vec<_> = outcome
        .observed
        .iter()
        .filter(|o| !o.agrees)
        .map(|o| o.target.as_str())
        .collect();
    let enforced = disagreeing.is_empty() && outcome.trouble.is_none();
    let unread = outcome
        .observed
        .iter()
        .find_map(|one| one.unread.as_deref());
    let level = level_words(outcome);
    let not_enforced = not_enforced_words(outcome, &disagreeing.join(", "), unread);
    let standing = if enforced { &level } else { &not_enforced };
    let ready = enforced && !ramping;
    let mut all = vec![
        row(
            "Ready",
            ready,
            if ready { "InForce" } else { "NotInForce" },
            standing,
        ),
        row(
            "Enforced",
            enforced,
            if enforced { "ReadBack" } else { "Differs" },
            standing,
        ),
        drifted(outcome),
        killed_row(&outcome.throttle.holds),
        row(
            "Shedding",
            outcome.shedding,
            if outcome.shedding { "Measured" } else { "Calm" },
            &level,
        ),
    ];
    all.extend(signals_stale(outcome));
    all.extend(rules_ignored(outcome));
    if ramping || !enforced {
        all.push(row(
            "Reconciling",
            true,
            if ramping { "Ramping" } else { "Enforcing" },
            &level,
        ));
    }
    if !enforced && unread.is_some() {
        all.push(row("Stalled", true, "TargetUnreadable", &not_enforced));
    }
    date(&mut all, outcome, before);
    all
}

/// What is in force, beside what is declared.
fn level_words(outcome: &PassReport) -> String {
    let named = |one: &TargetReport| {
        matches!(
            one.row,
            StatusRow::Gates {
                callers: Some(_),
                ..
            }
        )
    };
    let keyed = outcome.throttle.gate().key_header.is_some() || outcome.observed.iter().any(named);
    let of = if keyed { " of callers" } else { "" };
    let (effective, declared) = (
        outcome.effective.percent_words(),
        outcome.declared.percent_words(),
    );
    format!("{effective}{of} refused, declared {declared}")
}

/// Which targets are behind, and why: what went wrong first, what they were found at, or why the
/// first of those could not be read that could not.
fn not_enforced_words(outcome: &PassReport, behind: &str, unread: Option<&str>) -> String {
    let off = outcome.observed.iter().find_map(|one| one.wrong.clone());
    let because = outcome
        .trouble
        .clone()
        .or(off)
        .or_else(|| unread.map(str::to_owned))
        .unwrap_or_default();
    if because.is_empty() {
        format!("not yet read back: {behind}")
    } else {
        format!("{behind}: {because}")
    }
}

/// Whether the declared source of signals is silent; nothing where none is declared.
fn signals_stale(outcome: &PassReport) -> Option<ConditionStatus> {
    let source = outcome.throttle.signals.source.as_ref()?;
    let said = if outcome.stale { "Silent" } else { "Reporting" };
    let message = if outcome.stale {
        format!("{source} has not reported for 15 s: nothing opens below 90 %")
    } else {
        String::new()
    };
    Some(row("SignalsStale", outcome.stale, said, &message))
}

/// Gives each condition its generation, and the time since which it is as it is.
fn date(all: &mut [ConditionStatus], outcome: &PassReport, before: &EchoThrottleStatus) {
    for condition in all {
        condition.observed_generation = outcome.throttle.generation;
        let old = before
            .conditions
            .iter()
            .find(|old| old.kind == condition.kind && old.status == condition.status);
        condition.last_transition_time = old.map_or_else(
            || whole_seconds(outcome.at),
            |old| old.last_transition_time.clone(),
        );
    }
}

/// What of the gate's declaration is not applied because it cannot be used: an object that a
/// version stored which took it.
fn rules_ignored(outcome: &PassReport) -> Option<ConditionStatus> {
    const TOLD: usize = 3; // of at most 65, a kilobyte each
    let ignored = outcome.throttle.gate().ignored();
    let more = if ignored.len() > TOLD {
        format!("; and {} more", ignored.len() - TOLD)
    } else {
        String::new()
    };
    let told = ignored
        .iter()
        .take(TOLD)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("; ");
    (!ignored.is_empty()).then(|| {
        row(
            "RulesIgnored",
            true,
            "CannotBeUsed",
            &format!("not applied: {told}{more}"),
        )
    })
}

fn drifted(outcome: &PassReport) -> ConditionStatus {
    let found = !outcome.drifted.is_empty();
    let reason = match (found, outcome.throttle.mode) {
        (false, _) => "AsDeclared",
        (true, Mode::Observe) => "Reported",
        (true, Mode::Enforce) if outcome.damped => "Damped",
        (true, Mode::Enforce) => "Correcting",
    };
    let targets: Vec<_> = outcome.drifted.iter().map(TargetId::as_str).collect();
    row("Drifted", found, reason, &targets.join(", "))
}

fn killed_row(holds: &[Hold]) -> ConditionStatus {
    let kills = holds.iter().filter(|hold| hold.is_kill());
    let words: Vec<_> = kills
        .map(|hold| format!("{} by {}: {}", hold.source, hold.operator, hold.reason))
        .collect();
    let killed = !words.is_empty();
    row(
        "Killed",
        killed,
        if killed { "Held" } else { "NotHeld" },
        &words.join("; "),
    )
}

/// Tells kills as they are now in a status that was made before: whoever stops or revives reads it
/// back at once.
pub fn put_kills(status: &mut EchoThrottleStatus, holds: &[Hold], now: Timestamp) {
    let is = killed_row(holds);
    let Some(told) = status
        .conditions
        .iter_mut()
        .find(|told| told.kind == is.kind)
    else {
        return;
    };
    let is_new = is.status == "True" && (&told.status, &told.message) != (&is.status, &is.message);
    if told.status != is.status {
        told.last_transition_time = whole_seconds(now);
    }
    (told.status, told.reason, told.message) = (is.status, is.reason, is.message);
    if is_new {
        not_read_back(status, now);
    }
    if holds.iter().any(Hold::is_kill)
        && let Some(effective) = &mut status.effective
    {
        (effective.level_millionths, effective.throttle_percent) = (Level::STOP.millionths(), 100);
        "kill".clone_into(&mut effective.reason);
    }
}

/// What was read back then knew nothing of the kill that holds now.
fn not_read_back(status: &mut EchoThrottleStatus, now: Timestamp) {
    for (kind, reason) in [("Ready", "NotInForce"), ("Enforced", "Differs")] {
        let is = row(kind, false, reason, "not yet read back");
        let of_kind = status.conditions.iter_mut().find(|told| told.kind == kind);
        if let Some(told) = of_kind.filter(|told| told.status != is.status) {
            told.last_transition_time = whole_seconds(now);
            (told.status, told.reason, told.message) = (is.status, is.reason, is.message);
        }
    }
}

/// A condition. Its message is for people, and Events repeat it: text of others is written so that
/// it can be seen.
fn row(kind: &str, is: bool, reason: &str, message: &str) -> ConditionStatus {
    ConditionStatus {
        kind: kind.to_owned(),
        status: if is { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: shown(message).into_owned(),
        ..ConditionStatus::default()
    }
}

/// Kubernetes writes condition times in whole seconds.
fn whole_seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string()
}
