//! Each kind of target: its id, what of it is stored, what the audit log is told of its steps, and
//! what a status shows of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::decide::targets::{StepWords, TargetStanding, report, words};
use echo_phoenix::domain::audit::AuditAction;
use echo_phoenix::domain::hold::Epoch;
use echo_phoenix::domain::level::{Level, nearest_percent};
use echo_phoenix::domain::report::{StatusRow, TargetReport};
use echo_phoenix::domain::target::{
    Action, GateReadBack, GateSpec, ReadBack, RemoteOrder, RemoteReadBack, RemoteSent, RemoteSpec,
    ScaleMemory, ScaleReadBack, ScaleSpec, StoredNumbers, TargetId, TargetKind, TargetMemory,
    TargetSpec,
};
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::source::crd_status::{AcknowledgedStatus, EchoThrottleStatus, TargetNumber};
use echo_phoenix::source::status_rows;

const WORKLOAD: &str = "apps/v1/Deployment/w";
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

fn gate() -> TargetSpec {
    TargetSpec::Gate(GateSpec::default())
}

#[test]
fn an_id_says_its_kind_and_is_the_same_in_every_record() {
    for (spec, id, kind, is_here) in [
        (gate(), "gate", TargetKind::Gate, true),
        (
            TargetSpec::Scale(workload()),
            WORKLOAD,
            TargetKind::Scale,
            true,
        ),
        (TargetSpec::Remote(site()), SITE, TargetKind::Remote, false),
    ] {
        assert_eq!((spec.id().as_str(), spec.kind()), (id, kind));
        assert_eq!(
            (spec.id().kind(), spec.id().to_string()),
            (kind, id.to_owned())
        );
        assert_eq!((TargetId::from(id), kind.is_here()), (spec.id(), is_here));
        let json = serde_json::to_value(spec.id()).unwrap();
        assert_eq!(json, serde_json::json!(id));
        assert_eq!(serde_json::from_value::<TargetId>(json).unwrap(), spec.id());
    }
}

fn scaled(remembered: Option<i64>, acknowledged: Option<i64>) -> TargetMemory {
    TargetMemory::Scale(ScaleMemory {
        remembered,
        acknowledged,
    })
}

#[test]
fn what_a_workload_had_and_was_asked_outlives_the_process_and_a_site_says_its_own_again() {
    let stored = StoredNumbers {
        remembered: Some(3),
        acknowledged: Some(0),
    };
    assert_eq!(scaled(Some(3), Some(0)).stored(), stored);
    assert_eq!(
        TargetMemory::restored(&WORKLOAD.into(), stored),
        Some(scaled(Some(3), Some(0)))
    );
    let sent = RemoteSent {
        level: Some(Level::OPEN),
        killed: true,
    };
    assert_eq!(
        TargetMemory::Remote(sent).stored(),
        StoredNumbers::default()
    );
    assert_eq!(TargetMemory::restored(&SITE.into(), stored), None);
    assert_eq!(TargetMemory::restored(&TargetId::gate(), stored), None);
}

#[test]
fn a_status_of_any_version_says_what_is_remembered() {
    let number = |target: &str, replicas| TargetNumber {
        target: target.to_owned(),
        replicas,
    };
    let asked = |target: &str, replicas| AcknowledgedStatus {
        target: target.to_owned(),
        replicas,
        ..AcknowledgedStatus::default()
    };
    let status = EchoThrottleStatus {
        remembered: vec![number(WORKLOAD, 3), number("v1/Pod/x", 2)],
        acknowledged: vec![
            asked("gate", None),
            asked(WORKLOAD, Some(0)),
            asked("v1/Pod/y", Some(1)),
        ],
        ..EchoThrottleStatus::default()
    };
    let memory: Vec<_> = status_rows::memory(&status).into_iter().collect();
    let expected = [
        (WORKLOAD, scaled(Some(3), Some(0))),
        ("v1/Pod/x", scaled(Some(2), None)),
        ("v1/Pod/y", scaled(None, Some(1))),
    ];
    assert_eq!(
        memory,
        expected.map(|(id, memory)| (TargetId::from(id), memory))
    );
}

fn scale(from: i64, to: i64) -> Action {
    Action::Scale {
        target: workload(),
        from,
        to,
        remember: None,
        resource_version: "1".to_owned(),
    }
}

fn tell(order: RemoteOrder) -> Action {
    Action::Remote {
        target: site(),
        order,
    }
}

#[test]
fn the_audit_log_is_told_of_each_step_that_does_something() {
    let epochs = |all: &[&str]| all.iter().map(|id| Epoch((*id).to_owned())).collect();
    let said = |intent, outcome, before: &str, after: &str| {
        let (before, after) = (before.to_owned(), after.to_owned());
        Some(StepWords {
            intent,
            outcome,
            before,
            after,
        })
    };
    let remote = |before: &str, after: &str| {
        let of = |text: &str| format!("{SITE} {text}");
        let (intent, outcome) = (AuditAction::RemoteIntent, AuditAction::Remote);
        said(intent, outcome, &of(before), &of(after))
    };
    let put = Action::SetGate {
        level: Level::STOP,
        reason: "kill",
        generation: 1,
    };
    let stop = RemoteOrder::Kill {
        epochs: epochs(&["k1"]),
        reason: "test".to_owned(),
    };
    let end = RemoteOrder::Revive {
        epochs: epochs(&["r1", "r2"]),
    };
    let to = RemoteOrder::Level {
        from: level(0.25),
        to: level(0.5),
        effective: level(0.3),
    };
    for (action, target, expected) in [
        (put, "gate", None),
        (scale(3, 3), WORKLOAD, None),
        (
            scale(3, 0),
            WORKLOAD,
            said(AuditAction::ScaleIntent, AuditAction::Scale, "w 3", "w 0"),
        ),
        (tell(stop), SITE, remote("not killed by us", "killed")),
        (tell(end), SITE, remote("killed r1,r2", "opening")),
        (tell(to), SITE, remote("0.25", "0.5")),
    ] {
        assert_eq!(words(&action), expected);
        assert_eq!(action.target().as_str(), target);
        assert_eq!(action.target().kind(), action.kind());
    }
}

fn told(spec: &TargetSpec, read: ReadBack, agrees: bool, refusal: Option<&str>) -> TargetReport {
    let stands = TargetStanding {
        agrees,
        refusal: refusal.map(str::to_owned),
        memory: None,
        in_force: level(0.5),
    };
    report(spec, &Ok(read), stands)
}

#[test]
fn gates_that_refuse_another_share_are_told_with_both() {
    let found = |off, refused, callers| {
        let read = GateReadBack {
            gates: 2,
            obeying: 1,
            off,
            refused,
            callers,
            ..GateReadBack::default()
        };
        told(&gate(), ReadBack::Gate(read), false, None)
    };
    let row = found(false, Some(0.25), Some(7)).row;
    let expected = StatusRow::Gates {
        count: 2,
        obeying: 1,
        refused: Some(0.25),
        callers: Some(7),
    };
    assert_eq!(row, expected);
    for (off, refused, callers, wrong) in [
        (false, Some(0.25), None, None),
        (true, None, None, None),
        (
            true,
            Some(0.254),
            None,
            Some("refuses 25 % of what is asked, not 50 %"),
        ),
        (
            true,
            Some(0.25),
            Some(7),
            Some("callers were told something else than the level gives them"),
        ),
        (false, Some(0.25), Some(7), None),
    ] {
        assert_eq!(found(off, refused, callers).wrong.as_deref(), wrong);
    }
    assert_eq!(
        [0.0, 0.001, 0.25, 0.999, 1.0].map(nearest_percent),
        [0, 1, 25, 99, 100]
    );
}

#[test]
fn a_site_that_does_not_obey_is_told_with_what_it_said_or_who_holds_it() {
    let found = |killed, others: Option<&str>| RemoteReadBack {
        declared: level(0.25),
        effective: level(0.25),
        killed,
        ours: Vec::new(),
        others: others.map(str::to_owned),
    };
    let spec = TargetSpec::Remote(site());
    for (killed, others, agrees, refusal, wrong) in [
        (false, None, true, None, None),
        (false, None, true, Some("no"), Some("no")),
        (false, None, false, None, Some("declared 25 % there")),
        (true, None, false, None, Some("killed there")),
        (
            true,
            Some("eve (fire)"),
            false,
            None,
            Some("killed there by eve (fire), who has to end it there"),
        ),
        (true, Some("eve (fire)"), false, Some("no"), Some("no")),
    ] {
        let one = told(
            &spec,
            ReadBack::Remote(found(killed, others)),
            agrees,
            refusal,
        );
        assert_eq!(
            (one.wrong.as_deref(), one.refusal.as_deref(), one.agrees),
            (wrong, refusal, agrees)
        );
    }
}

#[test]
fn a_row_shows_what_was_read_and_what_is_remembered() {
    let scaled = ScaleReadBack {
        replicas: 3,
        remembered: None,
        resource_version: "1".to_owned(),
        who: None,
    };
    let of = |spec: &TargetSpec, read: Result<ReadBack, String>, memory: Option<TargetMemory>| {
        let stands = TargetStanding {
            agrees: false,
            refusal: None,
            memory: memory.as_ref(),
            in_force: Level::OPEN,
        };
        let one = report(spec, &read, stands);
        (one.row, one.unread, one.wrong)
    };
    let silent = || "silent".to_owned();
    let workload = TargetSpec::Scale(workload());
    let number = (StatusRow::Number(3), None, None);
    assert_eq!(of(&workload, Ok(ReadBack::Scale(scaled)), None), number);
    assert_eq!(
        of(&workload, Ok(ReadBack::Absent), None),
        (StatusRow::None, None, None)
    );
    assert_eq!(
        of(&workload, Err(silent()), None),
        (StatusRow::None, Some(silent()), None)
    );
    assert_eq!(
        of(&gate(), Err(silent()), None),
        (StatusRow::None, Some(silent()), None)
    );
    let sent = RemoteSent {
        level: Some(level(0.5)),
        killed: false,
    };
    let site = TargetSpec::Remote(site());
    let row = |acknowledged| StatusRow::Site {
        acknowledged,
        observed: None,
    };
    let known = of(&site, Err(silent()), Some(TargetMemory::Remote(sent)));
    assert_eq!(known, (row(Some(sent)), Some(silent()), None));
    assert_eq!(
        of(&site, Ok(ReadBack::Absent), None),
        (row(None), None, None)
    );
}
