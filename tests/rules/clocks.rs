//! What is forgotten by a date waits until the wall clock has run beside the monotonic one for ten
//! minutes.

use std::time::Duration;

use echo_phoenix::decide::clocks::Agreement;
use echo_phoenix::domain::moment::Moment;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

/// A look at `seconds` of the monotonic clock, with a wall clock that is `off` seconds from where
/// it began.
fn look(seconds: u64, off: i64) -> Moment {
    let start = Timestamp::from_second(1_800_000_000).unwrap_or_default();
    let shown = i64::try_from(seconds).unwrap_or(0) + off;
    Moment {
        wall: start + SignedDuration::from_secs(shown),
        elapsed: Duration::from_secs(seconds),
    }
}

/// Whether the wall clock is believed at the last of these looks.
fn believed(looks: &[Moment]) -> bool {
    let agreed = looks
        .iter()
        .fold(None, |before, now| Some(Agreement::seen(before, *now)));
    agreed
        .zip(looks.last())
        .is_some_and(|(agreed, now)| agreed.is_long(*now))
}

#[test]
fn a_wall_clock_is_believed_after_ten_minutes() {
    let minutes = |n: u64| {
        (0..=n)
            .map(|minute| look(minute * 60, 0))
            .collect::<Vec<_>>()
    };
    assert!(!believed(&minutes(0)) && !believed(&minutes(9)));
    assert!(believed(&minutes(10)) && believed(&minutes(11)));
}

#[test]
fn a_step_either_way_begins_anew() {
    const YEAR: i64 = 365 * 86_400;
    for step in [3, 3_600, -3_600, YEAR, -YEAR] {
        let mut looks: Vec<_> = (0..=30).map(|minute| look(minute * 60, 0)).collect();
        looks.extend((31..=40).map(|minute| look(minute * 60, step)));
        assert!(!believed(&looks), "{step} s: nine minutes after it");
        looks.push(look(41 * 60, step));
        assert!(believed(&looks), "{step} s: ten minutes after it");
        // And back again.
        looks.push(look(42 * 60, 0));
        assert!(!believed(&looks), "{step} s and back");
    }
}

proptest! {
    /// A clock that is slewed, a second in a minute, is not one that is set.
    #[test]
    fn a_slewed_clock_is_believed(drift in -1_i64..=1) {
        let looks: Vec<_> = (0..=10).map(|minute| look(minute * 60, i64::try_from(minute).unwrap_or(0) * drift)).collect();
        prop_assert!(believed(&looks));
    }
}
