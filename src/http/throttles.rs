//! `GET /v1/throttles`: what every throttle is declared to be, and what it was found to be.
//!
//! The loop tells the [`StatusBoard`] at every pass; a request only reads what stands there.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use parking_lot::Mutex;

use crate::decide::precedence::most_restrictive;
use crate::domain::report::PassReport;
use crate::domain::target::{TargetId, TargetSpec};
use crate::domain::throttle::{Declared, Mode, ThrottleName};
use crate::ports::Report;
use crate::source::crd_status::EchoThrottleStatus;
use crate::source::spec_rows::spec;
use crate::source::status_rows::{self, HoldFacts, status};

use crate::telemetry::LoopFindings;

use super::AppCore;
use super::answer::ProblemResponse;
use super::refusal::table;
use super::wire::{Throttle, ThrottleTarget, Throttles};

/// The last pass of each throttle.
#[derive(Default)]
pub struct StatusBoard(Mutex<BTreeMap<ThrottleName, LastPass>>);

#[derive(Clone, Default)]
struct LastPass {
    status: EchoThrottleStatus,
    targets: Vec<(TargetId, bool, Option<String>)>,
    drifts: usize,
}

impl StatusBoard {
    /// What the last pass found of a throttle; none before the first.
    pub(super) fn found(&self, name: &ThrottleName) -> Option<LoopFindings> {
        let posted = self.posted(name)?;
        let enforced = posted
            .status
            .conditions
            .iter()
            .any(|one| one.kind == "Enforced" && one.status == "True");
        let gates = posted.status.observed.and_then(|observed| observed.gates);
        let refused_percent = gates.and_then(|gates| gates.refused_percent);
        Some(LoopFindings {
            enforced,
            drifts: posted.drifts,
            refused_percent,
        })
    }

    /// That something is wrong with targets; nothing if all could be read and told. Not what: a
    /// target is named by its address, and whoever asks needs no key.
    pub(super) fn trouble(&self) -> Option<String> {
        let all = self.0.lock();
        let wrong = all.iter().flat_map(|(name, posted)| {
            let wrong = posted
                .targets
                .iter()
                .filter(|(_, _, error)| error.is_some());
            wrong.map(move |_| {
                format!("{name}: a target cannot be read or told, see GET /v1/throttles/{name}")
            })
        });
        let wrong: Vec<_> = wrong.collect();
        let more = if wrong.len() > 1 {
            format!(" and {} more", wrong.len() - 1)
        } else {
            String::new()
        };
        wrong.first().map(|first| format!("{first}{more}"))
    }

    fn posted(&self, name: &ThrottleName) -> Option<LastPass> {
        self.0.lock().get(name).cloned()
    }
}

#[async_trait]
impl Report for StatusBoard {
    async fn report(&self, outcome: &PassReport) {
        let throttle = &outcome.throttle;
        // Holds of REST and manifest have no override that could go astray, and nobody opens to an
        // ended id here.
        let told = told(throttle);
        let targets = outcome.observed.iter().map(|one| {
            let error = one
                .unread
                .as_ref()
                .or(one.refusal.as_ref().filter(|_| !one.agrees));
            (one.target.clone(), one.agrees, error.cloned())
        });
        let mut all = self.0.lock();
        let posted = all.entry(throttle.name.clone()).or_default();
        posted.status = status(outcome, &told, &posted.status);
        posted.targets = targets.collect();
        posted.drifts = outcome.drifted.len();
    }
}

/// `GET /v1/throttles`
pub(super) async fn list(State(core): State<Arc<AppCore>>) -> Json<Throttles> {
    let mut items: Vec<_> = core
        .desired
        .declared()
        .iter()
        .map(|declared| view(&core, declared))
        .collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Json(Throttles { items })
}

/// `GET /v1/throttles/{name}`
pub(super) async fn one(
    State(core): State<Arc<AppCore>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Throttle>, ProblemResponse> {
    let Path(name) = name.map_err(|_| ProblemResponse::of(&table::NO_NAME))?;
    let name = ThrottleName::try_from(name)
        .map_err(|error| ProblemResponse::worded(&table::BAD_NAME, error.to_string()))?;
    let found = core.desired.find(&name);
    let declared =
        found.ok_or_else(|| ProblemResponse::filled(&table::UNKNOWN, &[("throttle", &name)]))?;
    Ok(Json(view(&core, &declared)))
}

fn told(throttle: &Declared) -> HoldFacts {
    HoldFacts {
        holds: throttle
            .holds
            .iter()
            .map(|hold| (hold.clone(), false))
            .collect(),
        ended: Vec::new(),
    }
}

/// No last pass opens what the gate of this process has closed since: what a kill left behind that
/// began and ended between two passes is told before the next one has been there.
fn put_gate(core: &AppCore, declared: &Declared, status: &mut EchoThrottleStatus) {
    let has_gate = |spec: &TargetSpec| matches!(spec, TargetSpec::Gate(_));
    let here = declared
        .targets
        .iter()
        .any(has_gate)
        .then(|| core.gate.standing(&declared.name))
        .flatten();
    if let (Some(here), Some(effective)) = (here, &mut status.effective)
        && here.level.millionths() > effective.level_millionths
    {
        effective.level_millionths = here.level.millionths();
        effective.throttle_percent = here.level.percent_ceil();
    }
}

/// What is declared and held is told as it is now, so that whoever commanded it reads it back at
/// once, and after a restart before the first pass; what is in force, no more open than the gate is
/// now. What else was found is the last pass's.
fn view(core: &AppCore, declared: &Declared) -> Throttle {
    let mut posted = core.board.posted(&declared.name).unwrap_or_default();
    let want = most_restrictive(declared.level, Mode::Enforce, &declared.holds);
    posted.status.declared = Some(status_rows::declared(want.level, &want.source));
    posted.status.holds = status_rows::holds(&told(declared));
    status_rows::put_kills(&mut posted.status, &declared.holds, core.clock.now());
    put_gate(core, declared, &mut posted.status);
    let targets = declared.targets.iter().map(|spec| {
        let target = spec.id();
        let found = posted.targets.iter().find(|(id, ..)| *id == target);
        ThrottleTarget {
            target: target.to_string(),
            agrees: found.map(|one| one.1),
            error: found.and_then(|one| one.2.clone()),
        }
    });
    Throttle {
        name: declared.name.to_string(),
        mode: match declared.mode {
            Mode::Enforce => "enforce",
            Mode::Observe => "observe",
        },
        generation: declared.generation,
        spec: spec(declared.level, &declared.spec()),
        targets: targets.collect(),
        status: posted.status,
    }
}
