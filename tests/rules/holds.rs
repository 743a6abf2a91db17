//! Holds and what is asked for together: the most restrictive wins, and a kill is named before any
//! level.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::decide::precedence::{Restriction, most_restrictive};
use echo_phoenix::domain::hold::{
    Epoch, HeldBy, Hold, HoldEffect, Scope, ScopedHold, Source, ask_for_more,
};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::throttle::{Mode, ThrottleName};
use jiff::Timestamp;
use proptest::prelude::*;

fn level(share: f64) -> Level {
    Level::new(share).unwrap()
}

fn over(namespace: Option<&str>) -> Source {
    Source::Override {
        namespace: namespace.map(str::to_owned),
        name: "stop".to_owned(),
        uid: "u-1".to_owned(),
        namespace_uid: None,
        definition_uid: None,
    }
}

fn hold(bite: HoldEffect, source: Source) -> Hold {
    Hold {
        epoch: Epoch("e-1".to_owned()),
        bite,
        source,
        reason: "fraud".to_owned(),
        operator: "ada".to_owned(),
        taken_at: Timestamp::UNIX_EPOCH,
    }
}

fn at_least(share: f64) -> Hold {
    hold(HoldEffect::AtLeast(level(share)), over(Some("shop")))
}

fn kill() -> Hold {
    hold(HoldEffect::Kill, Source::Rest)
}

/// What it is, the specification's level and mode, the holds, and what that asks for: level,
/// whether killed, and who is named.
type Case = (
    &'static str,
    f64,
    Mode,
    Vec<Hold>,
    (f64, bool, &'static str),
);

const SPEC: &str = "spec";
const SHOP: &str = "EchoOverride shop/stop";
const REST: &str = "rest";

/// Levels of a specification and of holds.
fn levels() -> Vec<Case> {
    vec![
        (
            "nothing but the specification",
            0.5,
            Mode::Enforce,
            vec![],
            (0.5, false, SPEC),
        ),
        (
            "a hold that asks for more",
            0.5,
            Mode::Enforce,
            vec![at_least(0.7)],
            (0.7, false, SHOP),
        ),
        (
            "one that asks for less",
            0.5,
            Mode::Enforce,
            vec![at_least(0.3)],
            (0.5, false, SPEC),
        ),
        (
            "one that asks for the same",
            0.5,
            Mode::Enforce,
            vec![at_least(0.5)],
            (0.5, false, SPEC),
        ),
        (
            "the greater of two, in either order",
            0.0,
            Mode::Enforce,
            vec![at_least(0.9), at_least(0.2)],
            (0.9, false, SHOP),
        ),
    ]
}

/// Kills, alone and beside levels.
fn kills() -> Vec<Case> {
    vec![
        (
            "a kill",
            0.5,
            Mode::Enforce,
            vec![kill()],
            (1.0, true, REST),
        ),
        (
            "a kill of what stands still anyway",
            1.0,
            Mode::Enforce,
            vec![kill()],
            (1.0, true, REST),
        ),
        (
            "a kill after a full stop by a hold",
            0.0,
            Mode::Enforce,
            vec![at_least(1.0), kill()],
            (1.0, true, REST),
        ),
        (
            "a kill before one",
            0.0,
            Mode::Enforce,
            vec![kill(), at_least(1.0)],
            (1.0, true, REST),
        ),
        (
            "the first of two kills",
            0.0,
            Mode::Enforce,
            vec![kill(), hold(HoldEffect::Kill, Source::Spec)],
            (1.0, true, REST),
        ),
    ]
}

/// A throttle that is only observed.
fn observed() -> Vec<Case> {
    vec![
        (
            "observing asks for nothing",
            0.5,
            Mode::Observe,
            vec![at_least(0.7)],
            (0.0, false, SPEC),
        ),
        (
            "but a kill",
            0.5,
            Mode::Observe,
            vec![at_least(0.7), kill()],
            (1.0, true, REST),
        ),
    ]
}

#[test]
fn the_most_restrictive_of_specification_and_holds_wins_and_is_named() {
    let cases = [levels(), kills(), observed()].concat();
    for (what, level_of_spec, mode, holds, expected) in cases {
        let (share, killed, source) = expected;
        let expected = Restriction {
            level: level(share),
            killed,
            source: source.to_owned(),
        };
        assert_eq!(
            most_restrictive(level(level_of_spec), mode, &holds),
            expected,
            "{what}"
        );
    }
}

#[test]
fn a_hold_is_named_by_who_keeps_it_and_only_a_declaration_keeps_its_own() {
    for (source, words, declared) in [
        (Source::Rest, "rest", false),
        (Source::Spec, "spec", true),
        (Source::Manifest, "manifest", true),
        (over(Some("shop")), "EchoOverride shop/stop", false),
        (over(None), "ClusterEchoOverride stop", false),
    ] {
        assert_eq!(
            (source.to_string().as_str(), source.is_declared()),
            (words, declared)
        );
        let hold = hold(HoldEffect::Kill, source);
        let told = HeldBy::from(&hold);
        assert_eq!((told.epoch.as_str(), told.source.as_str()), ("e-1", words));
        assert_eq!(
            (told.operator.as_str(), told.reason.as_str(), told.since),
            ("ada", "fraud", Some(hold.taken_at))
        );
    }
    assert_eq!(kill().epoch.to_string(), "e-1");
    assert!(
        kill().is_kill() && !at_least(1.0).is_kill(),
        "a full stop that is asked for is no kill"
    );
}

#[test]
fn a_scope_means_one_throttle_or_all() {
    let (one, other) = (
        ThrottleName::default_throttle(),
        ThrottleName::in_namespace("shop", "checkout"),
    );
    assert!(Scope::All.covers(&one) && Scope::All.covers(&other));
    assert!(Scope::One(one.clone()).covers(&one) && !Scope::One(one).covers(&other));
}

/// Holds, those in whose place they come, and whether they ask for more.
type InPlace = (&'static str, Vec<(Scope, Hold)>, Vec<(Scope, Hold)>, bool);

fn one() -> Scope {
    Scope::One(ThrottleName::default_throttle())
}

fn levels_in_place() -> Vec<InPlace> {
    vec![
        ("nothing", vec![], vec![(one(), kill())], false),
        (
            "in place of nothing",
            vec![(one(), at_least(0.0))],
            vec![],
            true,
        ),
        (
            "a higher level",
            vec![(one(), at_least(0.6))],
            vec![(one(), at_least(0.5))],
            true,
        ),
        (
            "one as high",
            vec![(one(), at_least(0.6))],
            vec![(one(), at_least(0.6))],
            false,
        ),
        (
            "a lower one",
            vec![(one(), at_least(0.5))],
            vec![(one(), at_least(0.6))],
            false,
        ),
        (
            "between two",
            vec![(one(), at_least(0.5))],
            vec![(one(), at_least(0.2)), (one(), at_least(0.6))],
            false,
        ),
        (
            "one of two",
            vec![(one(), at_least(0.1)), (one(), at_least(0.7))],
            vec![(one(), at_least(0.6))],
            true,
        ),
    ]
}

fn scopes_in_place() -> Vec<InPlace> {
    let other = Scope::One(ThrottleName::in_namespace("shop", "checkout"));
    vec![
        (
            "of another throttle",
            vec![(one(), at_least(0.5))],
            vec![(other, at_least(0.6))],
            true,
        ),
        (
            "of all, in place of one",
            vec![(Scope::All, at_least(0.5))],
            vec![(one(), at_least(0.6))],
            true,
        ),
        (
            "of one, in place of all",
            vec![(one(), at_least(0.5))],
            vec![(Scope::All, at_least(0.6))],
            false,
        ),
    ]
}

fn kills_in_place() -> Vec<InPlace> {
    vec![
        (
            "a kill in place of a full stop",
            vec![(one(), kill())],
            vec![(one(), at_least(1.0))],
            true,
        ),
        (
            "a full stop in place of a kill",
            vec![(one(), at_least(1.0))],
            vec![(one(), kill())],
            false,
        ),
        (
            "a kill in place of a kill",
            vec![(one(), kill())],
            vec![(one(), kill())],
            false,
        ),
    ]
}

#[test]
fn holds_in_the_place_of_others_close_where_one_asks_for_more_than_each_of_those_there() {
    let all = |holds: Vec<(Scope, Hold)>| {
        holds
            .into_iter()
            .map(|(scope, hold)| ScopedHold { scope, hold })
            .collect::<Vec<_>>()
    };
    let cases = [levels_in_place(), scopes_in_place(), kills_in_place()];
    for (what, these, others, expected) in cases.into_iter().flatten() {
        let (these, others) = (all(these), all(others));
        assert_eq!(
            ask_for_more(&these, &others.iter().collect::<Vec<_>>()),
            expected,
            "{what}"
        );
    }
}

proptest! {
    /// However many holds there are and in whichever order, the answer is the greatest level, and a
    /// kill is a kill.
    #[test]
    fn the_order_of_holds_changes_nothing(spec in 0.0..=1.0_f64, bites in prop::collection::vec(prop::option::of(0.0..=1.0_f64), 0..6)) {
        let mut holds: Vec<_> = bites.iter().map(|bite| bite.map_or_else(kill, at_least)).collect();
        let together = most_restrictive(level(spec), Mode::Enforce, &holds);
        let greatest = bites.iter().map(|bite| bite.unwrap_or(1.0)).fold(spec, f64::max);
        prop_assert_eq!((together.level.fraction(), together.killed), (greatest, bites.contains(&None)));
        holds.reverse();
        let backwards = most_restrictive(level(spec), Mode::Enforce, &holds);
        prop_assert_eq!((backwards.level, backwards.killed), (together.level, together.killed));
    }
}
