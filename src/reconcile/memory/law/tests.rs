//! What the law goes by: what earns, what is a stop, when a tick is over. Tests alone.

use super::*;
use crate::decide::precedence::most_restrictive;
use crate::decide::step::Situation;
use crate::decide::waiting::Waiting;
use crate::domain::throttle::{Declared, Mode, ThrottleName};

fn level(share: f64) -> Level {
    Level::new(share).unwrap()
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn memory(share: f64) -> LawMemory {
    LawMemory::new(level(share), Offered::new_throttle(), at(0))
}

/// Gates that were found at this level, and were offered this much since that time.
fn found(share: Option<f64>, rpm: f64, from: Option<u64>) -> FoundGates {
    FoundGates {
        level: share.map(level),
        held: false,
        measured: Some(Measured {
            rpm,
            from: from.map(at),
        }),
        unrecorded: false,
    }
}

fn next(share: f64, shedding: bool) -> NextLevel {
    NextLevel {
        level: level(share),
        reason: Reason::Target,
        shedding,
        credit: None,
        stale: false,
    }
}

fn keep(memory: &mut LawMemory, share: f64, asked: f64, seconds: u64) {
    let now = Moment {
        wall: Timestamp::UNIX_EPOCH,
        elapsed: at(seconds),
    };
    memory.keep(level(share), level(asked), next(share, false), now);
}

fn situation(memory: &LawMemory, seconds: u64) -> Situation {
    let throttle = Declared::bare(ThrottleName::default_throttle(), Level::OPEN);
    let want = most_restrictive(throttle.level, Mode::Enforce, &[]);
    memory.situations(&throttle, &want, at(seconds))[0]
}

#[test]
fn time_under_a_kill_earns_nothing() {
    let mut calm = memory(1.0);
    calm.spare(false, at(5));
    assert_eq!(situation(&calm, 20).elapsed_s, 20.0);
    let mut killed = memory(1.0);
    killed.spare(true, at(5));
    assert!(killed.killed);
    assert_eq!(situation(&killed, 20).elapsed_s, 15.0, "from the kill on");
    keep(&mut killed, 1.0, 1.0, 5);
    killed.spare(false, at(20));
    assert_eq!(situation(&killed, 20).elapsed_s, 0.0, "and from its end on");
    assert_eq!(situation(&killed, 20).credit_age_s, 0.0);
}

#[test]
fn a_level_found_above_the_loops_own_is_a_stop_unless_nobody_can_have_come() {
    let mut stopped = memory(0.2);
    stopped.found(found(Some(0.6), 0.0, Some(1)), at(7));
    assert_eq!(
        (stopped.level, stopped.offer.known_in(at(7))),
        (level(0.6), Some(Duration::from_millis(4_920)))
    );
    let mut lower = memory(0.6);
    lower.found(found(Some(0.2), 0.0, Some(1)), at(7));
    assert_eq!(lower.level, level(0.6), "a gate behind us is told");
    let mut fresh = memory(0.2);
    let unrecorded = FoundGates {
        unrecorded: true,
        ..found(Some(1.0), 0.0, Some(1))
    };
    fresh.found(unrecorded, at(7));
    assert_eq!(fresh.level, level(0.2), "it was shut until it was recorded");
    let mut held = memory(0.2);
    let kill = FoundGates {
        held: true,
        unrecorded: true,
        ..found(None, 0.0, None)
    };
    held.found(kill, at(7));
    assert_eq!(
        (held.level, held.offer.waiting(at(8))),
        (Level::STOP, Waiting::Unmeasured)
    );
}

#[test]
fn what_waits_is_known_when_a_window_is_whole() {
    let mut memory = memory(1.0);
    memory.found(found(None, 30.0, None), at(1));
    let first = Duration::from_millis(1_020);
    assert_eq!(
        memory.offer.known_in(at(1)),
        Some(first),
        "the first window is short"
    );
    memory.found(found(None, 30.0, Some(0)), at(5));
    assert_eq!(memory.offer.known_in(at(5)), None);
    assert_eq!(memory.offer.waiting(at(5)), Waiting::AtMost(30.0));
    assert_eq!(memory.offer.rpm(), 30.0);
}

#[test]
fn a_tick_is_measured_from_the_most_open_it_saw() {
    let mut memory = memory(0.2);
    keep(&mut memory, 0.4, 0.0, 0);
    assert_eq!(situation(&memory, 4).tick_level, level(0.2));
    keep(&mut memory, 0.1, 0.0, 4);
    keep(&mut memory, 0.5, 0.0, 4);
    assert_eq!(situation(&memory, 4).tick_level, level(0.1));
    assert_eq!(situation(&memory, 5).tick_level, level(0.5), "the next one");
}

#[test]
fn an_episode_of_shedding_has_a_begin_and_a_worst() {
    let mut memory = memory(0.0);
    let mut keep = |share: f64, shedding: bool, second: i64| {
        let wall = Timestamp::from_second(second).unwrap();
        let now = Moment {
            wall,
            elapsed: at(0),
        };
        memory.keep(level(share), Level::OPEN, next(share, shedding), now);
        memory.shed.map(|shed| (shed.since, shed.most))
    };
    let since = Timestamp::from_second(1).unwrap();
    assert_eq!(keep(0.4, true, 1), Some((since, level(0.4))));
    assert_eq!(keep(0.7, true, 2), Some((since, level(0.7))));
    assert_eq!(keep(0.5, true, 3), Some((since, level(0.7))));
    assert_eq!(keep(0.1, false, 4), None);
}
