//! From a declaration back to the specification that would declare it: what `/v1/throttles` shows,
//! in a manifest's own words. Pure.

use super::crd::{
    Allow, Band, EchoThrottleSpec, GateKey, GateTarget, Ramp, ScaleTarget, SpecMode, SpecSignals,
    SpecTarget,
};
use super::crd_remote::RemoteTarget;
use crate::domain::level::Level;
use crate::domain::throttle::{
    AllowRule, GateSpec, Mode, RemoteSpec, ScaleSpec, SignalSpec, Spec, TargetSpec, bears_user,
};

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
        targets: targets.iter().map(target).collect(),
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

/// One target as a manifest declares it.
pub fn target(declared: &TargetSpec) -> SpecTarget {
    match declared {
        TargetSpec::Gate(gate) => SpecTarget {
            gate: Some(gate_rows(gate)),
            ..SpecTarget::default()
        },
        TargetSpec::Scale(scale) => SpecTarget {
            scale: Some(scale_rows(scale)),
            ..SpecTarget::default()
        },
        TargetSpec::Remote(remote) => SpecTarget {
            remote: Some(remote_rows(remote)),
            ..SpecTarget::default()
        },
    }
}

fn gate_rows(gate: &GateSpec) -> GateTarget {
    let allow = gate.allow.iter().map(|rule| {
        let AllowRule {
            method,
            path,
            even_while_killed,
        } = rule.clone();
        Allow {
            method,
            path,
            even_while_killed,
        }
    });
    GateTarget {
        key: gate.key_header.clone().map(|header| GateKey { header }),
        allow: allow.collect(),
        // One of a version that took a password is told without it.
        canary_url: gate.canary_url.clone().filter(|url| !bears_user(url)),
    }
}

fn scale_rows(scale: &ScaleSpec) -> ScaleTarget {
    let ScaleSpec {
        api_version,
        kind,
        name,
        proportional,
        min_replicas,
    } = scale.clone();
    ScaleTarget {
        api_version,
        kind,
        name,
        proportional,
        min_replicas,
    }
}

fn remote_rows(remote: &RemoteSpec) -> RemoteTarget {
    let RemoteSpec {
        url,
        api_key_env,
        throttle,
    } = remote.clone();
    RemoteTarget {
        url,
        api_key_env,
        throttle: throttle.to_string(),
    }
}

/// What was a whole number when it was declared.
#[allow(clippy::cast_possible_truncation, reason = "declared as an i32")]
fn whole(number: f64) -> i32 {
    number.round() as i32
}
