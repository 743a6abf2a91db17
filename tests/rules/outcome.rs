//! A plan that is made stays as it is: what waits, which difference is which, what is dropped of a
//! plan that is refused, and what became of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use echo_phoenix::decide::check::{Permissions, check, refuse};
use echo_phoenix::decide::damping::{Damping, SitePatience};
use echo_phoenix::decide::facts::{Facts, KnownDrifts};
use echo_phoenix::decide::outcome::{PlanOutcome, intended_level, outcome};
use echo_phoenix::decide::plan::{Planned, plan};
use echo_phoenix::decide::step::NextLevel;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::drift::{Drift, DriftAction, Side};
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::moment::Moment;
use echo_phoenix::domain::plan::{Plan, Step, StepOutcome};
use echo_phoenix::domain::target::{
    Action, OrderKind, ReadBack, RemoteOrder, RemoteReadBack, RemoteSent, RemoteSpec, ScaleMemory,
    ScaleReadBack, ScaleSpec, TargetId, TargetMemory, TargetSpec,
};
use echo_phoenix::domain::throttle::{Declared, Mode, ThrottleName};
use jiff::Timestamp;

const ID: &str = "apps/v1/Deployment/w";
const SITE: &str = "remote/https://b.example/default";

fn level(share: f64) -> Level {
    Level::new(share).unwrap()
}

fn workload() -> ScaleSpec {
    ScaleSpec {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "w".to_owned(),
        proportional: false,
        min_replicas: 1,
    }
}

fn site() -> RemoteSpec {
    RemoteSpec {
        url: "https://b.example".to_owned(),
        api_key_env: "KEY".to_owned(),
        throttle: ThrottleName::default_throttle(),
    }
}

fn scaled(remembered: Option<i64>, acknowledged: Option<i64>) -> TargetMemory {
    TargetMemory::Scale(ScaleMemory {
        remembered,
        acknowledged,
    })
}

fn at(seconds: u64) -> Moment {
    Moment {
        wall: Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap(),
        elapsed: Duration::from_secs(seconds),
    }
}

/// A throttle whose workload a hand moved, and whose site runs at another level.
#[derive(Default)]
struct Case {
    killed: bool,
    observes: bool,
    replicas: i64,
    open: BTreeMap<TargetId, Drift>,
    damping: BTreeMap<TargetId, Damping>,
    patience: BTreeMap<TargetId, SitePatience>,
    under_way: BTreeSet<TargetId>,
}

impl Case {
    fn plan(&self, seconds: u64) -> Planned {
        let mut throttle = Declared::bare(ThrottleName::default_throttle(), level(0.5));
        throttle.mode = if self.observes {
            Mode::Observe
        } else {
            Mode::Enforce
        };
        throttle.holds.extend(self.killed.then(|| Hold {
            epoch: Epoch("k1".to_owned()),
            bite: HoldEffect::Kill,
            source: Source::Rest,
            reason: "double charges".to_owned(),
            operator: "dana".to_owned(),
            taken_at: Timestamp::UNIX_EPOCH,
        }));
        let wanted = if self.killed { 0 } else { 3 };
        throttle
            .memory
            .insert(ID.into(), scaled(Some(3), Some(wanted)));
        let current = if self.killed { Level::STOP } else { level(0.5) };
        let found = RemoteReadBack {
            declared: Level::OPEN,
            effective: Level::OPEN,
            killed: false,
            ours: Vec::new(),
            others: None,
        };
        let scaled = ScaleReadBack {
            replicas: self.replicas,
            remembered: Some(3),
            resource_version: "1".to_owned(),
            who: None,
        };
        let reads = [
            (TargetSpec::Scale(workload()), Ok(ReadBack::Scale(scaled))),
            (TargetSpec::Remote(site()), Ok(ReadBack::Remote(found))),
        ];
        let facts = Facts {
            throttle: &throttle,
            asked: current,
            killed: self.killed,
            current,
            next: NextLevel {
                level: current,
                reason: Reason::Target,
                shedding: false,
                credit: None,
                stale: false,
            },
            reads: &reads,
            memory: &throttle.memory,
            drifts: KnownDrifts {
                open: &self.open,
                damping: &self.damping,
            },
            patience: &self.patience,
            under_way: &self.under_way,
            now: at(seconds),
        };
        let mut count = 0;
        plan(&facts, || {
            count += 1;
            format!("new {count}")
        })
    }
}

/// Five corrections a moment ago: the next one waits for two seconds.
fn fought(seconds: u64) -> BTreeMap<TargetId, Damping> {
    let mut damping = Damping::default();
    (0..5).for_each(|_| damping.corrected(at(seconds).elapsed));
    BTreeMap::from([(ID.into(), damping)])
}

fn kinds(planned: &Planned) -> Vec<&'static str> {
    let kind = |step: &Step| match step.action {
        Action::SetGate { .. } => "gate",
        Action::Scale { .. } => "scale",
        Action::Remote { .. } => "remote",
    };
    planned.plan.steps.iter().map(kind).collect()
}

#[test]
fn a_correction_that_comes_too_often_waits_and_stays_reported() {
    let fight = Case {
        replicas: 5,
        damping: fought(10),
        ..Case::default()
    };
    let waits = fight.plan(11);
    assert_eq!(
        (kinds(&waits), waits.damped),
        (vec!["gate", "remote"], true)
    );
    let told = &waits.plan.reported[0];
    assert_eq!(
        (told.target.as_str(), told.action),
        (ID, DriftAction::Reported)
    );
    let later = fight.plan(12);
    assert_eq!(
        (kinds(&later), later.damped),
        (vec!["gate", "scale", "remote"], false)
    );
    assert!(later.plan.reported.is_empty());
    let killed = Case {
        killed: true,
        ..fight
    }
    .plan(11);
    assert_eq!(
        (kinds(&killed), killed.damped),
        (vec!["gate", "scale", "remote"], false)
    );
}

#[test]
fn a_site_that_was_told_the_same_a_moment_ago_is_not_told_again() {
    let told = |order| {
        let mut patience = SitePatience::of(order);
        patience.sent(order, at(10).elapsed);
        BTreeMap::from([(SITE.into(), patience)])
    };
    let level = Case {
        replicas: 3,
        patience: told(OrderKind::Level(level(0.5))),
        ..Case::default()
    };
    assert_eq!(
        kinds(&level.plan(10)),
        ["gate", "scale"],
        "the note is tidied up"
    );
    assert_eq!(kinds(&level.plan(11)), ["gate", "scale", "remote"]);
    assert!(!level.plan(10).damped, "that is no fight");
    let killed = Case {
        killed: true,
        ..level
    };
    assert_eq!(
        kinds(&killed.plan(10)),
        ["gate", "scale", "remote"],
        "a new order never waits"
    );
    let twice = Case {
        patience: told(OrderKind::Stop),
        ..killed
    };
    assert_eq!(
        kinds(&twice.plan(10)),
        ["gate", "scale"],
        "a stop does, for a second"
    );
    assert_eq!(kinds(&twice.plan(11)), ["gate", "scale", "remote"]);
}

#[test]
fn patience_is_with_one_order_at_a_time() {
    let mut patience = SitePatience::of(OrderKind::Stop);
    (0..3).for_each(|_| patience.sent(OrderKind::Stop, at(10).elapsed));
    assert!(
        !patience.allows(OrderKind::Stop, at(13).elapsed),
        "four seconds after the third"
    );
    assert!(patience.allows(OrderKind::End, at(13).elapsed));
    patience.sent(OrderKind::End, at(13).elapsed);
    assert!(!patience.allows(OrderKind::End, at(13).elapsed));
    assert!(
        patience.allows(OrderKind::End, at(14).elapsed),
        "it begins anew"
    );
    assert!(patience.allows(OrderKind::Stop, at(13).elapsed));
    for (order, kind) in [
        (
            RemoteOrder::Kill {
                epochs: Vec::new(),
                reason: String::new(),
            },
            OrderKind::Stop,
        ),
        (RemoteOrder::Revive { epochs: Vec::new() }, OrderKind::End),
        (
            RemoteOrder::Level {
                from: Level::OPEN,
                to: level(0.5),
                effective: Level::OPEN,
            },
            OrderKind::Level(level(0.5)),
        ),
    ] {
        assert_eq!(order.kind(), kind);
    }
}

#[test]
fn a_difference_keeps_its_id_for_as_long_as_it_is_the_same() {
    let first = Case {
        replicas: 5,
        ..Case::default()
    }
    .plan(10);
    let corrects = |planned: &Planned| {
        let mut drifts = planned
            .plan
            .steps
            .iter()
            .filter_map(|step| step.corrects.clone());
        drifts
            .next()
            .map(|drift| (drift.id, drift.count, drift.first_seen, drift.last_seen))
    };
    let (t10, t20) = (at(10).wall, at(20).wall);
    assert_eq!(corrects(&first), Some(("new 1".to_owned(), 1, t10, t10)));
    let mut known = first.open.clone();
    known.get_mut(&ID.into()).unwrap().id = "old".to_owned();
    let same = Case {
        replicas: 5,
        open: known.clone(),
        ..Case::default()
    };
    assert_eq!(
        corrects(&same.plan(20)),
        Some(("old".to_owned(), 2, t10, t20))
    );
    assert_eq!(same.plan(20).open[&ID.into()].id, "old");
    let other = Case {
        replicas: 6,
        open: known.clone(),
        ..Case::default()
    }
    .plan(20);
    assert_eq!(corrects(&other), Some(("new 1".to_owned(), 1, t20, t20)));
    let wanted = Case {
        replicas: 5,
        killed: true,
        open: known.clone(),
        ..Case::default()
    }
    .plan(20);
    assert_eq!(
        corrects(&wanted),
        Some(("new 1".to_owned(), 1, t20, t20)),
        "another wish"
    );
    let gone = Case {
        replicas: 3,
        open: known,
        ..Case::default()
    }
    .plan(20);
    assert!(gone.open.is_empty());
}

#[test]
fn what_is_only_reported_is_told_once() {
    let observes = Case {
        replicas: 5,
        observes: true,
        ..Case::default()
    };
    let first = observes.plan(10);
    let of = |planned: &Planned| {
        let told = planned
            .plan
            .reported
            .iter()
            .filter(|drift| drift.target.as_str() == ID);
        (told.count(), planned.open.contains_key(&ID.into()))
    };
    assert_eq!(of(&first), (1, true));
    let again = Case {
        open: first.open,
        ..observes
    };
    assert_eq!(of(&again.plan(20)), (0, true), "it is there, and was told");
}

fn gate(to: f64, side: Side) -> Step {
    Step {
        action: Action::SetGate {
            level: level(to),
            reason: "target",
            generation: 1,
        },
        side,
        corrects: None,
    }
}

fn scale(from: i64, to: i64, side: Side) -> Step {
    let action = Action::Scale {
        target: workload(),
        from,
        to,
        remember: None,
        resource_version: "1".to_owned(),
    };
    Step {
        action,
        side,
        corrects: None,
    }
}

fn tell(order: RemoteOrder, side: Side) -> Step {
    Step {
        action: Action::Remote {
            target: site(),
            order,
        },
        side,
        corrects: None,
    }
}

fn revive() -> RemoteOrder {
    RemoteOrder::Revive { epochs: Vec::new() }
}

fn plan_of(steps: Vec<Step>) -> Plan {
    Plan {
        throttle: ThrottleName::default_throttle(),
        steps,
        reported: Vec::new(),
    }
}

#[test]
fn a_refused_plan_keeps_what_closes_and_drops_what_opens_after_the_first_violation() {
    let plan = plan_of(vec![
        scale(0, 3, Side::Riskier),
        gate(0.1, Side::Safer),
        scale(3, 0, Side::Safer),
        scale(0, -1, Side::Safer),
        tell(revive(), Side::Riskier),
    ]);
    let may = Permissions {
        killed: false,
        leads: true,
        recorded: true,
    };
    let violations = check(&plan, level(0.5), may);
    assert_eq!(
        violations
            .iter()
            .map(|wrong| wrong.step())
            .collect::<Vec<_>>(),
        [1, 3]
    );
    let refused = |words: &str| Some(StepOutcome::Refused(format!("plan refused: {words}")));
    let first = "step 1 is marked safer and opens";
    assert_eq!(
        refuse(&plan, &violations),
        [
            None,
            refused(first),
            None,
            refused("step 3 asks for a negative number of replicas"),
            refused(first),
        ]
    );
    assert_eq!(refuse(&plan, &[]), vec![None; 5]);
    let all = Permissions {
        killed: true,
        leads: false,
        recorded: false,
    };
    let steps: Vec<_> = check(&plan, level(0.5), all)
        .iter()
        .map(|wrong| wrong.step())
        .collect();
    assert!(
        steps.is_sorted() && (0..5).all(|step| steps.contains(&step)),
        "{steps:?}"
    );
}

fn planned(steps: Vec<Step>) -> Planned {
    Planned {
        plan: plan_of(steps),
        effective: level(0.5),
        memory: BTreeMap::from([(ID.into(), scaled(None, Some(0)))]),
        agreeing: Vec::new(),
        open: BTreeMap::new(),
        damped: false,
    }
}

fn became(step: Step, done: StepOutcome) -> PlanOutcome {
    outcome(&planned(vec![step]), vec![done], level(0.2), None)
}

/// Everything that may become of a step but that it is done.
fn undone() -> [StepOutcome; 5] {
    let why = || "no".to_owned();
    [
        StepOutcome::Failed(why()),
        StepOutcome::Held(why()),
        StepOutcome::Refused(why()),
        StepOutcome::Skipped("it opens"),
        StepOutcome::Overtaken("no"),
    ]
}

#[test]
fn nothing_is_remembered_as_done_that_was_not() {
    let closes = || gate(0.5, Side::Safer);
    let stops = || scale(3, 0, Side::Safer);
    assert_eq!(became(closes(), StepOutcome::Yes).effective, level(0.5));
    assert_eq!(
        became(stops(), StepOutcome::Yes).memory[&ID.into()],
        scaled(None, Some(0))
    );
    for done in undone() {
        let gate = became(closes(), done.clone());
        assert_eq!(
            (gate.effective, gate.memory.len()),
            (level(0.2), 1),
            "{done:?}"
        );
        let scale = became(stops(), done.clone());
        assert_eq!(
            (scale.effective, scale.memory.len()),
            (level(0.5), 0),
            "{done:?}"
        );
    }
}

#[test]
fn what_a_site_took_is_known_also_where_something_else_holds_it() {
    let stop = || RemoteOrder::Kill {
        epochs: Vec::new(),
        reason: String::new(),
    };
    let to = RemoteOrder::Level {
        from: Level::OPEN,
        to: level(0.5),
        effective: Level::OPEN,
    };
    let sent = |order: &RemoteOrder, done| {
        let mut before = planned(vec![tell(order.clone(), Side::Safer)]);
        before.memory.insert(
            SITE.into(),
            TargetMemory::Remote(RemoteSent {
                level: None,
                killed: *order == revive(),
            }),
        );
        match outcome(&before, vec![done], Level::OPEN, None).memory[&SITE.into()] {
            TargetMemory::Remote(sent) => sent,
            TargetMemory::Scale(_) => panic!("a site is no workload"),
        }
    };
    let held = || StepOutcome::Held("no".to_owned());
    for done in [StepOutcome::Yes, held()] {
        assert!(sent(&stop(), done.clone()).killed);
        assert!(!sent(&revive(), done.clone()).killed);
        assert_eq!(sent(&to, done).level, Some(level(0.5)));
    }
    for done in undone().into_iter().filter(|done| *done != held()) {
        assert!(!sent(&stop(), done.clone()).killed);
        assert!(sent(&revive(), done.clone()).killed);
        assert_eq!(sent(&to, done).level, None);
    }
}

#[test]
fn a_drift_says_what_its_correction_came_to() {
    let with_drift = Case {
        replicas: 5,
        ..Case::default()
    }
    .plan(10);
    let told = |done: StepOutcome| {
        let done = with_drift.plan.steps.iter().map(|_| done.clone()).collect();
        let drift = outcome(&with_drift, done, Level::OPEN, None)
            .drifts
            .remove(0);
        (drift.action, drift.error)
    };
    let failed = |why: &str| (DriftAction::Failed, Some(why.to_owned()));
    assert_eq!(told(StepOutcome::Yes), (DriftAction::Corrected, None));
    assert_eq!(told(StepOutcome::Skipped("it opens")), failed("not tried"));
    for done in undone().into_iter().filter(|done| done.trouble().is_some()) {
        assert_eq!(told(done), failed("no"));
    }
    let observed = Case {
        replicas: 5,
        observes: true,
        ..Case::default()
    }
    .plan(10);
    let steps = vec![StepOutcome::Yes; observed.plan.steps.len()];
    assert_eq!(
        outcome(&observed, steps, Level::OPEN, None).drifts,
        observed.plan.reported
    );
}

#[test]
fn trouble_is_a_refusal_first_then_what_came_too_late_then_a_step() {
    let trouble = |steps: Vec<StepOutcome>, late| {
        outcome(&planned(Vec::new()), steps, Level::OPEN, late).trouble
    };
    let failed = || StepOutcome::Failed("failed".to_owned());
    let refused = || StepOutcome::Refused("refused".to_owned());
    let said = |text: &str| Some(text.to_owned());
    assert_eq!(
        trouble(
            vec![StepOutcome::Yes, StepOutcome::Skipped("it opens")],
            None
        ),
        None
    );
    assert_eq!(
        trouble(
            vec![StepOutcome::Yes, failed(), StepOutcome::Overtaken("a kill")],
            None
        ),
        said("failed")
    );
    assert_eq!(trouble(vec![failed()], Some("late")), said("late"));
    assert_eq!(
        trouble(vec![failed(), refused()], Some("late")),
        said("refused")
    );
    let tried = undone().map(|done| done.was_tried());
    assert_eq!(tried, [true, true, false, false, false]);
    assert!(StepOutcome::Yes.was_tried());
}

#[test]
fn a_level_whose_step_is_refused_is_not_intended() {
    let opens = planned(vec![scale(0, 3, Side::Riskier), gate(0.5, Side::Riskier)]);
    let refused = || Some(StepOutcome::Refused("no".to_owned()));
    let before = level(0.9);
    for (known, intended) in [
        ([None, None], level(0.5)),
        ([Some(StepOutcome::Yes), Some(StepOutcome::Yes)], level(0.5)),
        ([refused(), None], level(0.5)),
        ([None, refused()], before),
    ] {
        assert_eq!(
            intended_level(&opens, &known, before),
            intended,
            "{known:?}"
        );
    }
}

/// Two orders at once, and the first one's outcome would be nobody's; a stop neither.
#[test]
fn a_target_that_has_not_answered_a_step_gets_no_other() {
    for killed in [false, true] {
        let case = Case {
            killed,
            replicas: 9,
            ..Case::default()
        };
        let targets = |planned: &Planned| -> BTreeSet<TargetId> {
            let steps = planned.plan.steps.iter();
            steps.map(|step| step.action.target()).collect()
        };
        let both = [TargetId::from(ID), TargetId::from(SITE)];
        assert!(both.iter().all(|one| targets(&case.plan(10)).contains(one)));
        for waits in both.clone() {
            let case = Case {
                under_way: BTreeSet::from([waits.clone()]),
                ..Case {
                    killed,
                    replicas: 9,
                    ..Case::default()
                }
            };
            let planned = targets(&case.plan(10));
            assert!(!planned.contains(&waits), "{waits:?}");
            let other = both.iter().find(|one| **one != waits).unwrap();
            assert!(planned.contains(other), "and keeps no other: {other:?}");
        }
    }
}
