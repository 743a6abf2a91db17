//! What a plan makes of a workload: what is asked, noted, acknowledged and forgotten, and when
//! there is nothing to do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use echo_phoenix::decide::check::{Permissions, check};
use echo_phoenix::decide::facts::{Facts, KnownDrifts};
use echo_phoenix::decide::plan::{Planned, plan};
use echo_phoenix::decide::step::NextLevel;
use echo_phoenix::decide::targets::wanted_replicas;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::drift::{Drift, DriftAction, Side, Who};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::moment::Moment;
use echo_phoenix::domain::plan::{Plan, Step};
use echo_phoenix::domain::target::{
    Action, GateReadBack, GateSpec, ReadBack, ScaleMemory, ScaleReadBack, ScaleSpec, TargetKind,
    TargetMemory, TargetSpec,
};
use echo_phoenix::domain::throttle::{Declared, Mode, ThrottleName};
use jiff::Timestamp;

/// When everything is found.
const MOMENT: Moment = Moment {
    wall: Timestamp::UNIX_EPOCH,
    elapsed: Duration::ZERO,
};

const ID: &str = "apps/v1/Deployment/w";

fn spec(proportional: bool) -> ScaleSpec {
    ScaleSpec {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "w".to_owned(),
        proportional,
        min_replicas: 1,
    }
}

/// One workload as it was found, and what is known of it.
#[derive(Clone, Copy)]
struct Found {
    proportional: bool,
    killed: bool,
    asked: i32,
    replicas: i64,
    noted: Option<i64>,
    remembered: Option<i64>,
    acknowledged: Option<i64>,
    mode: Mode,
}

/// Three replicas that nobody ever touched, under a throttle at full operation.
const QUIET: Found = Found {
    proportional: false,
    killed: false,
    asked: 0,
    replicas: 3,
    noted: None,
    remembered: None,
    acknowledged: None,
    mode: Mode::Enforce,
};
/// Stopped by a kill, all of it done.
const STOPPED: Found = Found {
    killed: true,
    asked: 100,
    replicas: 0,
    noted: Some(3),
    remembered: Some(3),
    acknowledged: Some(0),
    ..QUIET
};
/// At half, all of it done: five of ten.
const HALVED: Found = Found {
    proportional: true,
    asked: 50,
    replicas: 5,
    noted: Some(10),
    remembered: Some(10),
    acknowledged: Some(5),
    ..QUIET
};

fn planned(found: Found) -> Planned {
    let level = Level::from_percent(found.asked).unwrap();
    let mut throttle = Declared::bare(ThrottleName::default_throttle(), level);
    throttle.mode = found.mode;
    let memory = ScaleMemory {
        remembered: found.remembered,
        acknowledged: found.acknowledged,
    };
    throttle
        .memory
        .insert(ID.into(), TargetMemory::Scale(memory));
    let read = ScaleReadBack {
        replicas: found.replicas,
        remembered: found.noted,
        resource_version: "7".to_owned(),
        who: Some(Who {
            manager: "kubectl".to_owned(),
            ..Who::default()
        }),
    };
    plan(
        &Facts {
            throttle: &throttle,
            asked: level,
            killed: found.killed,
            current: level,
            next: NextLevel {
                level,
                reason: Reason::Target,
                shedding: false,
                credit: None,
                stale: false,
            },
            memory: &throttle.memory,
            reads: &[(
                TargetSpec::Scale(spec(found.proportional)),
                Ok(ReadBack::Scale(read)),
            )],
            drifts: KnownDrifts {
                open: &BTreeMap::new(),
                damping: &BTreeMap::new(),
            },
            patience: &BTreeMap::new(),
            under_way: &BTreeSet::new(),
            now: MOMENT,
        },
        String::new,
    )
}

/// The scaling of a plan: from, to, and the note that is left.
fn scaling(planned: &Planned) -> Option<(i64, i64, Option<i64>)> {
    planned
        .plan
        .steps
        .iter()
        .find_map(|step| match &step.action {
            Action::Scale {
                from, to, remember, ..
            } => Some((*from, *to, *remember)),
            _ => None,
        })
}

/// Scaling, remembered, acknowledged, agrees.
type Came = (
    Option<(i64, i64, Option<i64>)>,
    Option<i64>,
    Option<i64>,
    bool,
);

const STATES: &[(&str, Found, Came)] = &[
    ("never touched", QUIET, (None, None, None, true)),
    (
        "to be stopped",
        Found {
            killed: true,
            asked: 100,
            ..QUIET
        },
        (Some((3, 0, Some(3))), Some(3), Some(0), false),
    ),
    ("stopped", STOPPED, (None, Some(3), Some(0), true)),
    (
        "stopped by somebody else's hand first",
        Found {
            killed: true,
            asked: 100,
            replicas: 0,
            ..QUIET
        },
        (Some((0, 0, Some(0))), Some(0), Some(0), true),
    ),
    (
        "stopped, its note lost",
        Found {
            noted: None,
            ..STOPPED
        },
        (Some((0, 0, Some(3))), Some(3), Some(0), true),
    ),
    (
        "to be restored",
        Found {
            killed: false,
            asked: 0,
            ..STOPPED
        },
        (Some((0, 3, Some(3))), Some(3), Some(3), false),
    ),
    (
        "to be restored under a level that is not its own to follow",
        Found {
            killed: false,
            asked: 50,
            ..STOPPED
        },
        (Some((0, 3, Some(3))), Some(3), Some(3), false),
    ),
    (
        "restored",
        Found {
            killed: false,
            asked: 50,
            replicas: 3,
            ..STOPPED
        },
        (Some((3, 3, None)), None, None, true),
    ),
    (
        "restored, the note gone too",
        Found {
            noted: None,
            remembered: Some(3),
            acknowledged: Some(3),
            ..QUIET
        },
        (None, None, None, true),
    ),
    (
        "to be halved",
        Found {
            replicas: 10,
            noted: None,
            remembered: None,
            acknowledged: None,
            ..HALVED
        },
        (Some((10, 5, Some(10))), Some(10), Some(5), false),
    ),
    ("halved", HALVED, (None, Some(10), Some(5), true)),
    (
        "whole again",
        Found {
            asked: 0,
            replicas: 10,
            ..HALVED
        },
        (Some((10, 10, None)), None, None, true),
    ),
    (
        "follows its level and was never touched",
        Found {
            proportional: true,
            ..QUIET
        },
        (None, None, None, true),
    ),
    (
        "no opinion any more on what was asked once",
        Found {
            acknowledged: Some(0),
            ..QUIET
        },
        (None, None, None, true),
    ),
];

#[test]
fn every_state_of_a_workload_has_its_step_its_memory_and_its_end() {
    for &(what, found, expected) in STATES {
        let planned = planned(found);
        let memory = planned.memory.get(&ID.into()).map(TargetMemory::stored);
        let memory = memory.unwrap_or_default();
        let came = (
            scaling(&planned),
            memory.remembered,
            memory.acknowledged,
            planned.agreeing.contains(&ID.into()),
        );
        assert_eq!(came, expected, "{what}");
    }
}

/// The one drift of a plan, corrected by a step or only reported.
fn drift(planned: &Planned) -> Option<Drift> {
    let corrected = planned
        .plan
        .steps
        .iter()
        .find_map(|step| step.corrects.clone());
    corrected.or_else(|| planned.plan.reported.first().cloned())
}

/// Desired, actual, which way, what was done.
type Differs = (&'static str, &'static str, Side, DriftAction);

const DRIFTS: &[(&str, Found, Differs)] = &[
    (
        "a hand started what was killed",
        Found {
            replicas: 2,
            ..STOPPED
        },
        ("0", "2", Side::Riskier, DriftAction::Corrected),
    ),
    (
        "a hand took more than its share",
        Found {
            replicas: 2,
            ..HALVED
        },
        ("5", "2", Side::Safer, DriftAction::Corrected),
    ),
    (
        "while observing",
        Found {
            replicas: 2,
            mode: Mode::Observe,
            ..STOPPED
        },
        ("0", "2", Side::Riskier, DriftAction::Reported),
    ),
    (
        "while observing nothing has to have been asked before",
        Found {
            replicas: 9,
            acknowledged: None,
            mode: Mode::Observe,
            ..HALVED
        },
        ("5", "9", Side::Riskier, DriftAction::Reported),
    ),
];

const NO_DRIFTS: &[(&str, Found)] = &[
    (
        "work in progress",
        Found {
            replicas: 2,
            acknowledged: None,
            ..STOPPED
        },
    ),
    (
        "another wish than before",
        Found {
            replicas: 3,
            acknowledged: Some(3),
            ..STOPPED
        },
    ),
    ("nothing differs", STOPPED),
    (
        "nothing differs while observing",
        Found {
            mode: Mode::Observe,
            ..STOPPED
        },
    ),
];

#[test]
fn a_drift_says_what_differs_which_way_and_what_was_done() {
    for &(what, found, (desired, actual, side, action)) in DRIFTS {
        let drift = drift(&planned(found)).unwrap();
        assert_eq!(
            (drift.desired.as_str(), drift.actual.as_str(), drift.side),
            (desired, actual, side),
            "{what}"
        );
        assert_eq!(
            (drift.action, drift.count, drift.target.as_str()),
            (action, 1, ID),
            "{what}"
        );
        assert_eq!(
            (drift.field.as_str(), drift.who.unwrap().manager.as_str()),
            ("spec.replicas", "kubectl"),
            "{what}"
        );
    }
    for &(what, found) in NO_DRIFTS {
        assert_eq!(drift(&planned(found)), None, "{what}");
    }
}

#[test]
fn a_workload_that_follows_the_level_has_no_opinion_at_full_operation() {
    let wanted =
        |asked, remembered, now| wanted_replicas(&spec(true), asked, false, remembered, now);
    assert_eq!(
        wanted(Level::OPEN, None, 5),
        None,
        "what nobody took is nobody's to give back"
    );
    assert_eq!(wanted(Level::OPEN, Some(7), 5), Some(7));
    assert_eq!(
        wanted(Level::from_percent(50).unwrap(), None, 5),
        Some(3),
        "what it has now is its whole"
    );
}

#[test]
fn a_level_that_stays_is_said_again_and_needs_no_proof() {
    let quiet = planned(QUIET);
    assert_eq!(
        (quiet.plan.steps.len(), quiet.plan.steps[0].side),
        (1, Side::Safer)
    );
    assert!(quiet.plan.steps[0].action.kind() != TargetKind::Scale);
    let nothing = Permissions {
        killed: true,
        leads: false,
        recorded: false,
    };
    assert_eq!(check(&quiet.plan, Level::OPEN, nothing), []);
    let stays = planned(Found {
        noted: None,
        ..STOPPED
    });
    assert_eq!(
        stays.plan.steps.len(),
        2,
        "the gate is told, and the note put right"
    );
    assert!(stays.plan.steps[1].action.kind() == TargetKind::Scale);
    let leads = Permissions {
        leads: true,
        ..nothing
    };
    assert_eq!(
        check(&stays.plan, Level::STOP, leads),
        [],
        "a number that stays opens nothing"
    );
}

#[test]
fn replicas_may_be_none_and_never_fewer() {
    let to = |to| {
        let action = Action::Scale {
            target: spec(false),
            from: 3,
            to,
            remember: None,
            resource_version: "7".to_owned(),
        };
        let steps = vec![Step {
            action,
            side: Side::Safer,
            corrects: None,
        }];
        let plan = Plan {
            throttle: ThrottleName::default_throttle(),
            steps,
            reported: Vec::new(),
        };
        check(
            &plan,
            Level::STOP,
            Permissions {
                killed: true,
                leads: true,
                recorded: true,
            },
        )
        .len()
    };
    assert_eq!([to(3), to(1), to(0), to(-1)], [0, 0, 0, 1]);
}

#[test]
fn gates_agree_when_all_of_them_obey_and_none_is_off() {
    for (gates, obeying, off, agrees) in [
        (2, 2, false, true),
        (2, 1, false, false),
        (2, 2, true, false),
        (2, 1, true, false),
        (0, 0, false, true),
    ] {
        let read = GateReadBack {
            gates,
            obeying,
            off,
            ..GateReadBack::default()
        };
        let throttle = Declared::bare(ThrottleName::default_throttle(), Level::STOP);
        let next = NextLevel {
            level: Level::STOP,
            reason: Reason::Target,
            shedding: false,
            credit: None,
            stale: false,
        };
        let planned = plan(
            &Facts {
                throttle: &throttle,
                asked: Level::STOP,
                killed: false,
                current: Level::STOP,
                next,
                memory: &throttle.memory,
                reads: &[(
                    TargetSpec::Gate(GateSpec::default()),
                    Ok(ReadBack::Gate(read)),
                )],
                drifts: KnownDrifts {
                    open: &BTreeMap::new(),
                    damping: &BTreeMap::new(),
                },
                patience: &BTreeMap::new(),
                under_way: &BTreeSet::new(),
                now: MOMENT,
            },
            String::new,
        );
        assert_eq!(
            !planned.agreeing.is_empty(),
            agrees,
            "{obeying} of {gates} obey, off: {off}"
        );
    }
}
