//! From what a pass found to the rows of a status: the one in the cluster and the one REST answers. Pure.
//!
//! Times are those of the last change, never of the last look: a status that is rewritten at every look is a hot loop.

use jiff::Timestamp;

use super::crd_status::{
    AcknowledgedStatus, ConditionStatus, DeclaredStatus, EchoThrottleStatus, EffectiveStatus,
    GatesStatus, HoldStatus, ObservedStatus, RemoteAcknowledged, RemoteObserved, RemoteStatus,
    TargetNumber,
};
use crate::domain::hold::{Bite, Epoch, Hold, Source};
use crate::domain::level::Level;
use crate::domain::plan::ReadBack;
use crate::domain::report::{Observed, Outcome};
use crate::domain::text::shown;
use crate::domain::throttle::{Mode, TargetKind};

/// What is known of a throttle's holds.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Holds in force, and whether each has lost its override in a disorderly way.
    pub holds: Vec<(Hold, bool)>,
    /// Ids of holds that have ended.
    pub ended: Vec<Epoch>,
}

/// The status that follows from an outcome, given the one that stands.
pub fn status(outcome: &Outcome, told: &Told, before: &EchoThrottleStatus) -> EchoThrottleStatus {
    let throttle = &outcome.throttle;
    let killed = throttle.holds.iter().any(Hold::is_kill);
    EchoThrottleStatus {
        observed_generation: throttle.generation,
        declared: Some(declared(outcome.declared, &outcome.source)),
        effective: Some(EffectiveStatus {
            level_millionths: outcome.effective.millionths(),
            throttle_percent: outcome.effective.percent_ceil(),
            reason: outcome.binding.to_owned(),
        }),
        acknowledged: acknowledged(outcome),
        remotes: remotes(outcome),
        observed: Some(observed(outcome, before)),
        holds: holds(told),
        ended_holds: told.ended.iter().map(|epoch| epoch.0.clone()).collect(),
        remembered: numbers(&outcome.remembered),
        conditions: conditions(outcome, killed, before),
    }
}

/// What specification and holds ask for together, as a row.
pub fn declared(level: Level, source: &str) -> DeclaredStatus {
    DeclaredStatus {
        throttle_percent: level.percent_ceil(),
        level_millionths: Some(level.millionths()),
        source: source.to_owned(),
    }
}

/// Holds in force, as rows.
pub fn holds(told: &Told) -> Vec<HoldStatus> {
    told.holds
        .iter()
        .map(|(hold, orphaned)| hold_row(hold, *orphaned))
        .collect()
}

fn remotes(outcome: &Outcome) -> Vec<RemoteStatus> {
    let targets = outcome
        .throttle
        .targets
        .iter()
        .filter(|target| target.kind() == TargetKind::Remote);
    let rows = targets.map(|target| {
        let target = target.id();
        let sent = outcome.sent.get(&target);
        let seen = outcome
            .observed
            .iter()
            .find(|one| one.target == target)
            .and_then(|one| one.read.as_ref().ok());
        RemoteStatus {
            acknowledged: sent.map(|sent| RemoteAcknowledged {
                throttle_percent: sent.level.map(Level::percent_ceil),
                killed: sent.killed,
            }),
            observed: seen.and_then(|read| match read {
                ReadBack::Remote(found) => Some(RemoteObserved {
                    declared_percent: found.declared.percent_ceil(),
                    effective_percent: found.effective.percent_ceil(),
                    killed: found.killed,
                    ours: found.ours.iter().map(|epoch| epoch.0.clone()).collect(),
                    others: found.others.clone(),
                }),
                _ => None,
            }),
            target,
        }
    });
    rows.collect()
}

fn acknowledged(outcome: &Outcome) -> Vec<AcknowledgedStatus> {
    let gate = AcknowledgedStatus {
        target: "gate".to_owned(),
        level_millionths: Some(outcome.effective.millionths()),
        generation: Some(outcome.throttle.generation),
        ..AcknowledgedStatus::default()
    };
    let workloads = outcome
        .acknowledged
        .iter()
        .map(|(target, replicas)| AcknowledgedStatus {
            target: target.clone(),
            replicas: Some(*replicas),
            ..AcknowledgedStatus::default()
        });
    std::iter::once(gate).chain(workloads).collect()
}

fn numbers(of: &std::collections::BTreeMap<String, i64>) -> Vec<TargetNumber> {
    of.iter()
        .map(|(target, replicas)| TargetNumber {
            target: target.clone(),
            replicas: *replicas,
        })
        .collect()
}

fn observed(outcome: &Outcome, before: &EchoThrottleStatus) -> ObservedStatus {
    let mut now = ObservedStatus {
        when: outcome.at.to_string(),
        ..ObservedStatus::default()
    };
    for one in &outcome.observed {
        match &one.read {
            Ok(ReadBack::Gate(gate)) => {
                let refused_percent = gate.refused.map(whole_percent);
                let callers = gate
                    .callers
                    .map(|callers| i64::try_from(callers).unwrap_or(i64::MAX));
                now.gates = Some(GatesStatus {
                    count: gate.gates,
                    obeying: gate.obeying,
                    refused_percent,
                    callers,
                });
            }
            Ok(ReadBack::Scale(scale)) => {
                now.targets.push(TargetNumber {
                    target: one.target.clone(),
                    replicas: scale.replicas,
                });
            }
            Ok(ReadBack::Remote(_) | ReadBack::Absent) | Err(_) => {}
        }
    }
    match &before.observed {
        Some(old) if old.gates == now.gates && old.targets == now.targets => ObservedStatus {
            when: old.when.clone(),
            ..now
        },
        _ => now,
    }
}

/// A share as whole percent, to the nearest that is no end it does not reach.
#[allow(clippy::cast_possible_truncation, reason = "a share of 0..=1")]
fn whole_percent(share: f64) -> i32 {
    let nearest = (share * 100.0).round() as i32;
    if share > 0.0 && share < 1.0 {
        nearest.clamp(1, 99)
    } else {
        nearest
    }
}

fn hold_row(hold: &Hold, orphaned: bool) -> HoldStatus {
    let mut row = HoldStatus {
        epoch: hold.epoch.0.clone(),
        throttle_percent: match hold.bite {
            Bite::Kill => None,
            Bite::AtLeast(level) => Some(level.percent_ceil()),
        },
        operator: hold.operator.clone(),
        reason: hold.reason.clone(),
        taken_at: hold.taken_at.to_string(),
        state: if orphaned {
            "Orphaned".to_owned()
        } else {
            String::new()
        },
        ..HoldStatus::default()
    };
    match &hold.source {
        Source::Spec => row.kind = "Spec".to_owned(),
        Source::Manifest => row.kind = "Manifest".to_owned(),
        Source::Rest => row.kind = "Rest".to_owned(),
        Source::Unaccounted => row.kind = "Unaccounted".to_owned(),
        Source::Override {
            namespace,
            name,
            uid,
            namespace_uid,
            definition_uid,
        } => {
            row.kind = if namespace.is_some() {
                "EchoOverride"
            } else {
                "ClusterEchoOverride"
            }
            .to_owned();
            row.namespace = namespace.clone().unwrap_or_default();
            row.name.clone_from(name);
            row.uid.clone_from(uid);
            row.namespace_uid = namespace_uid.clone().unwrap_or_default();
            row.definition_uid = definition_uid.clone().unwrap_or_default();
        }
    }
    row
}

/// What is wrong with gates that refuse another share than they should, and with another site that does not obey.
fn off_words(outcome: &Outcome, one: &Observed) -> Option<String> {
    let gate = match &one.read {
        Ok(ReadBack::Gate(gate)) => gate,
        Ok(ReadBack::Remote(_)) if one.refusal.is_some() => return one.refusal.clone(),
        Ok(ReadBack::Remote(found)) if !one.agrees => {
            return Some(match (&found.others, found.killed) {
                (Some(others), _) => format!("killed there by {others}, who has to end it there"),
                (None, true) => "killed there".to_owned(),
                (None, false) => format!("declared {} there", found.declared.percent_words()),
            });
        }
        _ => return None,
    };
    if gate.off && gate.callers.is_some() {
        return Some("callers were told something else than the level gives them".to_owned());
    }
    let refused = gate.refused.filter(|_| gate.off).map(whole_percent)?;
    let wanted = if outcome.throttle.holds.iter().any(Hold::is_kill) {
        Level::STOP
    } else {
        outcome.effective
    };
    Some(format!(
        "refuses {refused} % of what is asked, not {}",
        wanted.percent_words()
    ))
}

/// All conditions, in a fixed order; RulesIgnored, Reconciling and Stalled stand there only while they are true.
fn conditions(
    outcome: &Outcome,
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
    let unread: Vec<_> = outcome
        .observed
        .iter()
        .filter_map(|o| o.read.as_ref().err())
        .collect();
    let behind = disagreeing.join(", ");
    let off = outcome
        .observed
        .iter()
        .find_map(|one| off_words(outcome, one));
    let because = outcome
        .trouble
        .clone()
        .or(off)
        .or_else(|| unread.first().map(|error| (*error).clone()))
        .unwrap_or_default();
    let not_enforced = if because.is_empty() {
        format!("not yet read back: {behind}")
    } else {
        format!("{behind}: {because}")
    };
    let named =
        |one: &Observed| matches!(&one.read, Ok(ReadBack::Gate(gate)) if gate.callers.is_some());
    let keyed = outcome.throttle.gate().key_header.is_some() || outcome.observed.iter().any(named);
    let of = if keyed { " of callers" } else { "" };
    let (effective, declared) = (
        outcome.effective.percent_words(),
        outcome.declared.percent_words(),
    );
    let level = format!("{effective}{of} refused, declared {declared}");
    let ready = enforced && !ramping;
    let mut all = vec![
        row(
            "Ready",
            ready,
            if ready { "InForce" } else { "NotInForce" },
            if enforced { &level } else { &not_enforced },
        ),
        row(
            "Enforced",
            enforced,
            if enforced { "ReadBack" } else { "Differs" },
            if enforced { &level } else { &not_enforced },
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
    if let Some(source) = &outcome.throttle.signals.source {
        let said = if outcome.stale { "Silent" } else { "Reporting" };
        let message = if outcome.stale {
            format!("{source} has not reported for 15 s: nothing opens below 90 %")
        } else {
            String::new()
        };
        all.push(row("SignalsStale", outcome.stale, said, &message));
    }
    all.extend(rules_ignored(outcome));
    if ramping || !enforced {
        all.push(row(
            "Reconciling",
            true,
            if ramping { "Ramping" } else { "Enforcing" },
            &level,
        ));
    }
    if !enforced && !unread.is_empty() {
        all.push(row("Stalled", true, "TargetUnreadable", &not_enforced));
    }
    for condition in &mut all {
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
    all
}

/// What of the gate's declaration is not applied because it cannot be used: an object that a version stored which took it.
fn rules_ignored(outcome: &Outcome) -> Option<ConditionStatus> {
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

fn drifted(outcome: &Outcome) -> ConditionStatus {
    let found = !outcome.drifted.is_empty();
    let reason = match (found, outcome.throttle.mode) {
        (false, _) => "AsDeclared",
        (true, Mode::Observe) => "Reported",
        (true, Mode::Enforce) if outcome.damped => "Damped",
        (true, Mode::Enforce) => "Correcting",
    };
    row("Drifted", found, reason, &outcome.drifted.join(", "))
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

/// Tells kills as they are now in a status that was made before: whoever stops or revives reads it back at once.
pub fn put_kills(status: &mut EchoThrottleStatus, holds: &[Hold], now: Timestamp) {
    let is = killed_row(holds);
    let Some(told) = status
        .conditions
        .iter_mut()
        .find(|told| told.kind == is.kind)
    else {
        return;
    };
    if told.status != is.status {
        told.last_transition_time = whole_seconds(now);
    }
    (told.status, told.reason, told.message) = (is.status, is.reason, is.message);
    if holds.iter().any(Hold::is_kill)
        && let Some(effective) = &mut status.effective
    {
        (effective.level_millionths, effective.throttle_percent) = (Level::STOP.millionths(), 100);
        "kill".clone_into(&mut effective.reason);
    }
}

/// A condition. Its message is for people, and Events repeat it: text of others is written so that it can be seen.
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
