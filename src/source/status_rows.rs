//! From what a pass found to the rows of a status: the one in the cluster and the one REST answers.
//! Pure.
//!
//! Times are those of the last change, never of the last look: a status that is rewritten at every
//! look is a hot loop.

mod conditions;

use super::crd_status::{
    AcknowledgedStatus, DeclaredStatus, EchoThrottleStatus, EffectiveStatus, GatesStatus,
    HoldStatus, ObservedStatus, RemoteAcknowledged, RemoteObserved, RemoteStatus, TargetNumber,
};
use crate::domain::hold::{Epoch, Hold, HoldEffect, Source};
use crate::domain::level::Level;
use crate::domain::plan::ReadBack;
use crate::domain::report::PassReport;
use crate::domain::throttle::TargetKind;

pub use conditions::put_kills;

/// What is known of a throttle's holds.
#[derive(Clone, Debug, Default)]
pub struct HoldFacts {
    /// Holds in force, and whether each has lost its override in a disorderly way.
    pub holds: Vec<(Hold, bool)>,
    /// Ids of holds that have ended.
    pub ended: Vec<Epoch>,
}

/// The status that follows from an outcome, given the one that stands.
pub fn status(
    outcome: &PassReport,
    told: &HoldFacts,
    before: &EchoThrottleStatus,
) -> EchoThrottleStatus {
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
        conditions: conditions::conditions(outcome, killed, before),
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
pub fn holds(told: &HoldFacts) -> Vec<HoldStatus> {
    told.holds
        .iter()
        .map(|(hold, orphaned)| hold_row(hold, *orphaned))
        .collect()
}

fn remotes(outcome: &PassReport) -> Vec<RemoteStatus> {
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

fn acknowledged(outcome: &PassReport) -> Vec<AcknowledgedStatus> {
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

fn observed(outcome: &PassReport, before: &EchoThrottleStatus) -> ObservedStatus {
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
            HoldEffect::Kill => None,
            HoldEffect::AtLeast(level) => Some(level.percent_ceil()),
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
