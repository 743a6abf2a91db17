//! Opening a throttle that has no source of signals (control-law.md, "Evidence that is missing").
//!
//! Must not know signals or stress: there are none here, only time and what the gate was offered.

use super::law::Law;
use crate::domain::level::Level;

/// The level of a throttle without a declared source, `elapsed_seconds` after it stood at `current`.
///
/// A declaration at or above `current` holds at once. Below it the level follows by `ramp_percent_per_second` (percent
/// of the dial per second, default 2) alone, unless fewer than B requests a minute (`law.burst_rpm`) were offered since
/// the stop (`offered_rpm_since_stop`): then nothing is waiting and the declaration holds at once too.
/// Time or a ramp that is negative or not finite opens nothing; an offered rate that is no number counts as a crowd.
#[must_use]
pub fn open_without_source(
    current: Level,
    declared: Level,
    elapsed_seconds: f64,
    ramp_percent_per_second: f64,
    offered_rpm_since_stop: f64,
    law: &Law,
) -> Level {
    if declared >= current || offered_rpm_since_stop < law.burst_rpm {
        return declared;
    }
    let opened = earned(elapsed_seconds) * earned(ramp_percent_per_second) / 100.0;
    Level::saturating(current.fraction() - opened).safer(declared)
}

/// Only a finite, positive quantity argues for opening.
fn earned(quantity: f64) -> f64 {
    if quantity.is_finite() { quantity.max(0.0) } else { 0.0 }
}
