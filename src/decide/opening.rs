//! Opening a throttle that has no source of signals (control-law.md, "Evidence that is missing").
//!
//! Must not know signals or stress: there are none here, only time and what the gate was offered.

use super::law::Law;
use super::waiting::Waiting;
use crate::domain::level::Level;

/// The level of a throttle without a declared source, `elapsed_seconds` after it stood at
/// `current`.
///
/// A declaration at or above `current` holds at once. Below it the level follows by
/// `ramp_percent_per_second` (percent of the dial per second, default 2) alone, unless fewer than B
/// requests a minute (`law.burst_rpm`) may be waiting: then nothing is, and the declaration holds
/// at once too. While that is being measured nothing opens. Time or a ramp that is negative or not
/// finite opens nothing; an offered rate that is no number counts as a crowd.
#[must_use]
pub fn open_without_source(
    current: Level,
    declared: Level,
    elapsed_seconds: f64,
    ramp_percent_per_second: f64,
    waiting: Waiting,
    law: &Law,
) -> Level {
    if declared >= current {
        return declared;
    }
    match waiting {
        Waiting::Unmeasured => return current,
        Waiting::AtMost(rpm) if rpm < law.burst_rpm => return declared,
        Waiting::AtMost(_) | Waiting::Unknown => {}
    }
    let opened = earned(elapsed_seconds) * earned(ramp_percent_per_second) / 100.0;
    Level::saturating(current.fraction() - opened).safer(declared)
}

/// Only a finite, positive quantity argues for opening.
fn earned(quantity: f64) -> f64 {
    if quantity.is_finite() {
        quantity.max(0.0)
    } else {
        0.0
    }
}
