//! From what a pass found to the rows of a status: the one in the cluster and the one REST answers.
//! Pure.
//!
//! Times are those of the last change, never of the last look: a status that is rewritten at every
//! look is a hot loop.

mod conditions;

use std::collections::BTreeMap;

use super::crd_status::{
    AcknowledgedStatus, DeclaredStatus, EchoThrottleStatus, EffectiveStatus, GatesStatus,
    HoldStatus, ObservedStatus, RemoteAcknowledged, RemoteObserved, RemoteStatus, TargetNumber,
};
use crate::domain::hold::{Epoch, Hold, HoldEffect, Source};
use crate::domain::level::{Level, nearest_percent};
use crate::domain::report::{PassReport, StatusRow};
use crate::domain::target::{StoredNumbers, TargetId, TargetMemory};

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
        remembered: remembered(outcome),
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
    let rows = outcome.observed.iter().filter_map(|one| {
        let StatusRow::Site {
            acknowledged,
            observed,
        } = &one.row
        else {
            return None;
        };
        Some(RemoteStatus {
            target: one.target.to_string(),
            acknowledged: acknowledged.map(|sent| RemoteAcknowledged {
                throttle_percent: sent.level.map(Level::percent_ceil),
                killed: sent.killed,
            }),
            observed: observed.as_ref().map(|found| RemoteObserved {
                declared_percent: found.declared.percent_ceil(),
                effective_percent: found.effective.percent_ceil(),
                killed: found.killed,
                ours: found.ours.iter().map(|epoch| epoch.0.clone()).collect(),
                others: found.others.clone(),
            }),
        })
    });
    rows.collect()
}

fn acknowledged(outcome: &PassReport) -> Vec<AcknowledgedStatus> {
    let gate = AcknowledgedStatus {
        target: TargetId::gate().to_string(),
        level_millionths: Some(outcome.effective.millionths()),
        generation: Some(outcome.throttle.generation),
        ..AcknowledgedStatus::default()
    };
    let numbers = outcome.memory.iter().filter_map(|(target, memory)| {
        Some(AcknowledgedStatus {
            target: target.to_string(),
            replicas: Some(memory.stored().acknowledged?),
            ..AcknowledgedStatus::default()
        })
    });
    std::iter::once(gate).chain(numbers).collect()
}

fn remembered(outcome: &PassReport) -> Vec<TargetNumber> {
    let numbers = outcome.memory.iter().filter_map(|(target, memory)| {
        Some(TargetNumber {
            target: target.to_string(),
            replicas: memory.stored().remembered?,
        })
    });
    numbers.collect()
}

/// What is remembered of targets, as a status has it.
pub fn memory(status: &EchoThrottleStatus) -> BTreeMap<TargetId, TargetMemory> {
    let mut stored = BTreeMap::<TargetId, StoredNumbers>::new();
    for row in &status.remembered {
        let of = stored.entry(row.target.as_str().into()).or_default();
        of.remembered = Some(row.replicas);
    }
    for row in &status.acknowledged {
        if let Some(replicas) = row.replicas {
            let of = stored.entry(row.target.as_str().into()).or_default();
            of.acknowledged = Some(replicas);
        }
    }
    let restored = stored.into_iter().filter_map(|(target, stored)| {
        let memory = TargetMemory::restored(&target, stored)?;
        Some((target, memory))
    });
    restored.collect()
}

fn observed(outcome: &PassReport, before: &EchoThrottleStatus) -> ObservedStatus {
    let mut now = ObservedStatus {
        when: outcome.at.to_string(),
        ..ObservedStatus::default()
    };
    for one in &outcome.observed {
        match &one.row {
            StatusRow::Gates {
                count,
                obeying,
                refused,
                callers,
            } => {
                let callers = callers.map(|callers| i64::try_from(callers).unwrap_or(i64::MAX));
                now.gates = Some(GatesStatus {
                    count: *count,
                    obeying: *obeying,
                    refused_percent: refused.map(nearest_percent),
                    callers,
                });
            }
            StatusRow::Number(replicas) => {
                now.targets.push(TargetNumber {
                    target: one.target.to_string(),
                    replicas: *replicas,
                });
            }
            StatusRow::Site { .. } | StatusRow::None => {}
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
