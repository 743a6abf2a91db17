//! The measured bite: when a gate counts as refusing another share than it should.

use echo_phoenix::decide::refusal_rate::{Counts, RefusalRate};
use echo_phoenix::domain::level::Level;
use proptest::prelude::*;

fn level(share: f64) -> Level {
    Level::new(share).unwrap_or(Level::STOP)
}

fn window(offered: u64, admitted: u64) -> Counts {
    Counts { offered, admitted }
}

/// What windows under one level come to.
fn after(share: f64, windows: &[(u64, u64)]) -> RefusalRate {
    windows
        .iter()
        .fold(RefusalRate::default(), |bite, (offered, admitted)| {
            bite.next(level(share), window(*offered, *admitted))
        })
}

#[test]
fn three_windows_in_a_row_prove_a_gate_wrong() {
    type Row = (f64, &'static [(u64, u64)], bool, Option<f64>);
    let table: [Row; 11] = [
        (0.25, &[], false, None),
        (0.25, &[(1000, 750); 5], false, Some(0.25)),
        (0.25, &[(1000, 1000); 2], false, Some(0.0)),
        (0.25, &[(1000, 1000); 3], true, Some(0.0)),
        (
            0.25,
            &[(1000, 1000), (1000, 1000), (1000, 750), (1000, 1000)],
            false,
            Some(0.0),
        ),
        (0.25, &[(1000, 771); 3], true, Some(0.229)),
        (0.25, &[(1000, 769); 3], false, Some(0.231)),
        // Two points are allowed, not a hair more.
        (0.02, &[(100, 100); 3], false, Some(0.0)),
        // Too little was asked: neither proof nor excuse.
        (0.25, &[(99, 99); 9], false, None),
        (
            0.25,
            &[(1000, 1000), (1000, 1000), (99, 10), (100, 100)],
            true,
            Some(0.0),
        ),
        // One that passes a full stop is one in a hundred; three are not.
        (1.0, &[(100, 3); 3], true, Some(0.97)),
    ];
    for (share, windows, off, refused) in table {
        let bite = after(share, windows);
        assert_eq!(bite.is_off(), off, "{share} {windows:?}");
        let near =
            |a: Option<f64>, b: Option<f64>| (a.unwrap_or(-1.0) - b.unwrap_or(-1.0)).abs() < 1e-9;
        assert!(near(bite.refused, refused), "{share} {windows:?}: {bite:?}");
    }
}

#[test]
fn a_window_is_what_was_counted_since_the_last() {
    assert_eq!(
        window(1_500, 1_100).beyond(window(500, 350)),
        window(1_000, 750)
    );
    assert_eq!(
        window(1_500, 1_100).beyond(Counts::default()),
        window(1_500, 1_100)
    );
    assert_eq!(
        window(5, 9).beyond(window(7, 4)),
        window(0, 5),
        "a count that ran backwards is none"
    );
}

proptest! {
    /// What the accumulator admits is never called wrong: it is within one request of the share.
    #[test]
    fn a_gate_that_obeys_is_never_called_wrong(share in 0.0..=1.0f64, windows in prop::collection::vec(0u64..100_000, 1..20)) {
        let admitted = |offered: u64| ((offered as f64) * (1.0 - share)).round() as u64;
        let windows: Vec<_> = windows.iter().map(|offered| (*offered, admitted(*offered))).collect();
        prop_assert!(!after(share, &windows).is_off());
    }

    /// Counts that run backwards or over do no harm.
    #[test]
    fn no_count_breaks_it(share in 0.0..=1.0f64, a: u64, b: u64, c: u64, d: u64) {
        let counts = window(a, b).beyond(window(c, d));
        let bite = RefusalRate::default().next(level(share), counts);
        prop_assert!(bite.refused.is_none_or(|refused| (0.0..=1.0).contains(&refused)));
    }
}
