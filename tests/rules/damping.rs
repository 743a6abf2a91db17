//! How often two writers that fight are corrected: five times at once, then 2, 4, 8 … 60 s apart.

use std::time::Duration;

use echo_phoenix::decide::damping::Damping;
use proptest::prelude::*;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// When corrections are made if one is wanted every second.
fn made(seconds: u64) -> Vec<u64> {
    let mut damping = Damping::default();
    (0..seconds)
        .filter(|second| {
            let allowed = damping.allows(at(*second));
            if allowed {
                damping.corrected(at(*second));
            }
            allowed
        })
        .collect()
}

#[test]
fn a_fight_is_slowed_down_to_a_minute() {
    let made = made(190);
    let gaps: Vec<_> = made.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [1, 1, 1, 1, 2, 4, 8, 16, 32, 60, 60], "{made:?}");
}

#[test]
fn ten_minutes_later_it_is_forgotten() {
    let mut damping = Damping::default();
    (0..5).for_each(|second| damping.corrected(at(second)));
    assert!(!damping.allows(at(5)), "two seconds after the fifth");
    assert!(damping.allows(at(6)));
    (6..8).for_each(|second| damping.corrected(at(second)));
    assert!(
        !damping.allows(at(7 + 7)) && damping.allows(at(7 + 8)),
        "eight seconds after the seventh"
    );
    // The window is left one by one: three of the first five are too old now, and four are not
    // five.
    assert!(damping.allows(at(602)));
}

#[test]
fn the_tenth_minute_is_outside_the_window() {
    let mut damping = Damping::default();
    damping.corrected(at(0));
    (596..600).for_each(|second| damping.corrected(at(second)));
    assert!(!damping.allows(at(599)), "five");
    assert!(
        damping.allows(at(600)),
        "what is exactly ten minutes old does not count: four"
    );
    let mut damping = Damping::default();
    damping.corrected(at(1));
    (597..601).for_each(|second| damping.corrected(at(second)));
    assert!(!damping.allows(at(600)), "five");
}

proptest! {
    /// Nobody waits for more than a minute, and whatever was corrected an hour ago does not count.
    #[test]
    fn no_wait_is_longer_than_a_minute(corrections in prop::collection::vec(0u64..1_000, 0..200)) {
        let mut damping = Damping::default();
        let mut sorted = corrections;
        sorted.sort_unstable();
        sorted.iter().for_each(|second| damping.corrected(at(*second)));
        let last = sorted.last().copied().unwrap_or(0);
        prop_assert!(damping.allows(at(last + 60)));
    }
}
