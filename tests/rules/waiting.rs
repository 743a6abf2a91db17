//! What may be waiting behind a throttle: a whole window since the stop, the hour before it, and
//! never a guess.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use echo_phoenix::decide::waiting::{Measured, Waiting, Window, waiting};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::offered::{Offered, SLOTS};
use proptest::prelude::*;

fn level(share: f64) -> Level {
    Level::new(share).unwrap()
}

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Counts of a gate that is asked for `rpm` a minute, taken at these seconds.
fn window(rpm: f64, seconds: &[f64]) -> Measured {
    let mut window = Window::default();
    for second in seconds {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count"
        )]
        window.count(at(*second), (rpm * second / 60.0) as u64);
    }
    window.measured()
}

#[test]
fn the_first_window_is_whole_after_two_seconds_and_a_later_one_after_five() {
    assert_eq!(
        window(0.0, &[]),
        Measured {
            rpm: 0.0,
            from: None
        }
    );
    assert_eq!(window(0.0, &[1.0]).from, None);
    assert_eq!(window(0.0, &[1.0, 2.9]).from, None);
    assert_eq!(window(0.0, &[1.0, 3.0]).from, Some(at(1.0)));
    assert_eq!(window(0.0, &[1.0, 3.0, 5.0, 5.95]).from, Some(at(1.0)));
    // From then on it moves, and is never shorter.
    assert_eq!(window(0.0, &[1.0, 3.0, 5.0, 8.0]).from, Some(at(3.0)));
    assert_eq!(
        window(0.0, &[1.0, 6.0, 6.5, 7.0, 10.95]).from,
        Some(at(6.0))
    );
}

#[test]
fn a_rate_is_of_the_last_seconds_the_latest_included() {
    assert!(
        window(12_000.0, &[0.0, 2.0]).rpm > 4_000.0,
        "as if the rest were silence"
    );
    assert_eq!(
        window(60.0, &[0.0, 2.0]).from,
        None,
        "two within two seconds may be the begin of a crowd"
    );
    assert_eq!(window(30.0, &[0.0, 2.0]).from, Some(at(0.0)));
    assert_eq!(window(60.0, &[0.0, 2.0, 4.95]).from, Some(at(0.0)));
    assert!((window(12_000.0, &[0.0, 5.0, 10.0, 15.0]).rpm - 12_000.0).abs() < 1.0);
    let mut burst = Window::default();
    for (second, count) in [(0.0, 0), (5.0, 0), (10.0, 0), (10.5, 400)] {
        burst.count(at(second), count);
    }
    assert!(
        burst.measured().rpm > 2_000.0,
        "what came half a second ago counts: {:?}",
        burst.measured()
    );
}

proptest! {
    /// However often a loop is woken, a window is short and keeps what came in it.
    #[test]
    fn a_window_forgets_nobody_within_it(steps in prop::collection::vec((1_u64..3_000, 0_u64..50), 2..200)) {
        let (mut window, mut now, mut all) = (Window::default(), 0, Vec::new());
        for (pause, came) in &steps {
            now += pause;
            all.push((now, all.last().map_or(0, |(_, sum)| *sum) + came));
            window.count(Duration::from_millis(now), all.last().unwrap().1);
        }
        let Measured { rpm, from } = window.measured();
        if let Some(from) = from {
            let from = u64::try_from(from.as_millis()).unwrap();
            let length = now - from;
            let since = all.iter().find(|(at, _)| *at == from).unwrap().1;
            let came = all.last().unwrap().1 - since;
            let least = if came < 2 { 2_000 } else { 4_900 };
            prop_assert!(length >= least);
            prop_assert!((rpm - came as f64 * 60_000.0 / length.max(4_900) as f64).abs() < 1e-6 * (1.0 + rpm));
        }
    }
}

#[test]
fn nothing_is_known_before_a_window_is_whole_since_the_stop() {
    let idle = Offered::new_throttle();
    let measured = |from: Option<f64>| {
        Some(Measured {
            rpm: 0.0,
            from: from.map(at),
        })
    };
    let known = |from, now| waiting(&idle, measured(from), at(100.0), at(now));
    assert_eq!(known(None, 101.0), Waiting::Unmeasured);
    assert_eq!(
        known(Some(99.0), 104.0),
        Waiting::Unmeasured,
        "it began before the stop"
    );
    assert_eq!(known(Some(100.0), 105.0), Waiting::AtMost(0.0));
    assert_eq!(
        known(None, 130.0),
        Waiting::Unknown,
        "a gate that never tells is not waited for for ever"
    );
    assert_eq!(
        waiting(&idle, None, at(100.0), at(200.0)),
        Waiting::Unknown,
        "no gate, no knowledge"
    );
    assert_eq!(
        waiting(
            &Offered::unknown(),
            measured(Some(100.0)),
            at(100.0),
            at(105.0)
        ),
        Waiting::Unknown
    );
}

#[test]
fn a_stop_keeps_the_hour_before_it_and_the_most_since_until_the_declaration_is_reached() {
    let (open, stop) = (Level::OPEN, Level::STOP);
    let mut offered = Offered::new_throttle();
    offered.note(600.0);
    offered = offered.moved(open, stop, stop);
    assert_eq!(offered.peak(), Some(600.0));
    offered.note(2_400.0);
    offered.note(0.0);
    assert_eq!(offered.peak(), Some(2_400.0), "a lull makes nobody go");
    offered.turn(100);
    assert_eq!(offered.peak(), Some(2_400.0), "nor does an hour");
    offered = offered.moved(stop, level(0.4), open);
    assert_eq!(offered.peak(), Some(2_400.0), "nor a part of the way");
    let again = offered.moved(level(0.4), level(0.8), level(0.8));
    assert_eq!(again.peak(), Some(2_400.0), "nor another stop on it");
    let shed = offered.moved(level(0.4), level(0.7), open);
    assert_eq!(
        shed.peak(),
        Some(2_400.0),
        "automation that closes is no stop"
    );
    let reached = offered.moved(level(0.4), open, open);
    assert_eq!(
        reached.peak(),
        Some(0.0),
        "and once it is reached, the last hour alone counts"
    );
}

#[test]
fn an_hour_is_thirteen_times_five_minutes() {
    let mut offered = Offered::new_throttle();
    offered.note(900.0);
    for _ in 0..SLOTS - 1 {
        offered.turn(1);
        assert_eq!(offered.peak(), Some(900.0));
    }
    offered.turn(1);
    assert_eq!(offered.peak(), Some(0.0));
    let mut unknown = Offered::unknown();
    unknown.note(900.0);
    unknown.turn(SLOTS - 1);
    assert_eq!(
        unknown.peak(),
        None,
        "an hour that was not measured whole is not known"
    );
    unknown.turn(1);
    assert_eq!(unknown.peak(), Some(0.0));
}

#[test]
fn what_is_stored_comes_back_and_what_is_damaged_is_unknown() {
    let mut offered = Offered::new_throttle();
    offered.note(1_234.5);
    let stopped = offered.moved(Level::OPEN, Level::STOP, Level::STOP);
    for one in [&offered, &stopped, &Offered::unknown()] {
        let back: Offered = serde_json::from_str(&serde_json::to_string(one).unwrap()).unwrap();
        assert_eq!(&back, one);
    }
    let short: Offered = serde_json::from_str(r#"{"hour":[0.0],"stop":null}"#).unwrap();
    assert_eq!(short.peak(), None);
    let negative: Offered =
        serde_json::from_str(r#"{"hour":[],"stop":{"floor":-1.0,"since":0.0}}"#).unwrap();
    assert_eq!(negative.peak(), None);
    let mut crowd = Offered::new_throttle();
    crowd.note(f64::NAN);
    assert_eq!(crowd.peak(), Some(f64::MAX), "what is no number is a crowd");
}

#[test]
fn only_what_says_more_is_written_again() {
    let kept = Offered::new_throttle();
    let noted = |rpm: f64| {
        let mut next = kept.clone();
        next.note(rpm);
        next
    };
    assert!(!noted(0.0).says_more_than(&kept) && !noted(1.0).says_more_than(&kept));
    assert!(noted(60.0).says_more_than(&kept));
    assert!(
        !noted(62.0).says_more_than(&noted(60.0)),
        "a tenth more reads the same"
    );
    assert!(noted(70.0).says_more_than(&noted(60.0)));
    assert!(
        kept.moved(Level::OPEN, Level::STOP, Level::STOP)
            .says_more_than(&kept)
    );
    assert!(kept.says_more_than(&Offered::unknown()));
}
