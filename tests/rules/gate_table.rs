//! R4 at the gate: a hold is everywhere at once, costs as much as there are throttles, and does not
//! come back when it ended.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::moment::Moment;
use echo_phoenix::domain::target::GateSpec;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::gate::{Gate, LevelSetting, Question};
use jiff::Timestamp;
use proptest::prelude::*;

const NOW: Moment = Moment {
    wall: Timestamp::UNIX_EPOCH,
    elapsed: Duration::ZERO,
};

fn name(number: usize) -> ThrottleName {
    ThrottleName::try_from(format!("t-{number}")).unwrap()
}

fn setting(level: Level) -> LevelSetting {
    LevelSetting {
        level,
        reason: Reason::Target,
        generation: 1,
        at: Duration::ZERO,
    }
}

fn epoch(text: &str) -> Epoch {
    Epoch(text.to_owned())
}

fn hold(id: &str, source: Source) -> Hold {
    Hold {
        epoch: epoch(id),
        bite: HoldEffect::Kill,
        source,
        reason: "test".to_owned(),
        operator: "test".to_owned(),
        taken_at: Timestamp::UNIX_EPOCH,
    }
}

fn kill(id: &str) -> Hold {
    hold(id, Source::Rest)
}

/// A gate of so many throttles, all open.
fn gate_of(throttles: usize) -> Gate {
    let gate = Gate::default();
    gate.change(|draft| {
        (0..throttles)
            .for_each(|n| draft.declare(&name(n), &GateSpec::default(), setting(Level::OPEN)))
    });
    gate
}

fn killed(gate: &Gate, throttle: &ThrottleName) -> bool {
    let verdict = gate
        .ask(throttle.as_str(), Question::default(), NOW)
        .verdict;
    assert!(!(verdict.reason == Reason::Kill && verdict.admitted));
    verdict.reason == Reason::Kill
}

/// Where somebody who looks all the time finds none shut while all were said to be, or some and not
/// all, that is a swap each.
#[test]
fn a_kill_of_all_is_in_force_on_all_at_once_and_so_is_its_end() {
    const THROTTLES: usize = 500;
    let gate = gate_of(THROTTLES);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::SeqCst) {
                seen.insert(
                    gate.standings()
                        .iter()
                        .filter(|standing| standing.killed())
                        .count(),
                );
            }
            seen
        });
        for round in 0..20 {
            let id = round.to_string();
            assert_eq!(
                gate.hold(&Scope::All, &kill(&id), Duration::ZERO).len(),
                THROTTLES
            );
            gate.end(&[epoch(&id)]);
        }
        done.store(true, Ordering::SeqCst);
        let seen = looks.join().unwrap();
        assert!(
            seen.iter().all(|killed| [0, THROTTLES].contains(killed)),
            "{seen:?}"
        );
    });
}

#[test]
fn what_a_kill_of_all_and_its_end_cost_grows_as_the_throttles_do() {
    let cost = |throttles| {
        let gate = gate_of(throttles);
        let taken = allocation_counter::measure(|| {
            drop(gate.hold(&Scope::All, &kill("a"), Duration::ZERO))
        });
        let ended = allocation_counter::measure(|| drop(gate.end(&[epoch("a")])));
        [taken, ended].map(|cost| (cost.count_total, cost.bytes_total))
    };
    for (few, many) in cost(200).into_iter().zip(cost(1_600)) {
        assert!(few.0 > 0 && few.1 > 0, "the counter does not count");
        // Eight times as many: with a table copied for each of them it would be 64 times.
        assert!(
            many.0 <= few.0 * 12 && many.1 <= few.1 * 12,
            "{few:?} of 200, {many:?} of 1600"
        );
    }
}

#[test]
fn a_kill_that_was_overtaken_by_its_end_closes_nothing() {
    let gate = gate_of(2);
    gate.hold(&Scope::All, &kill("a"), Duration::ZERO);
    gate.end(&[epoch("a"), epoch("never seen here")]);
    for late in ["a", "never seen here"] {
        for scope in [Scope::All, Scope::One(name(0))] {
            assert_eq!(gate.hold(&scope, &kill(late), Duration::ZERO), [], "{late}");
        }
        assert!(
            gate.standings().iter().all(|standing| !standing.killed()),
            "{late}"
        );
    }
    assert_eq!(
        gate.hold(&Scope::One(name(1)), &kill("b"), Duration::ZERO),
        [name(1)],
        "another one bites"
    );
    assert_eq!(
        (killed(&gate, &name(0)), killed(&gate, &name(1))),
        (false, true)
    );
}

#[test]
fn what_an_object_or_a_file_holds_bites_whenever_it_is_seen() {
    let object = Source::Override {
        namespace: None,
        name: "stop".to_owned(),
        uid: "u".to_owned(),
        namespace_uid: None,
        definition_uid: None,
    };
    for source in [object, Source::Spec, Source::Manifest, Source::Unaccounted] {
        let gate = gate_of(2);
        let seen = hold("a", source);
        gate.hold(&Scope::All, &seen, Duration::ZERO);
        gate.end(&[epoch("a")]);
        assert_eq!(
            gate.hold(&Scope::One(name(0)), &seen, Duration::ZERO),
            [name(0)]
        );
        assert_eq!(
            (killed(&gate, &name(0)), killed(&gate, &name(1))),
            (true, false)
        );
    }
}

#[test]
fn a_throttle_is_let_go_alone_and_may_be_taken_again() {
    let gate = gate_of(2);
    gate.hold(&Scope::All, &kill("a"), Duration::ZERO);
    gate.release(&name(0), &epoch("a"));
    assert_eq!(
        (killed(&gate, &name(0)), killed(&gate, &name(1))),
        (false, true)
    );
    gate.hold(&Scope::All, &kill("a"), Duration::ZERO);
    assert!(killed(&gate, &name(0)) && killed(&gate, &name(1)));
}

#[test]
fn no_command_covers_the_throttle_of_the_self_test() {
    let gate = gate_of(1);
    gate.rehearse(None, Duration::ZERO);
    assert_eq!(
        gate.hold(&Scope::All, &kill("a"), Duration::ZERO),
        [name(0)]
    );
    assert!(killed(&gate, &name(0)) && !killed(&gate, &ThrottleName::self_test()));
}

#[derive(Clone, Debug)]
enum Move {
    Hold {
        id: u8,
        throttle: Option<usize>,
        declared: bool,
    },
    End(Vec<u8>),
    Set(usize, f64),
    Tighten(usize, f64),
    Knowing(usize, f64, u64),
    Declare(usize),
}

fn moves(throttles: usize) -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0_u8..6, prop::option::of(0..throttles), any::<bool>())
            .prop_map(|(id, throttle, declared)| Move::Hold { id, throttle, declared }),
        3 => prop::collection::vec(0_u8..6, 0..3).prop_map(Move::End),
        1 => (0..throttles, 0.0..=1.0).prop_map(|(n, level)| Move::Set(n, level)),
        1 => (0..throttles, 0.0..=1.0).prop_map(|(n, level)| Move::Tighten(n, level)),
        1 => (0..throttles, 0.0..=1.0, 0_u64..4).prop_map(|(n, level, known)| Move::Knowing(n, level, known)),
        1 => (0..throttles).prop_map(Move::Declare),
    ];
    prop::collection::vec(one, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Killed is: has a hold that has not ended. A kill over REST ends once; what is declared ends,
    /// and may be seen again. And what a kill leaves is a full stop, until somebody sets a level.
    #[test]
    fn killed_is_to_have_a_hold_that_has_not_ended(moves in moves(4), known in 1_usize..5) {
        let gate = gate_of(known);
        let mut ended = BTreeSet::new();
        let mut held: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        let mut declared: BTreeSet<usize> = (0..known).collect();
        let mut stopped = BTreeSet::new();
        for step in moves {
            match step {
                Move::Hold { id, throttle, declared: by_file } => {
                    let (id, source) = if by_file { (format!("file-{id}"), Source::Manifest) } else { (id.to_string(), Source::Rest) };
                    let scope = throttle.map_or(Scope::All, |n| Scope::One(name(n)));
                    let over = !by_file && ended.contains(&id);
                    let covered: Vec<_> = declared.iter().copied().filter(|n| !over && throttle.is_none_or(|one| one == *n)).collect();
                    let told = gate.hold(&scope, &hold(&id, source), Duration::ZERO);
                    prop_assert_eq!(told, covered.iter().map(|n| name(*n)).collect::<Vec<_>>());
                    for n in covered {
                        held.entry(n).or_default().insert(id.clone());
                        stopped.insert(n);
                    }
                }
                Move::End(ids) => {
                    let ids: Vec<_> = ids.iter().flat_map(|id| [id.to_string(), format!("file-{id}")]).collect();
                    gate.end(&ids.iter().map(|id| epoch(id)).collect::<Vec<_>>());
                    held.values_mut().for_each(|of| of.retain(|id| !ids.contains(id)));
                    ended.extend(ids);
                }
                Move::Set(n, level) => {
                    gate.set(&name(n), setting(Level::new(level).unwrap()));
                    stopped.remove(&n);
                }
                Move::Tighten(n, level) => gate.tighten(&name(n), setting(Level::new(level).unwrap())),
                Move::Knowing(n, level, known) => {
                    if gate.set_knowing(&name(n), setting(Level::new(level).unwrap()), known) {
                        stopped.remove(&n);
                    }
                }
                Move::Declare(n) => {
                    gate.declare(&name(n), &GateSpec::default(), setting(Level::OPEN));
                    declared.insert(n);
                }
            }
            for n in &declared {
                let has = held.get(n).is_some_and(|of| !of.is_empty());
                prop_assert_eq!(killed(&gate, &name(*n)), has, "throttle {}", n);
                let standing = gate.standing(&name(*n)).unwrap();
                let holds: BTreeSet<_> = standing.holds.iter().map(|epoch| epoch.0.clone()).collect();
                prop_assert_eq!(&holds, &held.get(n).cloned().unwrap_or_default());
                if has {
                    stopped.insert(*n);
                }
                prop_assert!(!stopped.contains(n) || standing.level == Level::STOP, "its end opened throttle {}", n);
            }
        }
    }
}
