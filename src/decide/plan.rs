//! From what was decided and what was read back to a plan: every step, in order, with nothing left
//! to decide. Nobody changes a plan that was made; what became of it is a value of its own
//! (`outcome.rs`).
//!
//! Closing goes gate, then workloads; opening goes workloads, then gate, and the gate waits for
//! their read-back. What other sites are told comes last, and nothing here waits for it: a site
//! that cannot be reached must not keep this one shut for ever, and each site opens by its own
//! ramp.

mod freeze;
mod remote;

use std::collections::BTreeMap;

use crate::domain::drift::{Drift, DriftAction, Side};
use crate::domain::level::Level;
use crate::domain::moment::Moment;
use crate::domain::plan::{Action, Plan, ReadBack, ScaleReadBack, Step};
use crate::domain::remote::RemoteSent;
use crate::domain::throttle::{Declared, Mode, ScaleSpec, TargetSpec};

use super::damping::{Damping, SitePatience};
use super::precedence::most_restrictive;
use super::step::NextLevel;

/// What a plan is made from.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The declaration.
    pub throttle: &'a Declared,
    /// The most restrictive of specification and holds.
    pub asked: Level,
    /// Whether a kill hold is in force.
    pub killed: bool,
    /// The level in force now.
    pub current: Level,
    /// The level the law wants.
    pub next: NextLevel,
    /// What the targets were found to be, in the order declared.
    pub reads: &'a [(TargetSpec, Result<ReadBack, String>)],
    /// What is known of differences.
    pub drifts: KnownDrifts<'a>,
    /// What other sites were told and have not been seen to obey, by target id.
    pub patience: &'a BTreeMap<String, SitePatience>,
    /// When they were read.
    pub now: Moment,
}

/// Differences that passes before this one found.
#[derive(Clone, Copy, Debug)]
pub struct KnownDrifts<'a> {
    /// Those that were there in the last pass, by target id.
    pub open: &'a BTreeMap<String, Drift>,
    /// When each target was corrected, by target id.
    pub damping: &'a BTreeMap<String, Damping>,
}

/// A plan with what must be remembered once it is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The level that will be in force.
    pub effective: Level,
    /// What is remembered of targets, by target id.
    pub remembered: BTreeMap<String, i64>,
    /// What was last asked of targets, by target id.
    pub acknowledged: BTreeMap<String, i64>,
    /// What other sites last acknowledged, by target id; a step changes it once it is done.
    pub sent: BTreeMap<String, RemoteSent>,
    /// Target ids that are what they should be.
    pub agreeing: Vec<String>,
    /// Differences that are there, by target id; the plan reports those of them that are new.
    pub open: BTreeMap<String, Drift>,
    /// Whether a correction waits because there were many.
    pub damped: bool,
}

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

/// Makes the plan. `fresh_id` makes the id of a difference that is new.
pub fn plan(facts: &Facts<'_>, fresh_id: impl FnMut() -> String) -> Planned {
    let mut out = steps(facts);
    freeze::hold_back(facts, &mut out);
    freeze::name_drifts(facts, &mut out, fresh_id);
    out
}

/// Everything that should be done, however often it was tried before.
fn steps(facts: &Facts<'_>) -> Planned {
    let mut out = Planned {
        plan: Plan {
            throttle: facts.throttle.name.clone(),
            steps: Vec::new(),
            reported: Vec::new(),
        },
        effective: facts.current,
        remembered: facts.throttle.remembered.clone(),
        acknowledged: facts.throttle.acknowledged.clone(),
        sent: facts.throttle.sent.clone(),
        agreeing: Vec::new(),
        open: BTreeMap::new(),
        damped: false,
    };
    out.plan.reported.extend(observed_level(facts));
    let mut unread = false;
    for (spec, read) in facts.reads {
        match (spec, read) {
            (TargetSpec::Scale(scale), Ok(ReadBack::Scale(found))) => {
                plan_scale(facts, scale, found, &mut out)
            }
            (TargetSpec::Gate(_), Ok(ReadBack::Gate(found)))
                if found.obeying == found.gates && !found.off =>
            {
                out.agreeing.push(spec.id());
            }
            (TargetSpec::Scale(_), Err(_)) => unread = true,
            _ => {}
        }
    }
    let restoring = out.plan.steps.iter().any(|s| s.side == Side::Riskier);
    let opens = facts.next.level < facts.current;
    // What has not been read back as restored is not there yet: the gate stays as it is.
    if !(opens && (restoring || unread)) {
        out.effective = facts.next.level;
    }
    let step = Step {
        action: Action::SetGate {
            level: out.effective,
            reason: facts.next.reason.as_str(),
            generation: facts.throttle.generation,
        },
        side: if out.effective < facts.current {
            Side::Riskier
        } else {
            Side::Safer
        },
        corrects: None,
    };
    if step.side == Side::Riskier {
        out.plan.steps.push(step)
    } else {
        out.plan.steps.insert(0, step)
    }
    for (spec, read) in facts.reads {
        if let TargetSpec::Remote(spec) = spec {
            remote::plan_remote(facts, spec, read, &mut out);
        }
    }
    out
}

/// What a throttle that only observes would refuse, and does not.
fn observed_level(facts: &Facts<'_>) -> Option<Drift> {
    let Facts {
        throttle, current, ..
    } = *facts;
    let declared = most_restrictive(throttle.level, Mode::Enforce, &throttle.holds).level;
    let differs = throttle.mode == Mode::Observe && !facts.killed && declared != current;
    let side = if declared > current {
        Side::Riskier
    } else {
        Side::Safer
    };
    differs.then(|| {
        drift(
            facts,
            "gate",
            "level",
            (declared.to_string(), current.to_string()),
            side,
        )
    })
}

fn plan_scale(facts: &Facts<'_>, spec: &ScaleSpec, found: &ScaleReadBack, out: &mut Planned) {
    let id = TargetSpec::Scale(spec.clone()).id();
    // Our own record wins: annotations get edited.
    let remembered = out.remembered.get(&id).copied().or(found.remembered);
    let acting = facts.killed || (spec.proportional && facts.asked > Level::OPEN);
    let Some(wanted) = wanted_replicas(spec, facts.asked, facts.killed, remembered, found.replicas)
    else {
        out.acknowledged.remove(&id);
        out.agreeing.push(id);
        return;
    };
    let keep = acting.then(|| remembered.unwrap_or(found.replicas));
    let side = if wanted > found.replicas {
        Side::Riskier
    } else {
        Side::Safer
    };
    let observing = facts.throttle.mode == Mode::Observe;
    let differs = found.replicas != wanted;
    let drifted = differs && (observing || facts.throttle.acknowledged.get(&id) == Some(&wanted));
    let drift = drifted.then(|| drift_of(facts, &id, found, wanted));
    if !differs {
        out.agreeing.push(id.clone());
    }
    if observing {
        out.plan.reported.extend(drift);
        return;
    }
    match keep {
        Some(value) => {
            out.remembered.insert(id.clone(), value);
        }
        None if differs => {} // not restored yet
        None => {
            out.remembered.remove(&id);
        }
    }
    if acting || differs {
        out.acknowledged.insert(id, wanted);
    } else {
        out.acknowledged.remove(&id);
    }
    // The annotation stays until the restored number has been read back.
    let annotation = if acting || differs {
        keep.or(remembered)
    } else {
        None
    };
    if differs || annotation != found.remembered {
        let action = Action::Scale {
            target: spec.clone(),
            from: found.replicas,
            to: wanted,
            remember: annotation,
            resource_version: found.resource_version.clone(),
        };
        out.plan.steps.push(Step {
            action,
            side,
            corrects: drift,
        });
    }
}

fn drift_of(facts: &Facts<'_>, id: &str, found: &ScaleReadBack, wanted: i64) -> Drift {
    let side = if found.replicas > wanted {
        Side::Riskier
    } else {
        Side::Safer
    };
    let values = (wanted.to_string(), found.replicas.to_string());
    Drift {
        who: found.who.clone(),
        ..drift(facts, id, "spec.replicas", values, side)
    }
}

/// A difference of this moment: of what was desired, and of what is.
fn drift(
    facts: &Facts<'_>,
    target: &str,
    field: &str,
    (desired, actual): (String, String),
    side: Side,
) -> Drift {
    Drift {
        id: String::new(), // given last
        throttle: facts.throttle.name.clone(),
        target: target.to_owned(),
        field: field.to_owned(),
        desired,
        actual,
        side,
        who: None,
        first_seen: facts.now.wall,
        last_seen: facts.now.wall,
        count: 1,
        action: if facts.throttle.mode == Mode::Observe {
            DriftAction::Reported
        } else {
            DriftAction::Corrected
        },
        error: None,
    }
}
