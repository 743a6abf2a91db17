//! What other sites are told: a kill always, an opening only where nothing is killed, and never an
//! end of what is theirs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use echo_phoenix::decide::check::{Permissions, Violation, check};
use echo_phoenix::decide::damping::Patience;
use echo_phoenix::decide::facts::{Facts, KnownDrifts};
use echo_phoenix::decide::plan::{Planned, plan};
use echo_phoenix::decide::precedence::most_restrictive;
use echo_phoenix::decide::step::NextLevel;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::drift::{DriftAction, Side};
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::moment::Moment;
use echo_phoenix::domain::plan::{Plan, Step};
use echo_phoenix::domain::remote::{is_sender, sender};
use echo_phoenix::domain::target::{
    Action, GateReadBack, GateSpec, ReadBack, RemoteOrder, RemoteReadBack, RemoteSent, RemoteSpec,
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

const INSTALLATION: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn name(text: &str) -> ThrottleName {
    ThrottleName::try_from(text.to_owned()).unwrap()
}

fn site() -> RemoteSpec {
    RemoteSpec {
        url: "https://b.example".to_owned(),
        api_key_env: "KEY".to_owned(),
        throttle: name("default"),
    }
}

fn level(u: f64) -> Level {
    Level::new(u).unwrap()
}

fn kill(epoch: &str, operator: &str) -> Hold {
    Hold {
        epoch: Epoch(epoch.to_owned()),
        bite: HoldEffect::Kill,
        source: Source::Rest,
        reason: "double charges".to_owned(),
        operator: operator.to_owned(),
        taken_at: Timestamp::UNIX_EPOCH,
    }
}

/// A site that runs at this level.
fn at(declared: f64) -> RemoteReadBack {
    let declared = level(declared);
    RemoteReadBack {
        declared,
        effective: declared,
        killed: false,
        ours: Vec::new(),
        others: None,
    }
}

fn killed(ours: &[&str], others: Option<&str>) -> RemoteReadBack {
    let ours = ours
        .iter()
        .map(|epoch| Epoch((*epoch).to_owned()))
        .collect();
    RemoteReadBack {
        killed: true,
        ours,
        others: others.map(str::to_owned),
        ..at(1.0)
    }
}

fn sent(level: Option<f64>, killed: bool) -> Option<RemoteSent> {
    Some(RemoteSent {
        level: level.map(self::level),
        killed,
    })
}

/// A throttle at 25 % with one site, and what is found.
struct Case {
    holds: Vec<Hold>,
    found: Result<RemoteReadBack, String>,
    sent: Option<RemoteSent>,
    mode: Mode,
    current: f64,
}

fn case(found: RemoteReadBack) -> Case {
    Case {
        holds: Vec::new(),
        found: Ok(found),
        sent: None,
        mode: Mode::Enforce,
        current: 0.25,
    }
}

impl Case {
    fn killed(self) -> Self {
        Self {
            holds: vec![kill("k1", "dana")],
            current: 1.0,
            ..self
        }
    }

    fn sent(self, level: Option<f64>, killed: bool) -> Self {
        Self {
            sent: sent(level, killed),
            ..self
        }
    }

    fn plan(&self) -> (Planned, bool) {
        let mut throttle = Declared::bare(name("checkout"), level(0.25));
        throttle.targets.push(TargetSpec::Remote(site()));
        (throttle.mode, throttle.holds) = (self.mode, self.holds.clone());
        throttle.memory.extend(
            self.sent
                .map(|sent| (site().id(), TargetMemory::Remote(sent))),
        );
        let want = most_restrictive(throttle.level, throttle.mode, &throttle.holds);
        let gate = GateReadBack {
            gates: 1,
            obeying: 1,
            ..GateReadBack::default()
        };
        let reads = [
            (
                TargetSpec::Gate(GateSpec::default()),
                Ok(ReadBack::Gate(gate)),
            ),
            (
                TargetSpec::Remote(site()),
                self.found.clone().map(ReadBack::Remote),
            ),
        ];
        let next = NextLevel {
            level: want.level,
            reason: Reason::Target,
            shedding: false,
            credit: None,
            stale: false,
        };
        let facts = Facts {
            throttle: &throttle,
            asked: want.level,
            killed: want.killed,
            current: level(self.current),
            next,
            reads: &reads,
            memory: &throttle.memory,
            drifts: KnownDrifts {
                open: &BTreeMap::new(),
                damping: &BTreeMap::new(),
            },
            patience: &BTreeMap::new(),
            under_way: &BTreeSet::new(),
            now: MOMENT,
        };
        (plan(&facts, String::new), want.killed)
    }

    /// What the site is told, whether it is what it should be, and the drift with who it is told
    /// to: in words.
    fn said(&self) -> (String, bool, String) {
        let (planned, _) = self.plan();
        let orders = planned
            .plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Remote {
                    order: RemoteOrder::Kill { reason, .. },
                    ..
                } => Some(format!("kill {reason}")),
                Action::Remote {
                    order: RemoteOrder::Revive { epochs },
                    ..
                } => Some(format!(
                    "revive {}",
                    epochs
                        .iter()
                        .map(|e| e.0.as_str())
                        .collect::<Vec<_>>()
                        .join(" ")
                )),
                Action::Remote {
                    order: RemoteOrder::Level { from, to, .. },
                    ..
                } => Some(format!("{from} to {to}")),
                _ => None,
            });
        let orders: Vec<_> = orders.collect();
        let corrected = planned
            .plan
            .steps
            .iter()
            .filter_map(|step| step.corrects.as_ref());
        let drift: Vec<_> = corrected
            .chain(&planned.plan.reported)
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
            .collect();
        (
            orders.join("; "),
            planned.agreeing.contains(&site().id()),
            drift.join("; "),
        )
    }
}

/// What it is, the case, the orders, whether the site agrees, and the drift.
type Told = (&'static str, Case, &'static str, bool, String);

/// A site at this level and at others.
fn at_levels() -> Vec<Told> {
    vec![
        ("as asked", case(at(0.25)), "", true, String::new()),
        (
            "not asked yet",
            case(at(1.0)),
            "1 to 0.25",
            false,
            String::new(),
        ),
        (
            "tightened",
            case(at(0.0)),
            "0 to 0.25",
            false,
            String::new(),
        ),
        (
            "opened there",
            case(at(0.0)).sent(Some(0.25), false),
            "0 to 0.25",
            false,
            "declared 0 not 0.25, riskier, corrected".to_owned(),
        ),
        (
            "held there",
            case(at(0.4)).sent(Some(0.25), false),
            "0.4 to 0.25",
            false,
            "declared 0.4 not 0.25, safer, corrected".to_owned(),
        ),
        (
            "asked anew",
            case(at(0.4)).sent(Some(0.4), false),
            "0.4 to 0.25",
            false,
            String::new(),
        ),
    ]
}

/// A site that was killed, by us or by others, and one that is observed.
fn killed_or_observed() -> Vec<Told> {
    vec![
        (
            "its own kill",
            case(killed(&[], Some("eve (fire)"))),
            "",
            false,
            String::new(),
        ),
        (
            "its own kill, later",
            case(killed(&[], Some("eve (fire)"))).sent(Some(0.25), false),
            "",
            false,
            format!(
                "killed killed by others: eve (fire) not running, safer, {}",
                DriftAction::Reported.as_str()
            ),
        ),
        (
            "ours is left",
            case(killed(&["r1", "r2"], None)).sent(None, true),
            "revive r1 r2",
            false,
            String::new(),
        ),
        (
            "ours and its own",
            case(killed(&["r1"], Some("eve (fire)"))),
            "revive r1",
            false,
            String::new(),
        ),
        (
            "observed",
            Case {
                mode: Mode::Observe,
                ..case(at(0.9))
            },
            "",
            true,
            String::new(),
        ),
    ]
}

#[test]
fn a_site_gets_the_declared_level_and_a_difference_from_what_it_took_is_drift() {
    for (what, case, orders, agrees, drift) in at_levels().into_iter().chain(killed_or_observed()) {
        assert_eq!(case.said(), (orders.to_owned(), agrees, drift), "{what}");
    }
}

/// A site of a killed throttle, as it may be found.
fn of_a_killed_throttle() -> Vec<Told> {
    let stop = "kill double charges (dana)";
    let silent = |case: Case| Case {
        found: Err("no answer within 2 s".to_owned()),
        ..case
    };
    let observed = |case: Case| Case {
        mode: Mode::Observe,
        ..case
    };
    vec![
        (
            "running",
            case(at(0.25)).killed(),
            stop,
            false,
            String::new(),
        ),
        (
            "nobody answers",
            silent(case(at(0.25))).killed(),
            stop,
            false,
            String::new(),
        ),
        (
            "killed by us",
            case(killed(&["r1"], None)).killed(),
            "",
            true,
            String::new(),
        ),
        (
            "killed by others, who may end it",
            case(killed(&[], Some("eve (fire)"))).killed(),
            stop,
            false,
            String::new(),
        ),
        (
            "ended behind our back",
            case(at(0.25)).killed().sent(Some(0.25), true),
            stop,
            false,
            "killed running not killed by us, riskier, corrected".to_owned(),
        ),
        (
            "observed",
            observed(case(at(0.25))).killed(),
            "",
            false,
            "killed running not killed by us, riskier, reported".to_owned(),
        ),
        (
            "observed, nobody answers",
            observed(silent(case(at(0.25)))).killed(),
            "",
            false,
            String::new(),
        ),
    ]
}

#[test]
fn a_killed_throttle_stops_its_site_whatever_is_known_of_it() {
    for (what, case, orders, agrees, drift) in of_a_killed_throttle() {
        assert_eq!(case.said(), (orders.to_owned(), agrees, drift), "{what}");
    }
    let (planned, _) = case(at(0.25)).killed().plan();
    assert!(
        matches!(
            planned.plan.steps[0].action,
            Action::SetGate {
                level: Level::STOP,
                ..
            }
        ),
        "the gate first"
    );
}

#[test]
fn a_kill_that_another_site_sent_is_not_passed_on_and_opens_nothing() {
    let from_elsewhere = kill("k2", &sender(INSTALLATION, &name("default")));
    for found in [
        at(0.0),
        at(1.0),
        killed(&["r1"], None),
        killed(&[], Some("eve (fire)")),
    ] {
        let case = Case {
            holds: vec![from_elsewhere.clone()],
            ..case(found)
        };
        assert_eq!(case.said(), (String::new(), true, String::new()));
    }
    let both = Case {
        holds: vec![from_elsewhere, kill("k1", "dana")],
        ..case(at(0.25))
    };
    assert_eq!(
        both.said().0,
        "kill double charges (dana)",
        "one of our own is"
    );
}

#[test]
fn the_gate_waits_for_no_other_site() {
    for found in [
        Ok(at(1.0)),
        Ok(killed(&["r1"], None)),
        Err("silent".to_owned()),
    ] {
        let (planned, _) = Case {
            found,
            current: 1.0,
            ..case(at(1.0))
        }
        .plan();
        assert_eq!(planned.effective, level(0.25));
        assert!(
            matches!(planned.plan.steps[0].action, Action::SetGate { .. }),
            "and goes before them"
        );
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

fn to(from: f64, to: f64) -> RemoteOrder {
    RemoteOrder::Level {
        from: level(from),
        to: level(to),
        effective: level(from),
    }
}

fn revive() -> RemoteOrder {
    RemoteOrder::Revive {
        epochs: vec![Epoch("r1".to_owned())],
    }
}

/// What the checker says of a plan that is one order to a site.
fn checked(order: RemoteOrder, side: Side, may: Permissions) -> Vec<Violation> {
    let action = Action::Remote {
        target: site(),
        order,
    };
    let steps = vec![Step {
        action,
        side,
        corrects: None,
    }];
    check(
        &Plan {
            throttle: name("checkout"),
            steps,
            reported: Vec::new(),
        },
        level(0.5),
        may,
    )
}

/// An order, its side, what is permitted, and what must be said of it.
type Refused = (&'static str, RemoteOrder, Side, Permissions, Violation);

fn refused() -> [Refused; 9] {
    [
        (
            "E3, an end",
            revive(),
            Side::Riskier,
            KILLED,
            Violation::OpensWhileKilled(0),
        ),
        (
            "E3, a level",
            to(0.5, 0.1),
            Side::Riskier,
            KILLED,
            Violation::OpensWhileKilled(0),
        ),
        (
            "E2, an end",
            revive(),
            Side::Riskier,
            UNRECORDED,
            Violation::NotRecorded(0),
        ),
        (
            "E2, a level",
            to(0.5, 0.1),
            Side::Riskier,
            UNRECORDED,
            Violation::NotRecorded(0),
        ),
        (
            "leader ends",
            revive(),
            Side::Riskier,
            FOLLOWS,
            Violation::NotLeader(0),
        ),
        (
            "leader opens",
            to(0.5, 0.1),
            Side::Riskier,
            FOLLOWS,
            Violation::NotLeader(0),
        ),
        (
            "leader tightens",
            to(0.1, 0.5),
            Side::Safer,
            FOLLOWS,
            Violation::NotLeader(0),
        ),
        (
            "label of an end",
            revive(),
            Side::Safer,
            MAY,
            Violation::Mislabelled(0),
        ),
        (
            "label of a level",
            to(0.5, 0.1),
            Side::Safer,
            MAY,
            Violation::Mislabelled(0),
        ),
    ]
}

#[test]
fn the_checker_refuses_what_no_site_must_be_told() {
    for (what, order, side, may, expected) in refused() {
        assert_eq!(checked(order, side, may), [expected], "{what}");
    }
    let stop = RemoteOrder::Kill {
        epochs: vec![Epoch("k1".to_owned())],
        reason: "r".to_owned(),
    };
    assert_eq!(
        checked(stop, Side::Safer, NOTHING),
        [],
        "a kill needs nothing"
    );
    assert_eq!(
        checked(to(0.1, 0.5), Side::Safer, UNRECORDED),
        [],
        "closing needs no record"
    );
    assert_eq!(
        checked(to(0.3, 0.3), Side::Safer, UNRECORDED),
        [],
        "what stays opens nothing"
    );
    assert_eq!(checked(revive(), Side::Riskier, MAY), []);
}

#[test]
fn what_a_site_was_seen_to_obey_is_what_it_acknowledged() {
    let id = site().id();
    assert_eq!(id.as_str(), "remote/https://b.example/default");
    let acknowledged = |case: Case| match case.plan().0.memory.get(&id) {
        Some(TargetMemory::Remote(sent)) => Some(*sent),
        _ => None,
    };
    let ours = || case(killed(&["r1"], None)).killed();
    assert_eq!(acknowledged(case(at(0.25))), sent(Some(0.25), false));
    assert_eq!(acknowledged(case(at(0.5))), None, "it differs");
    assert_eq!(
        acknowledged(ours().sent(Some(0.5), false)),
        sent(Some(0.5), true),
        "the level it had stays known"
    );
    assert_eq!(acknowledged(ours()), sent(None, true));
    // Who only observes asked for nothing.
    assert_eq!(
        acknowledged(Case {
            mode: Mode::Observe,
            ..ours()
        }),
        None
    );
}

#[test]
fn a_hold_tells_whose_it_is() {
    let ours = sender(INSTALLATION, &name("checkout"));
    assert_eq!(ours, "echo-phoenix 01ARZ3NDEKTSV4RRFFQ69G5FAV/checkout");
    let (long, other) = (
        name(&"a".repeat(317)),
        name(&format!("{}b", "a".repeat(316))),
    );
    let (long, other) = (sender(INSTALLATION, &long), sender(INSTALLATION, &other));
    assert!(
        long != other && long.len() <= 256 && other.len() <= 256,
        "{long}"
    );
    for operator in [ours.as_str(), &long, &other] {
        assert!(is_sender(operator), "{operator}");
    }
    for person in [
        "dana",
        "",
        "echo-phoenix",
        "echo-phoenix on call",
        "echo-phoenix on/call",
        "my echo-phoenix 01/a",
        // As long as an id, and no id; an id, and too short.
        "echo-phoenix 01arz3ndektsv4rrffq69g5fav/a",
        "echo-phoenix 01ARZ3NDEKTSV4RRFFQ69G5FA-/a",
        "echo-phoenix 01ARZ3/a",
    ] {
        assert!(!is_sender(person), "{person}");
    }
}

/// Seconds at which orders go out if one is wanted ten times a second.
fn told(stop: bool, seconds: u64) -> Vec<u64> {
    let mut patience = Patience::default();
    let moments = (0..seconds * 10).map(|tenth| Duration::from_millis(tenth * 100));
    let mut told = Vec::new();
    for now in moments {
        if patience.allows(stop, now) {
            patience.sent(now);
            told.push(now.as_secs());
        }
    }
    told
}

#[test]
fn a_site_that_does_not_obey_is_told_less_and_less_often() {
    assert_eq!(
        told(true, 62),
        [0, 1, 3, 7, 15, 30, 45, 60],
        "a stop at least every 15 s"
    );
    assert_eq!(told(false, 190), [0, 1, 3, 7, 15, 31, 63, 123, 183]);
}

fn any_found() -> impl Strategy<Value = Result<RemoteReadBack, String>> {
    let ours = prop::collection::vec("[a-c]", 0..3);
    let others = prop::option::of("[a-c]{0,3}");
    (any::<bool>(), 0.0..=1.0_f64, ours, others).prop_map(|(silent, declared, ours, others)| {
        let ours: Vec<_> = ours.into_iter().map(Epoch).collect();
        let killed = others.is_some() || !ours.is_empty();
        let found = RemoteReadBack {
            killed,
            ours,
            others,
            ..at(declared)
        };
        if silent {
            Err("silent".to_owned())
        } else {
            Ok(found)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    /// Whatever is found: a plan passes the checker, opens nothing while killed, and ends nothing
    /// that is not ours.
    #[test]
    fn every_plan_for_a_site_passes_the_checker(
        found in any_found(), own: bool, elsewhere: bool, observe: bool, current in 0.0..=1.0_f64,
        acknowledged in prop::option::of((prop::option::of(0.0..=1.0_f64), any::<bool>())),
    ) {
        let mut holds = Vec::new();
        holds.extend(own.then(|| kill("k1", "dana")));
        holds.extend(elsewhere.then(|| kill("k2", &sender(INSTALLATION, &name("a")))));
        let mode = if observe { Mode::Observe } else { Mode::Enforce };
        let sent = acknowledged.and_then(|(level, killed)| sent(level, killed));
        let case = Case { holds, found: found.clone(), sent, mode, current };
        let (planned, killed) = case.plan();
        let may = Permissions { killed, leads: true, recorded: true };
        prop_assert_eq!(check(&planned.plan, level(current), may), []);
        for step in &planned.plan.steps {
            let Action::Remote { order, .. } = &step.action else { continue };
            prop_assert!(!observe, "who observes tells nobody anything");
            match order {
                RemoteOrder::Kill { .. } => prop_assert!(own),
                RemoteOrder::Revive { epochs } => {
                    prop_assert!(!killed && *epochs == found.as_ref().unwrap().ours);
                }
                RemoteOrder::Level { .. } => prop_assert!(!killed && !found.as_ref().unwrap().killed),
            }
        }
    }
}
