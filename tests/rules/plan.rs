//! Plans: what is remembered, what is restored, in which order, and what the checker refuses
//! whatever made the plan.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use echo_phoenix::decide::check::{Permissions, Violation, check};
use echo_phoenix::decide::facts::{Facts, KnownDrifts};
use echo_phoenix::decide::plan::{Planned, plan};
use echo_phoenix::decide::step::NextLevel;
use echo_phoenix::decide::targets::wanted_replicas;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::drift::Side;
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::moment::Moment;
use echo_phoenix::domain::plan::{Plan, Step};
use echo_phoenix::domain::target::{
    Action, GateReadBack, GateSpec, ReadBack, ScaleMemory, ScaleReadBack, ScaleSpec, TargetId,
    TargetMemory, TargetSpec,
};
use echo_phoenix::domain::throttle::{Declared, Mode, ThrottleName};
use jiff::Timestamp;
use proptest::prelude::*;

/// When everything is found.
const MOMENT: Moment = Moment {
    wall: Timestamp::UNIX_EPOCH,
    elapsed: Duration::ZERO,
};

fn workload(proportional: bool) -> ScaleSpec {
    ScaleSpec {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "w".to_owned(),
        proportional,
        min_replicas: 1,
    }
}

const ID: &str = "apps/v1/Deployment/w";

/// What is known of the workload.
fn known(remembered: Option<i64>, acknowledged: Option<i64>) -> (TargetId, TargetMemory) {
    let memory = ScaleMemory {
        remembered,
        acknowledged,
    };
    (ID.into(), TargetMemory::Scale(memory))
}

struct Case {
    throttle: Declared,
    asked: f64,
    killed: bool,
    current: f64,
    next: f64,
    replicas: i64,
    noted: Option<i64>,
}

impl Default for Case {
    fn default() -> Self {
        let throttle = Declared::bare(ThrottleName::default_throttle(), Level::OPEN);
        Self {
            throttle,
            asked: 0.0,
            killed: false,
            current: 0.0,
            next: 0.0,
            replicas: 3,
            noted: None,
        }
    }
}

impl Case {
    fn killed() -> Self {
        Self {
            asked: 1.0,
            killed: true,
            current: 1.0,
            next: 1.0,
            ..Self::default()
        }
    }

    fn plan(&self) -> Planned {
        let level = |u: f64| Level::new(u).unwrap();
        let gate = GateReadBack {
            gates: 1,
            obeying: 1,
            ..GateReadBack::default()
        };
        let scale = ScaleReadBack {
            replicas: self.replicas,
            remembered: self.noted,
            resource_version: "1".to_owned(),
            who: None,
        };
        let reads = [
            (
                TargetSpec::Gate(GateSpec::default()),
                Ok(ReadBack::Gate(gate)),
            ),
            (
                TargetSpec::Scale(workload(false)),
                Ok(ReadBack::Scale(scale)),
            ),
        ];
        plan(
            &Facts {
                throttle: &self.throttle,
                asked: level(self.asked),
                killed: self.killed,
                current: level(self.current),
                next: NextLevel {
                    level: level(self.next),
                    reason: Reason::Target,
                    shedding: false,
                    credit: None,
                    stale: false,
                },
                reads: &reads,
                memory: &self.throttle.memory,
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
}

#[test]
fn a_throttle_that_only_observes_reports_the_level_it_would_have() {
    let observes = |declared: f64, current: f64, killed: bool, mode: Mode| {
        let bare = Declared::bare(
            ThrottleName::default_throttle(),
            Level::new(declared).unwrap(),
        );
        let throttle = Declared { mode, ..bare };
        let case = Case {
            throttle,
            current,
            next: current,
            killed,
            ..Case::default()
        };
        let reported = case.plan().plan.reported;
        let of_gate = reported
            .iter()
            .filter(|drift| drift.target.as_str() == "gate");
        of_gate
            .map(|d| {
                format!(
                    "{} {} not {}, {}, {}",
                    d.field,
                    d.actual,
                    d.desired,
                    d.side.as_str(),
                    d.action.as_str()
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        observes(0.5, 0.0, false, Mode::Observe),
        ["level 0 not 0.5, riskier, reported"]
    );
    assert_eq!(
        observes(0.25, 0.5, false, Mode::Observe),
        ["level 0.5 not 0.25, safer, reported"]
    );
    assert_eq!(
        observes(0.5, 0.5, false, Mode::Observe),
        [""; 0],
        "where it stands anyway"
    );
    assert_eq!(
        observes(0.5, 1.0, true, Mode::Observe),
        [""; 0],
        "a kill is enforced"
    );
    assert_eq!(observes(0.5, 0.0, false, Mode::Enforce), [""; 0]);
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
            Action::SetGate { .. } | Action::Remote { .. } => None,
        })
}

#[test]
fn a_kill_remembers_before_it_stops_and_closes_the_gate_first() {
    let planned = Case {
        current: 0.0,
        ..Case::killed()
    }
    .plan();
    assert_eq!(scaling(&planned), Some((3, 0, Some(3))));
    assert_eq!(planned.memory[&ID.into()].stored().remembered, Some(3));
    assert!(
        matches!(
            planned.plan.steps[0].action,
            Action::SetGate {
                level: Level::STOP,
                ..
            }
        ),
        "gate, then workload"
    );
}

#[test]
fn our_own_record_wins_over_an_edited_note() {
    let mut case = Case {
        replicas: 0,
        noted: Some(99),
        ..Case::killed()
    };
    case.throttle.memory.extend([known(Some(3), Some(0))]);
    assert_eq!(
        scaling(&case.plan()),
        Some((0, 0, Some(3))),
        "the note is put right"
    );
    let restored = Case {
        asked: 0.0,
        killed: false,
        next: 0.0,
        ..case
    };
    assert_eq!(scaling(&restored.plan()), Some((0, 3, Some(3))));
}

#[test]
fn the_gate_waits_until_the_workload_is_read_back() {
    let mut case = Case {
        current: 1.0,
        replicas: 0,
        noted: Some(3),
        ..Case::default()
    };
    case.throttle.memory.extend([known(Some(3), None)]);
    let first = case.plan();
    assert_eq!(
        (scaling(&first), first.effective),
        (Some((0, 3, Some(3))), Level::STOP)
    );
    let second = Case {
        replicas: 3,
        ..case
    }
    .plan();
    assert_eq!(
        (scaling(&second), second.effective),
        (Some((3, 3, None)), Level::OPEN),
        "then it opens and forgets"
    );
    assert!(second.memory.is_empty());
    let last = second.plan.steps.last().unwrap();
    assert!(
        matches!(last.action, Action::SetGate { .. }) && last.side == Side::Riskier,
        "workload, then gate"
    );
}

#[test]
fn a_workload_that_cannot_be_read_keeps_the_gate_shut() {
    let throttle = Declared::bare(ThrottleName::default_throttle(), Level::OPEN);
    let next = NextLevel {
        level: Level::OPEN,
        reason: Reason::None,
        shedding: false,
        credit: None,
        stale: false,
    };
    let reads = [(TargetSpec::Scale(workload(false)), Err("silent".to_owned()))];
    let (asked, current, now) = (Level::OPEN, Level::STOP, MOMENT);
    let planned = plan(
        &Facts {
            throttle: &throttle,
            asked,
            killed: false,
            current,
            next,
            reads: &reads,
            memory: &BTreeMap::new(),
            drifts: KnownDrifts {
                open: &BTreeMap::new(),
                damping: &BTreeMap::new(),
            },
            patience: &BTreeMap::new(),
            under_way: &BTreeSet::new(),
            now,
        },
        String::new,
    );
    assert_eq!(planned.effective, Level::STOP);
}

#[test]
fn a_difference_is_drift_only_if_something_else_had_been_asked() {
    let mut case = Case {
        replicas: 2,
        noted: Some(3),
        ..Case::killed()
    };
    case.throttle.memory.extend([known(Some(3), None)]);
    let corrects = |planned: &Planned| {
        planned
            .plan
            .steps
            .iter()
            .filter_map(|step| step.corrects.clone())
            .count()
    };
    assert_eq!(corrects(&case.plan()), 0, "work in progress");
    case.throttle.memory.extend([known(Some(3), Some(0))]);
    let planned = case.plan();
    assert_eq!(corrects(&planned), 1);
    assert_eq!(
        scaling(&planned),
        Some((2, 0, Some(3))),
        "what a hand made is not remembered"
    );
    case.throttle.mode = Mode::Observe;
    let observed = case.plan();
    assert_eq!(
        (scaling(&observed), observed.plan.reported.len()),
        (None, 1),
        "observing changes nothing"
    );
}

#[test]
fn a_throttle_that_never_acted_has_no_opinion() {
    let planned = Case {
        replicas: 7,
        ..Case::default()
    }
    .plan();
    assert_eq!((scaling(&planned), planned.memory.len()), (None, 0));
    assert!(planned.agreeing.contains(&ID.into()));
}

#[test]
fn a_share_of_replicas_is_counted_in_integers() {
    let percent = |p| Level::from_percent(p).unwrap();
    for (p, remembered, expected) in [
        (0, 10, 10),
        (70, 10, 3),
        (71, 10, 3),
        (99, 10, 1),
        (100, 10, 1),
        (50, 3, 2),
        (50, 0, 0),
    ] {
        let wanted = wanted_replicas(&workload(true), percent(p), false, Some(remembered), 0);
        assert_eq!(wanted, Some(expected), "{p} % of {remembered}");
    }
    assert_eq!(
        wanted_replicas(&workload(true), percent(50), true, Some(10), 0),
        Some(0),
        "a kill is a kill"
    );
    assert_eq!(
        wanted_replicas(&workload(false), percent(50), false, None, 5),
        None,
        "only a kill moves it"
    );
}

fn one_step(action: Action, side: Side) -> Plan {
    let steps = vec![Step {
        action,
        side,
        corrects: None,
    }];
    Plan {
        throttle: ThrottleName::default_throttle(),
        steps,
        reported: Vec::new(),
    }
}

fn gate_to(level: f64) -> Action {
    Action::SetGate {
        level: Level::new(level).unwrap(),
        reason: "target",
        generation: 1,
    }
}

fn scale(from: i64, to: i64) -> Action {
    Action::Scale {
        target: workload(false),
        from,
        to,
        remember: None,
        resource_version: "1".to_owned(),
    }
}

/// All that a plan may need.
const MAY: Permissions = Permissions {
    killed: false,
    leads: true,
    recorded: true,
};
const KILLED: Permissions = Permissions {
    killed: true,
    ..MAY
};
const UNRECORDED: Permissions = Permissions {
    recorded: false,
    ..MAY
};
const FOLLOWS: Permissions = Permissions {
    leads: false,
    ..MAY
};
const NOTHING: Permissions = Permissions {
    killed: true,
    leads: false,
    recorded: false,
};

#[test]
fn the_checker_refuses_what_must_never_be_done() {
    let half = Level::new(0.5).unwrap();
    for (what, action, side, may, expected) in [
        (
            "E3",
            gate_to(0.1),
            Side::Riskier,
            KILLED,
            Violation::OpensWhileKilled(0),
        ),
        (
            "E3 for workloads",
            scale(0, 3),
            Side::Riskier,
            KILLED,
            Violation::OpensWhileKilled(0),
        ),
        (
            "E2",
            gate_to(0.1),
            Side::Riskier,
            UNRECORDED,
            Violation::NotRecorded(0),
        ),
        (
            "leader",
            gate_to(0.1),
            Side::Riskier,
            FOLLOWS,
            Violation::NotLeader(0),
        ),
        (
            "leader scales",
            scale(3, 0),
            Side::Safer,
            FOLLOWS,
            Violation::NotLeader(0),
        ),
        (
            "label",
            gate_to(0.1),
            Side::Safer,
            MAY,
            Violation::Mislabelled(0),
        ),
        (
            "count",
            scale(0, -1),
            Side::Safer,
            MAY,
            Violation::Negative(0),
        ),
    ] {
        assert_eq!(
            check(&one_step(action, side), half, may),
            [expected],
            "{what}"
        );
    }
    assert_eq!(
        check(&one_step(gate_to(0.9), Side::Safer), half, NOTHING),
        [],
        "closing needs nothing"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    /// Whatever is found and asked, a plan that is made passes the checker, and while killed
    /// nothing of it opens.
    #[test]
    fn every_plan_passes_the_independent_checker(
        killed: bool, asked in 0.0..=1.0_f64, current in 0.0..=1.0_f64, next in 0.0..=1.0_f64,
        replicas in 0_i64..20, noted in prop::option::of(0_i64..20), remembered in prop::option::of(0_i64..20),
        acknowledged in prop::option::of(0_i64..20), observe: bool,
    ) {
        let next = if killed { 1.0 } else { next };
        let mut case = Case { asked, killed, current, next, replicas, noted, ..Case::default() };
        case.throttle.memory.extend([known(remembered, acknowledged)]);
        case.throttle.mode = if observe { Mode::Observe } else { Mode::Enforce };
        let planned = case.plan();
        let may = Permissions { killed, leads: true, recorded: true };
        prop_assert_eq!(check(&planned.plan, Level::new(current).unwrap(), may), []);
        if let Some((from, to, note)) = scaling(&planned) {
            prop_assert!(!killed || to == 0);
            let before = remembered.or(noted).unwrap_or(from);
            prop_assert!(to <= before.max(0), "never above what was remembered");
            prop_assert!(!killed || note == Some(before), "what was there before the stop is kept");
        }
    }
}

#[test]
fn a_gate_that_was_measured_to_refuse_another_share_does_not_agree() {
    for (off, agreeing) in [(false, vec![TargetId::gate()]), (true, Vec::new())] {
        let gate = GateReadBack {
            gates: 1,
            obeying: 1,
            off,
            ..GateReadBack::default()
        };
        let reads = [(
            TargetSpec::Gate(GateSpec::default()),
            Ok(ReadBack::Gate(gate)),
        )];
        let throttle = Declared::bare(ThrottleName::default_throttle(), Level::STOP);
        let planned = plan(
            &Facts {
                throttle: &throttle,
                asked: Level::STOP,
                killed: false,
                current: Level::STOP,
                next: NextLevel {
                    level: Level::STOP,
                    reason: Reason::Target,
                    shedding: false,
                    credit: None,
                    stale: false,
                },
                reads: &reads,
                memory: &BTreeMap::new(),
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
        assert_eq!(planned.agreeing, agreeing);
    }
}
