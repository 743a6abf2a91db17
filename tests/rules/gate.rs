//! E3 at the gate: holds are only added and removed by name, and nothing that sets a level lifts one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::hold::{Bite, Epoch, Hold, Scope, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::throttle::{AllowRule, GateSpec, ThrottleName};
use echo_phoenix::gate::{Gate, Question, Setting};
use jiff::Timestamp;
use proptest::prelude::*;

fn name() -> ThrottleName {
    ThrottleName::default_throttle()
}

fn setting(level: Level) -> Setting {
    Setting { level, reason: Reason::Target, generation: 1, at: Timestamp::UNIX_EPOCH }
}

fn kill(epoch: &str) -> Hold {
    Hold {
        epoch: Epoch(epoch.to_owned()),
        bite: Bite::Kill,
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

fn admits(gate: &Gate, path: &str) -> bool {
    let question = Question { method: "GET", path, key: None };
    gate.ask("default", question, Timestamp::UNIX_EPOCH).verdict.admitted
}

#[test]
fn an_unknown_throttle_is_denied() {
    let reply = Gate::default().ask("nobody", Question::default(), Timestamp::UNIX_EPOCH);
    assert_eq!((reply.verdict.admitted, reply.verdict.reason), (false, Reason::Unknown));
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

    /// From applying a hold until applying its end, only the allow-list gets through, whatever else is asked.
    #[test]
    fn a_hold_denies_until_it_is_released(moves in moves()) {
        let gate = open_gate(&GateSpec { allow: vec![AllowRule { method: None, path: Some("/refunds".to_owned()) }], ..GateSpec::default() });
        let mut held = std::collections::BTreeSet::new();
        for step in moves {
            match step {
                Move::Set(u) => gate.set(&name(), setting(Level::new(u).unwrap())),
                Move::Tighten(u) => gate.tighten(&name(), setting(Level::new(u).unwrap())),
                Move::Declare => gate.declare(&name(), &GateSpec { allow: vec![AllowRule { method: None, path: Some("/refunds".to_owned()) }], ..GateSpec::default() }, setting(Level::OPEN)),
                Move::Release(n) => { gate.release(&name(), &Epoch(n.to_string())); held.remove(&n); }
                Move::Hold(n) => { gate.hold(&Scope::All, &kill(&n.to_string()), Timestamp::UNIX_EPOCH); held.insert(n); }
            }
            prop_assert!(held.is_empty() || !admits(&gate, "/pay"));
            prop_assert!(admits(&gate, "/refunds/7"));
        }
    }
}

#[test]
fn the_end_of_a_kill_opens_nothing() {
    let gate = open_gate(&GateSpec::default());
    gate.hold(&Scope::All, &kill("a"), Timestamp::UNIX_EPOCH);
    gate.set(&name(), setting(Level::OPEN));
    gate.release(&name(), &Epoch("a".to_owned()));
    assert!(!admits(&gate, "/"), "a full stop is what a kill leaves behind");
    assert_eq!(gate.standing(&name()).unwrap().level, Level::STOP);
}
