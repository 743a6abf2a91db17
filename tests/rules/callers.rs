//! Callers with a key: how many there were, whether each was told what the level gives it, and what
//! a level over callers comes to in requests.

use echo_phoenix::decide::callers::{Callers, Sample};
use echo_phoenix::decide::verdict::{Salt, point};
use echo_phoenix::domain::level::Level;
use proptest::prelude::*;

const SECRET: &[u8] = b"another";

fn level(share: f64) -> Level {
    Level::new(share).unwrap_or(Level::STOP)
}

/// Where a caller stands in an hour.
fn at(hour: i64, caller: usize) -> u32 {
    point(
        &Salt::of(SECRET, hour * 3600),
        "checkout",
        format!("caller-{caller}").as_bytes(),
    )
}

#[test]
fn a_handful_of_callers_is_counted_and_many_are_estimated_in_two_kilobytes() {
    assert!(size_of::<Callers>() <= 2048 + 8, "{}", size_of::<Callers>());
    for (number, off) in [
        (0, 0),
        (1, 0),
        (3, 0),
        (10, 0),
        (50, 1),
        (1_000, 50),
        (10_000, 700),
        (200_000, 14_000),
    ] {
        let callers = Callers::default();
        for caller in 0..number {
            // However often one comes, and wherever it stands, it is one.
            (0..if number <= 1_000 { 3 } else { 1 }).for_each(|_| callers.saw(7, at(7, caller)));
        }
        let seen = callers.seen(7);
        assert!(seen.abs_diff(number as u64) <= off, "{number}: {seen}");
    }
}

#[test]
fn each_hour_is_counted_afresh() {
    let callers = Callers::default();
    (0..100).for_each(|caller| callers.saw(7, at(7, caller)));
    assert_eq!(callers.seen(8), 0, "nobody yet");
    callers.saw(8, at(8, 1));
    assert_eq!((callers.seen(8), callers.seen(7)), (1, 0));
    callers.saw(-1, at(-1, 1));
    assert_eq!(callers.seen(-1), 1, "a clock that went back");
}

proptest! {
    #[test]
    fn no_points_break_the_estimate(points in prop::collection::vec(any::<u32>(), 0..400)) {
        let callers = Callers::default();
        points.iter().for_each(|point| callers.saw(0, *point));
        let distinct = points.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
        prop_assert!(callers.seen(0).abs_diff(distinct) <= 10 + distinct / 5);
    }

    /// What was told by the rule is never called wrong, whatever it was and whatever was told under
    /// others.
    #[test]
    fn a_gate_that_obeys_is_never_contradicted(share in 0.0..=1.0f64, points in prop::collection::vec(any::<u32>(), 0..200), others in prop::collection::vec((any::<u32>(), any::<bool>(), 0_u64..9), 0..50)) {
        let (sample, in_force) = (Sample::default(), level(share));
        for (number, (point, admitted, changes)) in others.into_iter().enumerate() {
            sample.keep(number as u64, point, changes, admitted);
        }
        for (number, point) in points.iter().enumerate() {
            sample.keep(number as u64, *point, 9, u64::from(*point) >= in_force.refusal_q32());
        }
        prop_assert!(!sample.contradicts(in_force, 9));
    }

    /// One caller that was told otherwise is enough, at every level.
    #[test]
    fn one_wrong_verdict_is_found(share in 0.0..=1.0f64, point: u32, number: u64, changes in 0_u64..1_000_000) {
        let (sample, in_force) = (Sample::default(), level(share));
        sample.keep(number, point, changes, u64::from(point) < in_force.refusal_q32());
        prop_assert!(sample.contradicts(in_force, changes));
        prop_assert!(!sample.contradicts(in_force, changes + 1), "it was told under another rule");
    }
}

#[test]
fn a_sample_without_verdicts_contradicts_nothing_and_the_last_ones_count() {
    let sample = Sample::default();
    assert!(
        ![0.0, 0.5, 1.0]
            .into_iter()
            .any(|share| sample.contradicts(level(share), 0))
    );
    sample.keep(0, 1, 5, true);
    assert!(sample.contradicts(level(0.5), 5));
    (0..64).for_each(|number| sample.keep(number, u32::MAX, 5, true));
    assert!(!sample.contradicts(level(0.5), 5), "old verdicts go");
    assert!(
        sample.contradicts(Level::STOP, 5),
        "a full stop, and a kill, admit nobody"
    );
}

const HOURS: i64 = 1_000;

/// Callers, all alike or the nth one asking n^-1.1 as often as the first.
const POPULATIONS: [(&str, usize, f64); 5] = [
    ("3", 3, 0.0),
    ("10", 10, 0.0),
    ("50", 50, 0.0),
    ("1,000", 1_000, 0.0),
    ("1,000, Zipf 1.1", 1_000, 1.1),
];

/// A row of the table: the share of requests that a level of 25 % comes to, over many hours in
/// which these were refused.
fn row(hours: &[Vec<bool>], (name, number, exponent): (&str, usize, f64)) -> String {
    let weights: Vec<f64> = (1..=number)
        .map(|rank| (rank as f64).powf(-exponent))
        .collect();
    let whole = weights.iter().sum::<f64>();
    let share = |refused: &Vec<bool>| {
        let refused = weights
            .iter()
            .zip(refused)
            .filter(|(_, refused)| **refused)
            .map(|(weight, _)| weight);
        refused.fold(0.0, |sum, weight| sum + weight) / whole
    };
    let mut shares: Vec<f64> = hours.iter().map(share).collect();
    shares.sort_by(f64::total_cmp);
    let percent = |part: f64| {
        format!(
            "{:.0}",
            shares[(part * (shares.len() - 1) as f64) as usize] * 100.0
        )
    };
    let nobody = shares.iter().filter(|share| **share == 0.0).count() * 100 / shares.len();
    format!(
        "| {name} | {} % | {} to {} % | {} % | {nobody} |",
        percent(0.5),
        percent(0.05),
        percent(0.95),
        percent(1.0)
    )
}

#[test]
fn the_table_of_spreads_is_what_the_gate_does() {
    let refuse = level(0.25).refusal_q32();
    let names: Vec<_> = (0..1_000)
        .map(|caller| format!("caller-{caller}"))
        .collect();
    let refused = |hour: i64| -> Vec<bool> {
        let salt = Salt::of(SECRET, hour * 3600);
        names
            .iter()
            .map(|name| u64::from(point(&salt, "checkout", name.as_bytes())) < refuse)
            .collect()
    };
    let hours: Vec<_> = (480_000..480_000 + HOURS).map(refused).collect();
    let rows = POPULATIONS.map(|population| row(&hours, population));
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/callers.md"))
        .unwrap_or_default();
    assert!(
        rows.iter().all(|row| page.contains(row)),
        "docs/callers.md is to say:\n{}",
        rows.join("\n")
    );
}
