//! What would change of each throttle, a pure function of what the service answered and what a file declares.
//!
//! What the service does not tell is left out, never guessed.

use serde::Serialize;

use crate::client::Throttle;
use crate::domain::throttle::{FromFile, Mode, TargetSpec};
use crate::source::crd_status::HoldStatus;

/// What becomes of a throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// It is there afterwards, and was not.
    Create,
    /// Something of it moves.
    Change,
    /// It stays as it is.
    None,
    /// The service does not tell enough to say: a hold covers what is declared.
    Unknown,
}

/// One throttle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Planned {
    pub(super) throttle: String,
    pub(super) change: Kind,
    /// Share refused now, percent; none where nobody knows.
    pub(super) in_force_percent: Option<f64>,
    /// Share declared now, percent; none where something else covers it.
    pub(super) declared_percent: Option<i32>,
    /// Share it would be declared at.
    pub(super) next_percent: Option<i32>,
    /// What would happen, in words, in order.
    pub(super) steps: Vec<String>,
}

/// What the service does next by itself.
pub(super) fn from_service(throttles: &[Throttle]) -> Vec<Planned> {
    throttles.iter().map(next).collect()
}

fn next(now: &Throttle) -> Planned {
    let mut steps = Vec::new();
    let asked = now.status.declared.as_ref().map(|declared| declared.throttle_percent);
    if kills(now).next().is_some() {
        steps.extend(kills(now).map(stays));
    } else if let (Some(asked), Some(in_force)) = (asked, in_force(now)) {
        steps.extend(way(in_force, asked, None));
    }
    for target in &now.targets {
        match (&target.error, target.agrees) {
            (Some(error), _) => steps.push(format!("{} is tried again: {error}", target.target)),
            (None, Some(false)) if now.mode == "observe" => {
                steps.push(format!("{} differs; mode observe only reports it", target.target));
            }
            (None, Some(false)) => steps.push(format!("{} is brought in line", target.target)),
            (None, _) => {}
        }
    }
    let moves = steps.len() > kills(now).count();
    if now.status.effective.is_none() {
        steps.push("the loop has not looked at it yet".to_owned());
    } else if steps.is_empty() {
        steps.push("nothing: it is where it is declared to be".to_owned());
    }
    Planned {
        throttle: now.name.clone(),
        change: if moves { Kind::Change } else { Kind::None },
        in_force_percent: in_force(now),
        declared_percent: declared(now),
        next_percent: declared(now),
        steps,
    }
}

/// What a service would do if this were its manifest; without a service what the file declares.
pub(super) fn from_file(file: &[FromFile], service: Option<&[Throttle]>) -> Vec<Planned> {
    let mut all: Vec<_> = file
        .iter()
        .map(|one| match service {
            None => create(one, Kind::None),
            Some(service) => match service.iter().find(|now| now.name == one.name.as_str()) {
                None => create(one, Kind::Create),
                Some(now) => compare(one, now),
            },
        })
        .collect();
    let absent = service.unwrap_or_default().iter().filter(|now| !file.iter().any(|one| one.name.as_str() == now.name));
    all.extend(absent.map(|now| Planned {
        throttle: now.name.clone(),
        change: Kind::None,
        in_force_percent: in_force(now),
        declared_percent: declared(now),
        next_percent: declared(now),
        steps: vec!["is not in the file: it keeps the state it has".to_owned()],
    }));
    all
}

fn create(one: &FromFile, change: Kind) -> Planned {
    let percent = one.level.percent_ceil();
    let mut steps = vec![format!("starts at {percent} % refused")];
    steps.extend(one.spec.targets.iter().map(|target| format!("target {}", described(target))));
    if one.spec.mode == Mode::Observe {
        steps.push("mode observe: differences are only reported; a kill closes all the same".to_owned());
    }
    steps.extend(killed(one));
    let throttle = one.name.to_string();
    Planned { throttle, change, in_force_percent: None, declared_percent: None, next_percent: Some(percent), steps }
}

fn compare(one: &FromFile, now: &Throttle) -> Planned {
    let percent = one.level.percent_ceil();
    let mut steps = Vec::new();
    match declared(now) {
        Some(before) if before == percent => {}
        Some(before) => steps.push(format!("declared {before} % → {percent} %")),
        None => {}
    }
    let mode = if one.spec.mode == Mode::Observe { "observe" } else { "enforce" };
    if now.mode != mode {
        steps.push(format!("mode {} → {mode}", now.mode));
    }
    let (before, after) = (&now.targets, &one.spec.targets);
    let added = after.iter().filter(|target| !before.iter().any(|known| known.target == target.id()));
    steps.extend(added.map(|target| format!("target added: {}", described(target))));
    let removed = before.iter().filter(|known| !after.iter().any(|target| target.id() == known.target));
    steps.extend(removed.map(|known| format!("target removed: {}", known.target)));

    let by_file = |hold: &&HoldStatus| hold.kind == "Manifest";
    let file_holds = kills(now).any(|hold| by_file(&hold));
    if one.kill.is_some() && !file_holds {
        steps.extend(killed(one));
    }
    if one.kill.is_none() {
        steps.extend(kills(now).filter(by_file).map(|hold| format!("the file's kill ends ({})", hold.reason)));
    }
    let change = match (steps.is_empty(), declared(now)) {
        (false, _) => Kind::Change,
        (true, Some(_)) => Kind::None,
        (true, None) => Kind::Unknown,
    };
    if declared(now).is_none() {
        steps.push(format!("declares {percent} %; what is declared now cannot be told while something else holds it"));
    }
    let stay: Vec<_> = kills(now).filter(|hold| !by_file(hold) || one.kill.is_some()).collect();
    steps.extend(stay.iter().map(|hold| stays(hold)));
    if let (true, Some(in_force)) = (stay.is_empty() && one.kill.is_none(), in_force(now)) {
        steps.extend(way(in_force, percent, Some(one.spec.ramp_percent_per_second)));
    }
    if steps.is_empty() {
        steps.push("is declared like this already".to_owned());
    }
    Planned {
        throttle: now.name.clone(),
        change,
        in_force_percent: in_force(now),
        declared_percent: declared(now),
        next_percent: Some(percent),
        steps,
    }
}

/// How the level in force gets to where it is asked to be. Percent are rounded up, so less than one is no way.
fn way(in_force: f64, asked: i32, ramp: Option<f64>) -> Option<String> {
    let asked_exactly = f64::from(asked);
    if in_force <= asked_exactly - 1.0 {
        return Some(format!("closes from {in_force} % to {asked} % at once"));
    }
    if in_force <= asked_exactly {
        return None;
    }
    let plain = ramp.map(|ramp| {
        format!("; with nothing measured at {ramp} %/s, in {} s", ((in_force - asked_exactly) / ramp).ceil())
    });
    Some(format!(
        "opens from {in_force} % towards {asked} %, as fast as what is measured allows{}",
        plain.unwrap_or_default()
    ))
}

fn killed(one: &FromFile) -> Option<String> {
    one.kill.as_ref().map(|words| format!("KILLED at once by {}: {}", words.operator, words.reason))
}

fn stays(hold: &HoldStatus) -> String {
    format!("stays killed by {} ({}): {}", hold.operator, hold.kind, hold.reason)
}

fn kills(now: &Throttle) -> impl Iterator<Item = &HoldStatus> {
    now.status.holds.iter().filter(|hold| hold.throttle_percent.is_none())
}

fn in_force(now: &Throttle) -> Option<f64> {
    now.status.effective.as_ref().map(|effective| f64::from(effective.level_millionths) / 1e4)
}

/// What the declaration alone asks for, as far as the service tells it: what holds, and mode observe, cover it.
fn declared(now: &Throttle) -> Option<i32> {
    let declared = now.status.declared.as_ref()?;
    (declared.source == "spec" && now.mode == "enforce").then_some(declared.throttle_percent)
}

fn described(target: &TargetSpec) -> String {
    let TargetSpec::Gate(gate) = target else { return target.id() };
    let key = gate.key_header.as_ref().map(|header| format!(", callers told apart by {header}")).unwrap_or_default();
    let allowed = match gate.allow.len() {
        0 => String::new(),
        rules => format!(", {rules} allow rule(s)"),
    };
    format!("{}{key}{allowed}", target.id())
}
