//! E3 at the gate: holds are only added and removed by name, and nothing that sets a level lifts
//! one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::moment::Moment;
use echo_phoenix::domain::target::GateSpec;
use echo_phoenix::domain::throttle::{AllowRule, ThrottleName, is_plain};
use echo_phoenix::gate::dialect::{path_of, path_of_url};
use echo_phoenix::gate::{Gate, LevelSetting, Question};
use jiff::Timestamp;
use proptest::prelude::*;

const NOW: Moment = Moment {
    wall: Timestamp::UNIX_EPOCH,
    elapsed: Duration::ZERO,
};

/// A moment of this second.
fn moment(second: i64) -> Moment {
    Moment {
        wall: Timestamp::from_second(second).unwrap(),
        elapsed: Duration::ZERO,
    }
}

fn name() -> ThrottleName {
    ThrottleName::default_throttle()
}

fn setting(level: Level) -> LevelSetting {
    LevelSetting {
        level,
        reason: Reason::Target,
        generation: 1,
        at: Duration::ZERO,
    }
}

fn kill(epoch: &str) -> Hold {
    Hold {
        epoch: Epoch(epoch.to_owned()),
        bite: HoldEffect::Kill,
        source: Source::Rest,
        reason: "test".to_owned(),
        operator: "test".to_owned(),
        taken_at: Timestamp::UNIX_EPOCH,
    }
}

fn open_gate(spec: &GateSpec) -> Gate {
    let gate = Gate::default();
    gate.declare(&name(), spec, setting(Level::OPEN));
    gate
}

fn refunds() -> GateSpec {
    let rule = AllowRule {
        path: Some("/refunds".to_owned()),
        ..AllowRule::default()
    };
    GateSpec {
        allow: vec![rule],
        ..GateSpec::default()
    }
}

fn admits(gate: &Gate, path: &str) -> bool {
    let question = Question {
        method: "GET",
        path,
        key: None,
    };
    gate.ask("default", question, NOW).verdict.admitted
}

#[test]
fn an_unknown_throttle_is_denied() {
    let reply = Gate::default().ask("nobody", Question::default(), NOW);
    assert_eq!(
        (reply.verdict.admitted, reply.verdict.reason),
        (false, Reason::Unknown)
    );
}

#[derive(Clone, Debug)]
enum Move {
    Set(f64),
    Tighten(f64),
    Declare,
    Release(u8),
    Hold(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (0.0..=1.0).prop_map(Move::Set),
        (0.0..=1.0).prop_map(Move::Tighten),
        Just(Move::Declare),
        (0_u8..3).prop_map(Move::Release),
        (0_u8..3).prop_map(Move::Hold),
    ];
    prop::collection::vec(one, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// From applying a hold until applying its end, only the allow-list gets through, whatever else
    /// is asked.
    #[test]
    fn a_hold_denies_until_it_is_released(moves in moves()) {
        let gate = open_gate(&refunds());
        let mut held = std::collections::BTreeSet::new();
        for step in moves {
            match step {
                Move::Set(u) => gate.set(&name(), setting(Level::new(u).unwrap())),
                Move::Tighten(u) => gate.tighten(&name(), setting(Level::new(u).unwrap())),
                Move::Declare => gate.declare(&name(), &refunds(), setting(Level::OPEN)),
                Move::Release(n) => { gate.release(&name(), &Epoch(n.to_string())); held.remove(&n); }
                Move::Hold(n) => { gate.hold(&Scope::All, &kill(&n.to_string()), Duration::ZERO); held.insert(n); }
            }
            prop_assert!(held.is_empty() || !admits(&gate, "/pay"));
            prop_assert!(admits(&gate, "/refunds/7"));
        }
    }
}

#[test]
fn the_end_of_a_kill_opens_nothing() {
    let gate = open_gate(&GateSpec::default());
    gate.hold(&Scope::All, &kill("a"), Duration::ZERO);
    gate.set(&name(), setting(Level::OPEN));
    gate.release(&name(), &Epoch("a".to_owned()));
    assert!(
        !admits(&gate, "/"),
        "a full stop is what a kill leaves behind"
    );
    assert_eq!(gate.standing(&name()).unwrap().level, Level::STOP);
}

/// Whoever decided before a kill knows nothing of it, be it over or not.
#[test]
fn what_was_decided_before_a_kill_opens_nothing_after_it() {
    let gate = open_gate(&GateSpec::default());
    let known = gate.tightenings();
    gate.hold(&Scope::All, &kill("a"), Duration::ZERO);
    assert!(
        !gate.set_knowing(&name(), setting(Level::OPEN), known),
        "while it lasts"
    );
    gate.hold(&Scope::All, &kill("a"), Duration::ZERO);
    assert_eq!(
        gate.tightenings(),
        known + 1,
        "one that is known is no other kill"
    );
    gate.release(&name(), &Epoch("a".to_owned()));
    assert!(
        !gate.set_knowing(&name(), setting(Level::OPEN), known),
        "and when it is over"
    );
    let standing = gate.standing(&name()).unwrap();
    assert_eq!((standing.level, standing.held), (Level::STOP, known + 1));
    assert!(
        gate.set_knowing(&name(), setting(Level::OPEN), gate.tightenings()),
        "whoever knows of it may"
    );
}

/// What an earlier version stored is believed only as far as this one would take it.
#[test]
fn a_stored_rule_that_nobody_would_take_any_more_is_not_applied_and_is_named_and_the_rest_holds() {
    let stored = r#"{"key_header":null,"allow":[{"method":null,"path":"/"},{"method":"GET","path":null},
        {"method":"get","path":"/a"},{"method":null,"path":"/b/*"},{"method":null,"path":"/refunds"},
        {"method":"OPTIONS","path":null}],"canary_url":"https://dana:hunter2@shop.example/canary"}"#;
    let spec: GateSpec = serde_json::from_str(stored).unwrap();
    let gate = open_gate(&spec);
    gate.hold(&Scope::All, &kill("a"), Duration::ZERO);
    let admitted = |method, path| {
        gate.ask(
            "default",
            Question {
                method,
                path,
                key: None,
            },
            NOW,
        )
        .verdict
        .admitted
    };
    for (method, path) in [
        ("POST", "/pay"),
        ("GET", "/pay"),
        ("get", "/a"),
        ("GET", "/b/*"),
    ] {
        assert!(!admitted(method, path), "{method} {path}");
    }
    assert!(
        admitted("POST", "/refunds/7") && admitted("OPTIONS", "/pay"),
        "the rest holds"
    );
    let named = spec.ignored().join("\n");
    for part in [
        "allow[0] {path: \"/\"}",
        "allow[1] {method: \"GET\"}",
        "allow[2]",
        "allow[3]",
        "canaryUrl: expected no user",
    ] {
        assert!(named.contains(part), "{part} in {named}");
    }
    assert!(
        !named.contains("allow[4]") && !named.contains("allow[5]") && !named.contains("hunter2"),
        "{named}"
    );
}

#[test]
fn a_confirmed_rule_holds_while_killed() {
    let rule = AllowRule {
        path: Some("/".to_owned()),
        even_while_killed: true,
        ..AllowRule::default()
    };
    let gate = open_gate(&GateSpec {
        allow: vec![rule],
        ..GateSpec::default()
    });
    gate.hold(&Scope::All, &kill("a"), Duration::ZERO);
    assert!(admits(&gate, "/pay") && !admits(&gate, "/pay#x"));
}

#[test]
fn a_path_is_cut_at_a_query_only_and_an_address_without_a_plain_host_has_none() {
    for (said, path) in [
        ("/refunds?x=/../pay", "/refunds"),
        ("/refunds#/../../pay", "/refunds#/../../pay"),
        ("/refunds#?x", "/refunds#"),
        ("refunds", "refunds"),
        ("", ""),
    ] {
        assert_eq!(path_of(said), path, "{said}");
    }
    for (said, path) in [
        ("https://shop.example:8443/refunds?x", "/refunds"),
        ("http://[::1]:80/refunds#/../pay", "/refunds#/../pay"),
        ("http:///refunds", "/refunds"),
        ("http://shop", ""),
        ("http://shop?/refunds", ""),
        ("http://shop?x/refunds", ""),
        ("http://a@b/refunds", "@b/refunds"),
        ("http://a#/refunds", "#/refunds"),
        ("ftp://shop/refunds", ""),
        ("//shop/refunds", ""),
        ("/refunds", ""),
    ] {
        assert_eq!(path_of_url(said), path, "{said}");
        assert!(
            path.starts_with('/') || !is_plain(path),
            "what has no path is on no list: {said}"
        );
    }
}

/// How long refused callers are told to wait, 400 in a row.
fn waits(level: Level, killed: bool, key: Option<&[u8]>) -> Vec<u32> {
    let gate = open_gate(&GateSpec::default());
    gate.set(&name(), setting(level));
    if killed {
        gate.hold(&Scope::All, &kill("a"), Duration::ZERO);
    }
    let ask = |_| {
        gate.ask(
            "default",
            Question {
                method: "GET",
                path: "/",
                key,
            },
            NOW,
        )
    };
    (0..400)
        .map(ask)
        .filter(|reply| !reply.verdict.admitted)
        .map(|reply| reply.retry_after_s)
        .collect()
}

#[test]
fn whoever_cannot_be_admitted_soon_is_told_to_wait_as_when_killed() {
    let most = Level::new(0.99).unwrap();
    let table = [
        ("killed", waits(Level::OPEN, true, None), 30..=120),
        (
            "killed, with a key",
            waits(Level::OPEN, true, Some(b"a")),
            30..=120,
        ),
        ("a full stop", waits(Level::STOP, false, None), 30..=120),
        (
            "refused until the hour",
            waits(most, false, Some(b"a")),
            30..=120,
        ),
        (
            "one in a hundred is admitted",
            waits(most, false, None),
            1..=10,
        ),
    ];
    for (what, waits, range) in table {
        assert!(
            waits.len() >= 390 && waits.iter().all(|wait| range.contains(wait)),
            "{what}: {waits:?}"
        );
        // Evenly spread: of the first refusals of many callers in a row no second is told to more
        // than its share and one.
        let width = (range.end() - range.start() + 1) as usize;
        let first: Vec<_> = waits.iter().take(width * 4).collect();
        let most = range
            .map(|wait| first.iter().filter(|one| ***one == wait).count())
            .max()
            .unwrap();
        assert!(
            most <= 6,
            "{what}: {most} of {} are told the same second: {waits:?}",
            first.len()
        );
    }
}

fn with_key() -> GateSpec {
    GateSpec {
        key_header: Some("x-tenant".to_owned()),
        ..GateSpec::default()
    }
}

fn secret_gate(secret: &[u8], level: f64) -> Gate {
    let gate = Gate::with_secret(secret);
    gate.declare(&name(), &with_key(), setting(Level::new(level).unwrap()));
    gate
}

/// Which of many callers a gate admits in an hour.
fn admitted(gate: &Gate, hour: i64) -> Vec<u32> {
    let at = moment(hour * 3600 + 7);
    let ask = |caller: &u32| {
        let key = format!("tenant-{caller}");
        gate.ask(
            "default",
            Question {
                method: "GET",
                path: "/",
                key: Some(key.as_bytes()),
            },
            at,
        )
        .verdict
        .admitted
    };
    (0..500).filter(ask).collect()
}

#[test]
fn gates_that_share_a_secret_admit_the_same_callers_nested_by_level_and_others_each_hour() {
    let (one, two, other) = (
        secret_gate(b"s", 0.5),
        secret_gate(b"s", 0.5),
        secret_gate(b"t", 0.5),
    );
    let alone = open_gate(&with_key());
    alone.set(&name(), setting(Level::new(0.5).unwrap()));
    let tighter = secret_gate(b"s", 0.7);
    for hour in [480_000, 480_001, 480_000, -1] {
        let these = admitted(&one, hour);
        assert_eq!(these, admitted(&two, hour), "hour {hour}, and back again");
        assert!(
            admitted(&tighter, hour)
                .iter()
                .all(|caller| these.contains(caller)),
            "nested, hour {hour}"
        );
        assert_ne!(these, admitted(&other, hour), "another secret");
        assert_ne!(these, admitted(&alone, hour), "what anybody can compute");
    }
    assert_ne!(admitted(&one, 480_000), admitted(&one, 480_001));
}

/// With a secret, a sketch of callers and a sample: still nothing is allocated, in the first hour
/// and in the next.
#[test]
fn a_verdict_of_a_gate_allocates_nothing() {
    let gate = secret_gate(b"s", 0.5);
    let ask = |key: &[u8], seconds| {
        let at = moment(seconds);
        let question = Question {
            method: "POST",
            path: "/pay",
            key: Some(key).filter(|key| !key.is_empty()),
        };
        gate.ask("default", question, at).verdict.admitted
    };
    let (first, next) = (1_700_000_000, 1_700_000_000 + 3600);
    for hour in [first, next] {
        ask(b"the first of an hour makes its salt", hour);
        let counted = allocation_counter::measure(|| {
            let admitted = (0..1_000_u32)
                .filter(|n| ask(&n.to_be_bytes(), hour) | ask(b"", hour))
                .count();
            assert!(admitted > 0);
        });
        assert_eq!(counted.count_total, 0);
    }
    let alive = allocation_counter::measure(|| drop(std::hint::black_box(vec![0_u8; 64])));
    assert_eq!(alive.count_total, 1, "the counter does not count");
}

#[test]
fn callers_are_counted_where_a_key_is_declared_and_what_they_were_told_is_worked_out_again() {
    let gate = secret_gate(b"s", 0.25);
    let at = Timestamp::from_second(480_000 * 3600).unwrap();
    assert_eq!(gate.callers(&name(), at), Some(0));
    let admitted = admitted(&gate, 480_000).len() as u64;
    let standing = gate.standing(&name()).unwrap();
    let named = standing.named.unwrap();
    assert_eq!(
        (named.offered, named.admitted),
        (500, admitted),
        "measured beside the declared share"
    );
    assert!(gate.callers(&name(), at).unwrap().abs_diff(500) < 50 && !standing.contradicts);
    assert_eq!(
        gate.callers(&name(), Timestamp::UNIX_EPOCH),
        Some(0),
        "another hour"
    );
    gate.declare(
        &name(),
        &GateSpec {
            allow: refunds().allow,
            ..with_key()
        },
        setting(Level::OPEN),
    );
    assert!(
        gate.callers(&name(), at).unwrap() > 400,
        "another allow-list forgets nobody"
    );
    for (level, killed) in [(0.9, false), (0.0, false), (1.0, false), (0.1, true)] {
        gate.set(&name(), setting(Level::new(level).unwrap()));
        if killed {
            gate.hold(&Scope::All, &kill("a"), Duration::ZERO);
        }
        self::admitted(&gate, 480_001);
        assert!(
            !gate.standing(&name()).unwrap().contradicts,
            "{level} {killed}"
        );
    }
    let unkeyed = open_gate(&GateSpec::default());
    unkeyed.ask("default", Question::default(), moment(480_000 * 3600));
    let standing = unkeyed.standing(&name()).unwrap();
    assert_eq!(
        (unkeyed.callers(&name(), at), standing.named),
        (None, None),
        "no key is declared, and none was given"
    );
    unkeyed.set(&name(), setting(Level::new(0.5).unwrap()));
    let admitted = self::admitted(&unkeyed, 480_000).len() as u64;
    let named = unkeyed.standing(&name()).unwrap().named.unwrap();
    assert_eq!(
        (named.offered, named.admitted),
        (500, admitted),
        "an app named them: the level was over callers"
    );
    assert!(unkeyed.callers(&name(), at).unwrap().abs_diff(500) < 50);
    unkeyed.declare(&name(), &with_key(), setting(Level::OPEN));
    assert!(
        unkeyed.callers(&name(), at).unwrap() > 400,
        "a header forgets nobody"
    );
    unkeyed.declare(&name(), &GateSpec::default(), setting(Level::OPEN));
    assert_eq!(unkeyed.callers(&name(), at), None);
}
