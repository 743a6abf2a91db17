//! The next level in force: which of kill, control law and plain ramp decides, and what a silent
//! source means.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::decide::law::{Credit, Law};
use echo_phoenix::decide::step::{NextLevel, Situation, next_level, worst};
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::decide::waiting::Waiting;
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::observation::Signals;
use echo_phoenix::domain::throttle::SignalSpec;
use proptest::prelude::*;

fn level(share: f64) -> Level {
    Level::new(share).unwrap()
}

/// Nothing was measured, a busy gate stands at `current`, and one tick has passed.
fn busy(current: f64, asked: f64) -> Situation {
    Situation {
        asked: level(asked),
        killed: false,
        current: level(current),
        tick_level: level(current),
        signals: None,
        source_declared: false,
        offered_rpm: 6_000.0,
        waiting: Waiting::AtMost(6_000.0),
        credit: Credit::FULL,
        credit_age_s: 5.0,
        elapsed_s: 5.0,
        ramp_percent_per_second: 2.0,
    }
}

fn signals(error_rate: f64) -> Option<Signals> {
    Some(Signals {
        throttle_pct: 0.0,
        error_rate,
        latency_p99_ms: 100.0,
        requests_per_minute: 0.0,
        phi_static: 0.5,
        phi_dynamic: 0.5,
        temperature: 0.85,
        susceptibility: 2.0,
    })
}

fn next(s: &Situation) -> NextLevel {
    next_level(&Law::default(), s)
}

#[test]
fn a_kill_stops_whatever_else_is_known() {
    let killed = Situation {
        killed: true,
        signals: signals(0.0),
        ..busy(0.0, 0.0)
    };
    let stop = NextLevel {
        level: Level::STOP,
        reason: Reason::Kill,
        shedding: false,
        credit: None,
        stale: false,
    };
    assert_eq!(next(&killed), stop);
    assert_eq!(
        next(&Situation {
            source_declared: true,
            ..killed
        }),
        stop
    );
}

#[test]
fn without_a_source_the_ramp_alone_opens() {
    let opening = next(&busy(1.0, 0.0));
    assert_eq!(
        (opening.level, opening.reason),
        (level(0.9), Reason::Target)
    );
    assert_eq!(
        (opening.shedding, opening.credit, opening.stale),
        (false, None, false)
    );
    let open = next(&busy(0.1, 0.0));
    assert_eq!((open.level, open.reason), (Level::OPEN, Reason::None));
    assert_eq!(
        next(&busy(0.2, 0.7)).level,
        level(0.7),
        "closing waits for nothing"
    );
    let nobody_waits = Situation {
        waiting: Waiting::AtMost(0.0),
        offered_rpm: 0.0,
        ..busy(1.0, 0.0)
    };
    assert_eq!(next(&nobody_waits).level, Level::OPEN);
}

#[test]
fn a_source_that_is_silent_leaves_a_probe_open_and_no_more() {
    let silent = |current, asked| {
        next(&Situation {
            source_declared: true,
            ..busy(current, asked)
        })
    };
    assert_eq!(
        silent(1.0, 0.0),
        NextLevel {
            level: level(0.9),
            stale: true,
            ..next(&busy(1.0, 0.0))
        }
    );
    assert_eq!(
        silent(0.95, 0.0).level,
        level(0.9),
        "down to where automation alone would close"
    );
    assert_eq!(silent(0.9, 0.0).level, level(0.9), "and there it holds");
    assert_eq!(
        silent(0.3, 0.0).level,
        level(0.3),
        "what was open stays open: nothing closes on silence"
    );
    assert_eq!(
        silent(0.3, 0.8).level,
        level(0.8),
        "a declaration always closes"
    );
    let nobody_waits = Situation {
        source_declared: true,
        waiting: Waiting::AtMost(0.0),
        ..busy(1.0, 0.0)
    };
    assert_eq!(
        next(&nobody_waits).level,
        level(0.9),
        "not even where nothing is waiting"
    );
    let speaks = Situation {
        source_declared: true,
        signals: signals(0.0),
        ..busy(0.9, 0.0)
    };
    assert!(next(&speaks).level < level(0.9) && !next(&speaks).stale);
}

#[test]
fn a_limit_that_is_no_share_opens_nothing() {
    let silent = Situation {
        source_declared: true,
        ..busy(1.0, 0.0)
    };
    for automatic_most in [f64::NAN, f64::INFINITY, 1.5] {
        let law = Law {
            automatic_most,
            ..Law::default()
        };
        assert_eq!(
            next_level(&law, &silent).level,
            Level::STOP,
            "a brake fails closed: {automatic_most}"
        );
    }
}

#[test]
fn what_was_measured_decides_and_says_so() {
    // The worked table of control-law.md: u 0, e .05, r 6000, pd .5 gives 0.1815.
    let errors = next(&Situation {
        signals: signals(0.05),
        ..busy(0.0, 0.0)
    });
    assert!(
        (errors.level.fraction() - 0.1815).abs() < 5e-5,
        "{errors:?}"
    );
    assert_eq!((errors.reason, errors.shedding), (Reason::Errors, true));
    assert!(errors.credit.is_some() && !errors.stale);
    // What was declared is not shedding, nor is what opens.
    let declared = next(&Situation {
        signals: signals(0.05),
        ..busy(0.5, 0.5)
    });
    assert_eq!((declared.level, declared.shedding), (level(0.5), false));
    let to_the_same = next(&Situation {
        signals: signals(0.05),
        ..busy(0.0, errors.level.fraction())
    });
    assert_eq!(
        (to_the_same.level, to_the_same.shedding),
        (errors.level, false),
        "declared by people, to the very same"
    );
    let opens = next(&Situation {
        signals: signals(0.0),
        ..busy(1.0, 0.0)
    });
    assert!(
        (opens.level.fraction() - 0.95).abs() < 1e-9 && !opens.shedding,
        "{opens:?}"
    );
    let calm = next(&Situation {
        signals: signals(0.0),
        ..busy(0.0, 0.0)
    });
    assert_eq!(
        (calm.level, calm.reason, calm.shedding),
        (Level::OPEN, Reason::None, false)
    );
    // The gates' own counters refuse what a rosy body asks for: nobody was said to be there, 6,000
    // a minute were.
    let rosy = Situation {
        signals: signals(0.0),
        waiting: Waiting::AtMost(0.0),
        ..busy(1.0, 0.0)
    };
    assert!((next(&rosy).level.fraction() - 0.95).abs() < 1e-9);
}

/// A lull of one tick during a storm: nobody came, but many had come since the stop.
#[test]
fn a_lull_does_not_fling_it_open() {
    let lull = Situation {
        signals: signals(0.0),
        offered_rpm: 0.0,
        ..busy(1.0, 0.0)
    };
    assert!(
        (next(&lull).level.fraction() - 0.95).abs() < 1e-9,
        "with a source"
    );
    assert_eq!(
        next(&Situation {
            signals: None,
            ..lull
        })
        .level,
        level(0.9),
        "and without"
    );
}

#[test]
fn what_is_not_known_never_means_empty() {
    for signals in [None, signals(0.0)] {
        let idle = Situation {
            signals,
            offered_rpm: 0.0,
            waiting: Waiting::AtMost(0.0),
            ..busy(1.0, 0.0)
        };
        assert_eq!(next(&idle).level, Level::OPEN, "nothing is waiting");
        let unknown = next(&Situation {
            waiting: Waiting::Unknown,
            ..idle
        });
        assert!(
            unknown.level >= level(0.9) && unknown.level < Level::STOP,
            "the ramp: {unknown:?}"
        );
        let unmeasured = next(&Situation {
            waiting: Waiting::Unmeasured,
            ..idle
        });
        assert_eq!(
            (unmeasured.level, unmeasured.credit),
            (Level::STOP, None),
            "nothing opens, no credit is spent"
        );
    }
    // And what closes, closes all the same.
    let errors = Situation {
        signals: signals(1.0),
        waiting: Waiting::Unmeasured,
        ..busy(0.0, 0.0)
    };
    assert_eq!(next(&errors).level, level(0.5));
    assert_eq!(
        next(&Situation {
            asked: level(0.7),
            ..errors
        })
        .level,
        level(0.7)
    );
}

#[test]
fn within_a_tick_automation_halves_once_however_often_it_is_asked() {
    let mut s = Situation {
        signals: signals(1.0),
        elapsed_s: 0.03,
        ..busy(0.0, 0.0)
    };
    let mut levels = Vec::new();
    for _ in 0..4 {
        s.current = next(&s).level;
        levels.push(s.current.fraction());
    }
    assert_eq!(levels, [0.5; 4]);
    s.tick_level = s.current;
    assert_eq!(
        next(&s).level,
        level(0.75),
        "the next tick halves what is left"
    );
    // What is declared, and what is in force already, is no matter of ticks.
    let declared = Situation {
        asked: level(0.9),
        ..s
    };
    assert_eq!(next(&declared).level, level(0.9));
    let above = Situation {
        current: level(0.8),
        tick_level: Level::OPEN,
        ..s
    };
    assert_eq!(next(&above).level, level(0.8));
}

#[test]
fn of_several_sources_the_worst_word_wins() {
    let law = Law::default();
    let of = |error_rate| Situation {
        signals: signals(error_rate),
        ..busy(0.3, 0.0)
    };
    let (calm, alarm) = (of(0.0), of(1.0));
    let wanted = next(&alarm);
    assert!(wanted.level > next(&calm).level && wanted.shedding);
    assert_eq!(worst(&law, &[calm, alarm]), wanted);
    assert_eq!(worst(&law, &[alarm, calm]), wanted);
    assert_eq!(worst(&law, &[calm]), next(&calm));
    let nobody = worst(&law, &[]);
    assert_eq!(
        (nobody.level, nobody.reason, nobody.shedding),
        (Level::STOP, Reason::Unknown, false)
    );
    // Of equal levels the one that sheds is told.
    let shut = Situation {
        asked: Level::STOP,
        ..busy(1.0, 1.0)
    };
    let sheds = Situation {
        signals: signals(1.0),
        ..busy(0.5, 0.0)
    };
    let half = Situation { ..busy(0.75, 0.75) };
    assert_eq!(worst(&law, &[sheds, half]), next(&sheds));
    assert_eq!(worst(&law, &[half, sheds]), next(&sheds));
    assert_eq!(worst(&law, &[shut, sheds]), next(&shut));
}

#[test]
fn a_throttle_may_have_thresholds_of_its_own() {
    let signals_of = |errors, latency_ms| {
        Law::default().of(&SignalSpec {
            source: None,
            errors,
            latency_ms,
        })
    };
    assert_eq!(signals_of(None, None), Law::default());
    let strict = signals_of(Some((0.0, 0.01)), None);
    assert_eq!((strict.error_low, strict.error_high), (0.0, 0.01));
    assert_eq!(
        (strict.latency_low_ms, strict.latency_high_ms),
        (250.0, 1000.0)
    );
    let slow = signals_of(None, Some((2_000.0, 4_000.0)));
    assert_eq!(
        (slow.latency_low_ms, slow.latency_high_ms, slow.error_low),
        (2_000.0, 4_000.0, 0.01)
    );
    let situation = Situation {
        signals: signals(0.009),
        ..busy(0.0, 0.0)
    };
    assert_eq!(next(&situation).level, Level::OPEN);
    assert!(
        next_level(&strict, &situation).level > level(0.4),
        "the same errors are many for this one"
    );
}

proptest! {
    /// However things stand, silence opens no further than a tenth.
    #[test]
    fn silence_opens_no_further_than_a_tenth(current in 0.0..=1.0f64, asked in 0.0..=1.0f64, ramp in 1.0..=100.0f64, waited in 0.0..100.0f64) {
        let s = Situation { source_declared: true, ramp_percent_per_second: ramp, elapsed_s: waited, ..busy(current, asked) };
        let after = next(&s).level;
        prop_assert!(after >= level(asked));
        prop_assert!(after >= level(current).min(level(0.9)));
    }
}
