//! A workload: how many replicas it should have, what is remembered of those it had, and when they
//! are given back.

use super::{StepWords, TargetPlan, drift};
use crate::decide::facts::{Facts, TargetRead};
use crate::domain::audit::AuditAction;
use crate::domain::drift::{Drift, Side};
use crate::domain::level::Level;
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::report::StatusRow;
use crate::domain::target::{
    Action, ReadBack, ScaleMemory, ScaleReadBack, ScaleSpec, TargetMemory,
};
use crate::domain::throttle::Mode;

/// Replicas a workload should have; `None` where the throttle has no opinion.
///
/// In integers, since a float gives 4 of 10 at 70 %. Follows the declared level, never the
/// automatic one: taking replicas from an overloaded server feeds the overload.
pub fn wanted_replicas(
    spec: &ScaleSpec,
    asked: Level,
    killed: bool,
    remembered: Option<i64>,
    now: i64,
) -> Option<i64> {
    if killed {
        return Some(0);
    }
    if spec.proportional && asked > Level::OPEN {
        let base = remembered.unwrap_or(now);
        let admitted = 1_000_000 - i64::from(asked.millionths());
        let share = (admitted * base).div_euclid(1_000_000)
            + i64::from((admitted * base).rem_euclid(1_000_000) > 0);
        return Some(share.max(i64::from(spec.min_replicas)).min(base));
    }
    remembered
}

pub(super) fn plan(
    facts: &Facts<'_>,
    spec: &ScaleSpec,
    read: &TargetRead,
    known: Option<TargetMemory>,
) -> TargetPlan {
    match read {
        Ok(ReadBack::Scale(found)) => plan_scale(facts, spec, found, of(known)),
        Ok(_) => TargetPlan::nothing(known),
        // What has not been read back as restored is not there yet.
        Err(_) => TargetPlan {
            bars_opening: true,
            ..TargetPlan::nothing(known)
        },
    }
}

/// What is known of a workload.
fn of(known: Option<TargetMemory>) -> ScaleMemory {
    match known {
        Some(TargetMemory::Scale(memory)) => memory,
        _ => ScaleMemory::default(),
    }
}

/// What is remembered of a workload; nothing where nothing is known.
fn kept(memory: ScaleMemory) -> Option<TargetMemory> {
    (memory != ScaleMemory::default()).then_some(TargetMemory::Scale(memory))
}

fn plan_scale(
    facts: &Facts<'_>,
    spec: &ScaleSpec,
    found: &ScaleReadBack,
    known: ScaleMemory,
) -> TargetPlan {
    // Our own record wins: annotations get edited.
    let remembered = known.remembered.or(found.remembered);
    let acting = facts.killed || (spec.proportional && facts.asked > Level::OPEN);
    let Some(wanted) = wanted_replicas(spec, facts.asked, facts.killed, remembered, found.replicas)
    else {
        return TargetPlan {
            agrees: true,
            memory: kept(ScaleMemory {
                acknowledged: None,
                ..known
            }),
            ..TargetPlan::default()
        };
    };
    let observing = facts.throttle.mode == Mode::Observe;
    let differs = found.replicas != wanted;
    let drifted = differs && (observing || known.acknowledged == Some(wanted));
    let drift = drifted.then(|| drift_of(facts, spec, found, wanted));
    if observing {
        return TargetPlan {
            reported: drift,
            agrees: !differs,
            ..TargetPlan::nothing(kept(known))
        };
    }
    let keep = acting.then(|| remembered.unwrap_or(found.replicas));
    let memory = ScaleMemory {
        // What differs is not restored yet.
        remembered: keep.or(known.remembered.filter(|_| differs)),
        acknowledged: (acting || differs).then_some(wanted),
    };
    // The annotation stays until the restored number has been read back.
    let annotation = if acting || differs {
        keep.or(remembered)
    } else {
        None
    };
    let step = || Step {
        action: Action::Scale {
            target: spec.clone(),
            from: found.replicas,
            to: wanted,
            remember: annotation,
            resource_version: found.resource_version.clone(),
        },
        side: if wanted > found.replicas {
            Side::Riskier
        } else {
            Side::Safer
        },
        corrects: drift,
    };
    TargetPlan {
        step: (differs || annotation != found.remembered).then(step),
        memory: kept(memory),
        agrees: !differs,
        ..TargetPlan::default()
    }
}

fn drift_of(facts: &Facts<'_>, spec: &ScaleSpec, found: &ScaleReadBack, wanted: i64) -> Drift {
    let side = if found.replicas > wanted {
        Side::Riskier
    } else {
        Side::Safer
    };
    let values = (wanted.to_string(), found.replicas.to_string());
    Drift {
        who: found.who.clone(),
        ..drift(facts, spec.id(), "spec.replicas", values, side)
    }
}

/// A workload that was not scaled was asked nothing.
pub(super) fn remembered(
    (from, to): (i64, i64),
    done: &StepOutcome,
    planned: Option<TargetMemory>,
) -> Option<TargetMemory> {
    if *done == StepOutcome::Yes {
        // Its pass may not have waited for it, and then takes it for not acknowledged.
        return if from == to {
            planned
        } else {
            kept(ScaleMemory {
                acknowledged: Some(to),
                ..of(planned)
            })
        };
    }
    kept(ScaleMemory {
        acknowledged: None,
        ..of(planned)
    })
}

/// What the audit log is told; nothing where only the note on the object is tidied up.
pub(super) fn words(target: &ScaleSpec, from: i64, to: i64) -> Option<StepWords> {
    (from != to).then(|| StepWords {
        intent: AuditAction::ScaleIntent,
        outcome: AuditAction::Scale,
        before: format!("{} {from}", target.name),
        after: format!("{} {to}", target.name),
    })
}

/// The row of a workload.
pub(super) fn row(read: &TargetRead) -> StatusRow {
    match read {
        Ok(ReadBack::Scale(found)) => StatusRow::Number(found.replicas),
        _ => StatusRow::None,
    }
}
