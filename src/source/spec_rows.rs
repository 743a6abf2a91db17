//! From a declaration back to the specification that would declare it: what `/v1/throttles` shows,
//! in a manifest's own words. Pure.

use super::crd::{Band, EchoThrottleSpec, Ramp, SpecMode, SpecSignals};
use super::crd_target::SpecTarget;
use crate::domain::level::Level;
use crate::domain::throttle::{Mode, SignalSpec, Spec};

/// The specification of a level and what else is declared. Without a kill: holds tell that. Whole
/// percent, rounded up.
pub fn spec(level: Level, declared: &Spec) -> EchoThrottleSpec {
    let Spec {
        mode,
        ramp_percent_per_second,
        targets,
        signals,
    } = declared;
    EchoThrottleSpec {
        throttle_percent: level.percent_ceil(),
        kill: None,
        mode: match mode {
            Mode::Enforce => SpecMode::Enforce,
            Mode::Observe => SpecMode::Observe,
        },
        ramp: Ramp {
            max_percent_per_second: whole(*ramp_percent_per_second),
        },
        signals: (*signals != SignalSpec::default()).then(|| signal_rows(signals)),
        targets: targets.iter().map(SpecTarget::from).collect(),
    }
}

fn signal_rows(signals: &SignalSpec) -> SpecSignals {
    let band = |band: Option<(f64, f64)>, unit: f64| {
        band.map(|(calm, full)| Band {
            calm: whole(calm * unit),
            full: whole(full * unit),
        })
    };
    SpecSignals {
        source: signals.source.clone(),
        errors_per_thousand: band(signals.errors, 1000.0),
        latency_ms: band(signals.latency_ms, 1.0),
    }
}

/// What was a whole number when it was declared.
#[allow(clippy::cast_possible_truncation, reason = "declared as an i32")]
fn whole(number: f64) -> i32 {
    number.round() as i32
}
