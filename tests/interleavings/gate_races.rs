//! The gate: changes of the table that meet each other, and those who read it meanwhile.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shuttle::future::block_on;
use shuttle::thread;

use crate::decide::verdict::Reason;
use crate::domain::hold::{Epoch, Hold, HoldEffect, Scope, Source};
use crate::domain::level::Level;
use crate::domain::moment::Moment;
use crate::domain::target::GateSpec;
use crate::domain::throttle::ThrottleName;
use crate::gate::{Gate, LevelSetting, Question};
use crate::tries::{tried, tried_all};

pub(crate) const NOW: Moment = Moment {
    wall: Timestamp::UNIX_EPOCH,
    elapsed: Duration::ZERO,
};

pub(crate) fn name(text: &str) -> ThrottleName {
    ThrottleName::try_from(text.to_owned()).unwrap()
}

fn hold(epoch: &str) -> Hold {
    let (reason, operator) = ("r".to_owned(), "o".to_owned());
    let epoch = Epoch(epoch.to_owned());
    Hold {
        epoch,
        bite: HoldEffect::Kill,
        source: Source::Rest,
        reason,
        operator,
        taken_at: NOW.wall,
    }
}

fn setting(level: Level) -> LevelSetting {
    LevelSetting {
        level,
        reason: Reason::Target,
        generation: 1,
        at: NOW.elapsed,
    }
}

/// A gate of these throttles, which are open.
pub(crate) fn open(names: &[&str]) -> Arc<Gate> {
    let gate = Gate::default();
    for text in names {
        gate.declare(&name(text), &GateSpec::default(), setting(Level::OPEN));
    }
    Arc::new(gate)
}

/// What somebody does to a gate meanwhile.
fn doing(gate: &Arc<Gate>, what: impl FnOnce(&Gate) + Send + 'static) -> thread::JoinHandle<()> {
    let gate = Arc::clone(gate);
    thread::spawn(move || what(&gate))
}

fn all(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn kills(gate: &Gate, throttle: &str) -> Vec<String> {
    gate.kills(&name(throttle))
        .into_iter()
        .map(|hold| hold.epoch.0)
        .collect()
}

#[test]
fn a_hold_that_has_ended_is_not_brought_back_by_whoever_brings_it_late() {
    tried_all(|| {
        let gate = open(&["default", "shop"]);
        let taken = doing(&gate, |gate| {
            drop(gate.hold(&Scope::All, &hold("a"), NOW.elapsed))
        });
        let ended = doing(&gate, |gate| drop(gate.end(&[Epoch("a".to_owned())])));
        gate.hold(&Scope::One(name("shop")), &hold("a"), NOW.elapsed);
        all([taken, ended]);
        assert_eq!(
            (kills(&gate, "default"), kills(&gate, "shop")),
            (Vec::new(), Vec::new())
        );
    });
}

#[test]
fn no_change_of_the_table_undoes_another() {
    tried(3_000, || {
        let gate = open(&["default", "shop"]);
        let threads = [
            doing(&gate, |gate| {
                drop(gate.hold(&Scope::All, &hold("a"), NOW.elapsed))
            }),
            doing(&gate, |gate| {
                drop(gate.hold(&Scope::One(name("shop")), &hold("b"), NOW.elapsed))
            }),
            doing(&gate, |gate| {
                gate.declare(&name("new"), &GateSpec::default(), setting(Level::OPEN))
            }),
            doing(&gate, |gate| {
                gate.set(&name("default"), setting(Level::OPEN))
            }),
            doing(&gate, |gate| {
                gate.release(&name("default"), &Epoch("other".to_owned()))
            }),
        ];
        all(threads);
        let mut shop = kills(&gate, "shop");
        shop.sort();
        assert_eq!(
            (kills(&gate, "default"), shop),
            (vec!["a".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
        assert!(gate.standing(&name("new")).is_some());
        let stands = gate.standing(&name("default")).unwrap();
        assert_eq!(
            stands.level,
            Level::STOP,
            "a level that is set does not open what is killed"
        );
    });
}

/// By one swap: whoever has seen one throttle shut by it sees every other one shut from then on.
#[test]
fn nobody_sees_half_of_a_kill_of_all() {
    tried_all(|| {
        let gate = open(&["a", "b", "c"]);
        let killed = doing(&gate, |gate| {
            drop(gate.hold(&Scope::All, &hold("x"), NOW.elapsed))
        });
        let shut: Vec<_> = gate
            .standings()
            .iter()
            .map(|standing| standing.killed())
            .collect();
        assert!(
            shut == [true; 3] || shut == [false; 3],
            "in one look: {shut:?}"
        );
        let is_shut =
            |throttle| gate.ask(throttle, Question::default(), NOW).verdict.reason == Reason::Kill;
        let told: Vec<_> = ["c", "a", "b"].into_iter().map(is_shut).collect();
        assert!(told.is_sorted(), "one after the other: {told:?}");
        assert!(
            !shut[0] || told[0],
            "told {told:?} after all were seen shut"
        );
        all([killed]);
        assert!(
            ["a", "b", "c"].into_iter().all(is_shut),
            "in force before it returns"
        );
    });
}

/// The loop decides on what it saw; what was tightened behind that is not opened by it.
#[test]
fn whoever_did_not_know_of_a_tightening_does_not_open_it() {
    tried_all(|| {
        let gate = open(&["shop"]);
        gate.set(&name("shop"), setting(Level::new(0.5).unwrap()));
        let tightened = doing(&gate, |gate| {
            gate.tighten(&name("shop"), setting(Level::STOP))
        });
        let known = gate.tightenings();
        if gate
            .standing(&name("shop"))
            .is_some_and(|seen| seen.level != Level::STOP)
        {
            gate.set_knowing(&name("shop"), setting(Level::OPEN), known);
        }
        all([tightened]);
        assert_eq!(gate.standing(&name("shop")).unwrap().level, Level::STOP);
    });
}

#[test]
fn whoever_waits_for_a_hold_is_woken_by_each_that_is_newer() {
    tried(2_000, || {
        let gate = open(&["shop"]);
        let known = gate.tightenings();
        let threads = ["a", "b"].map(|epoch| {
            doing(&gate, move |gate| {
                gate.hold(&Scope::All, &hold(epoch), NOW.elapsed);
            })
        });
        block_on(gate.held_after(known));
        assert!(!kills(&gate, "shop").is_empty(), "in force by then");
        block_on(gate.held_after(known + 1));
        assert_eq!(kills(&gate, "shop").len(), 2);
        all(threads);
    });
}
