//! What would change of each throttle, a pure function of what the service answered and what a file
//! declares.

use serde::Serialize;

use super::super::words::holder;
use super::differences::differences;
use crate::client::ThrottleSummary;
use crate::domain::target::{TargetId, TargetSpec};
use crate::domain::text::shown;
use crate::domain::throttle::{FromFile, Mode};
use crate::source::crd::EchoThrottleSpec;
use crate::source::crd_status::HoldStatus;
use crate::source::crd_target::SpecTarget;
use crate::source::spec_rows::spec;

/// What becomes of a throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ChangeKind {
    /// It is there afterwards, and was not.
    Create,
    /// Something of it moves.
    Change,
    /// It stays as it is.
    None,
    /// Nobody answered to compare it with.
    Unknown,
}

/// One throttle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct PlannedThrottle {
    pub(super) throttle: String,
    pub(super) change: ChangeKind,
    /// Share refused now, percent; none where nobody knows.
    pub(super) in_force_percent: Option<f64>,
    /// Share declared now, percent; none where there is no such throttle yet.
    pub(super) declared_percent: Option<i32>,
    /// Share it would be declared at.
    pub(super) next_percent: Option<i32>,
    /// What would happen, in words, in order.
    pub(super) steps: Vec<String>,
}

/// What the service does next by itself.
pub(super) fn from_service(throttles: &[ThrottleSummary]) -> Vec<PlannedThrottle> {
    throttles.iter().map(next).collect()
}

fn next(now: &ThrottleSummary) -> PlannedThrottle {
    let mut steps = Vec::new();
    let asked = now
        .status
        .declared
        .as_ref()
        .map(|declared| declared.throttle_percent);
    if kills(now).next().is_some() {
        steps.extend(kills(now).map(stays));
    } else if let (Some(asked), Some(in_force)) = (asked, in_force(now)) {
        steps.extend(held(now, asked).or_else(|| way(in_force, asked, None)));
    }
    for target in &now.targets {
        match (&target.error, target.agrees) {
            (Some(error), _) => steps.push(format!("{} is tried again: {error}", target.target)),
            (None, Some(false)) if now.mode == "observe" => {
                steps.push(format!(
                    "{} differs; mode observe only reports it",
                    target.target
                ));
            }
            (None, Some(false)) => {
                let others = now
                    .status
                    .remotes
                    .iter()
                    .find(|remote| remote.target == target.target);
                let others = others.and_then(|remote| remote.observed.as_ref()?.others.clone());
                steps.push(match others.filter(|_| kills(now).next().is_none()) {
                    Some(others) => format!(
                        "{} stays killed there by {others}; it is ended there",
                        target.target
                    ),
                    None => format!("{} is brought in line", target.target),
                });
            }
            (None, _) => {}
        }
    }
    let moves = steps.len() > kills(now).count();
    if now.status.effective.is_none() {
        steps.push("the loop has not looked at it yet".to_owned());
    } else if steps.is_empty() {
        steps.push("nothing: it is where it is declared to be".to_owned());
    }
    PlannedThrottle {
        throttle: now.name.clone(),
        change: if moves {
            ChangeKind::Change
        } else {
            ChangeKind::None
        },
        in_force_percent: in_force(now),
        declared_percent: Some(now.spec.throttle_percent),
        next_percent: Some(now.spec.throttle_percent),
        steps,
    }
}

/// What a service would do if this were its manifest; without a service what the file declares.
pub(super) fn from_file(
    file: &[FromFile],
    service: Option<&[ThrottleSummary]>,
) -> Vec<PlannedThrottle> {
    let mut all: Vec<_> = file
        .iter()
        .map(|one| match service {
            None => create(one, ChangeKind::Unknown),
            Some(service) => match service.iter().find(|now| now.name == one.name.as_str()) {
                None => create(one, ChangeKind::Create),
                Some(now) => compare(one, now),
            },
        })
        .collect();
    let absent = service
        .unwrap_or_default()
        .iter()
        .filter(|now| !file.iter().any(|one| one.name.as_str() == now.name));
    all.extend(absent.map(|now| PlannedThrottle {
        throttle: now.name.clone(),
        change: ChangeKind::None,
        in_force_percent: in_force(now),
        declared_percent: Some(now.spec.throttle_percent),
        next_percent: Some(now.spec.throttle_percent),
        steps: vec!["is not in the file: it keeps the state it has".to_owned()],
    }));
    all
}

fn create(one: &FromFile, change: ChangeKind) -> PlannedThrottle {
    let percent = one.level.percent_ceil();
    let mut steps = vec![format!("starts at {percent} % refused")];
    steps.extend(
        one.spec
            .targets
            .iter()
            .map(|target| format!("target {}", described(target))),
    );
    if one.spec.mode == Mode::Observe {
        steps.push(
            "mode observe: differences are only reported; a kill closes all the same".to_owned(),
        );
    }
    steps.extend(killed(one));
    let throttle = one.name.to_string();
    PlannedThrottle {
        throttle,
        change,
        in_force_percent: None,
        declared_percent: None,
        next_percent: Some(percent),
        steps,
    }
}

fn compare(one: &FromFile, now: &ThrottleSummary) -> PlannedThrottle {
    let (before, after) = (&now.spec, spec(one.level, &one.spec));
    let percent = after.throttle_percent;
    let mut steps = Vec::new();
    if before.throttle_percent != percent {
        steps.push(format!(
            "declared {} % → {percent} %",
            before.throttle_percent
        ));
    }
    // Targets are told apart by what they act on, not by their place.
    let rest = |of: &EchoThrottleSpec| EchoThrottleSpec {
        throttle_percent: 0,
        targets: Vec::new(),
        ..of.clone()
    };
    steps.extend(differences("", &rest(before), &rest(&after)));
    steps.extend(targets(before, one));

    let by_file = |hold: &&HoldStatus| hold.kind == "Manifest";
    let file_holds = kills(now).any(|hold| by_file(&hold));
    if one.kill.is_some() && !file_holds {
        steps.extend(killed(one));
    }
    if one.kill.is_none() {
        steps.extend(
            kills(now)
                .filter(by_file)
                .map(|hold| format!("the file's kill ends ({})", hold.reason)),
        );
    }
    let change = if steps.is_empty() {
        ChangeKind::None
    } else {
        ChangeKind::Change
    };
    let stay: Vec<_> = kills(now)
        .filter(|hold| !by_file(hold) || one.kill.is_some())
        .collect();
    steps.extend(stay.iter().map(|hold| stays(hold)));
    if let (true, Some(in_force)) = (stay.is_empty() && one.kill.is_none(), in_force(now)) {
        let opens = in_force > f64::from(percent);
        match one.spec.signals.source.as_ref().filter(|_| opens) {
            Some(source) => steps.push(format!(
                "opens to 90 %, and below that as {} reports",
                shown(source)
            )),
            None => steps.extend(way(
                in_force,
                percent,
                Some(one.spec.ramp_percent_per_second),
            )),
        }
    }
    if steps.is_empty() {
        steps.push("is declared like this already".to_owned());
    }
    PlannedThrottle {
        throttle: now.name.clone(),
        change,
        in_force_percent: in_force(now),
        declared_percent: Some(before.throttle_percent),
        next_percent: Some(percent),
        steps,
    }
}

/// Targets that come, change and go.
fn targets(before: &EchoThrottleSpec, one: &FromFile) -> Vec<String> {
    let (before, after) = (before.domain_targets(), &one.spec.targets);
    let known = |id: &TargetId| before.iter().find(|known| known.id() == *id);
    let mut steps = Vec::new();
    for next in after {
        let id = next.id();
        match known(&id) {
            None => steps.push(format!("target added: {}", described(next))),
            Some(known) => steps.extend(differences(
                "",
                &SpecTarget::from(known),
                &SpecTarget::from(next),
            )),
        }
    }
    let gone = before
        .iter()
        .filter(|known| !after.iter().any(|next| next.id() == known.id()));
    steps.extend(gone.map(|known| format!("target removed: {}", known.id())));
    steps
}

/// What keeps a level from opening though less is declared.
fn held(now: &ThrottleSummary, asked: i32) -> Option<String> {
    let is = |kind: &str| {
        now.status
            .conditions
            .iter()
            .find(|one| one.kind == kind && one.status == "True")
    };
    let effective = now
        .status
        .effective
        .as_ref()
        .filter(|effective| effective.throttle_percent > asked)?;
    if let Some(stale) = is("SignalsStale") {
        return Some(format!(
            "stays at {} %: {}",
            effective.throttle_percent, stale.message
        ));
    }
    is("Shedding").map(|_| {
        format!(
            "stays near {} % while {} are measured",
            effective.throttle_percent, effective.reason
        )
    })
}

/// How the level in force gets to where it is asked to be. Percent are rounded up, so less than one
/// is no way.
fn way(in_force: f64, asked: i32, ramp: Option<f64>) -> Option<String> {
    let asked_exactly = f64::from(asked);
    if in_force <= asked_exactly - 1.0 {
        return Some(format!("closes from {in_force} % to {asked} % at once"));
    }
    if in_force <= asked_exactly {
        return None;
    }
    let plain = ramp.map(|ramp| {
        format!(
            "; with nothing measured at {ramp} %/s, in {} s",
            ((in_force - asked_exactly) / ramp).ceil()
        )
    });
    Some(format!(
        "opens from {in_force} % towards {asked} %, as fast as what is measured allows{}",
        plain.unwrap_or_default()
    ))
}

fn killed(one: &FromFile) -> Option<String> {
    one.kill.as_ref().map(|words| {
        format!(
            "KILLED at once by {}: {}",
            shown(&words.operator),
            shown(&words.reason)
        )
    })
}

fn stays(hold: &HoldStatus) -> String {
    format!("stays killed by {}: {}", holder(hold), hold.reason)
}

fn kills(now: &ThrottleSummary) -> impl Iterator<Item = &HoldStatus> {
    now.status
        .holds
        .iter()
        .filter(|hold| hold.throttle_percent.is_none())
}

fn in_force(now: &ThrottleSummary) -> Option<f64> {
    now.status
        .effective
        .as_ref()
        .map(|effective| f64::from(effective.level_millionths) / 1e4)
}

fn described(target: &TargetSpec) -> String {
    let TargetSpec::Gate(gate) = target else {
        return shown(target.id().as_str()).into_owned();
    };
    let key = gate
        .key_header
        .as_ref()
        .map(|header| format!(", callers told apart by {header}"))
        .unwrap_or_default();
    let allowed = match gate.allow.len() {
        0 => String::new(),
        rules => format!(", {rules} allow rule(s)"),
    };
    format!("{}{key}{allowed}", shown(target.id().as_str()))
}
