//! What was seen of a throttled system at one moment, as the law reads it (control-law.md,
//! "Inputs").
//!
//! Must not know where the numbers came from (a request body, a metrics source, the gate's own
//! counters), how old they are, or what the law makes of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::level::Level;

/// The signals of one evaluation. Plain numbers until [`Signals::validate`] has seen them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)] // a misspelt signal would be a calm one
pub struct Signals {
    /// u: share of work refused now, a fraction 0..=1.
    #[schemars(range(min = 0, max = 1))]
    pub throttle_pct: f64,
    /// e: failed share of the admitted requests, a fraction 0..=1.
    #[schemars(range(min = 0, max = 1))]
    pub error_rate: f64,
    /// L: 99th percentile of the latency of admitted requests, milliseconds, >= 0.
    #[schemars(range(min = 0))]
    pub latency_p99_ms: f64,
    /// r: requests offered at the gate, per minute, >= 0. Offered, because behind a full stop none are admitted.
    #[schemars(range(min = 0))]
    pub requests_per_minute: f64,
    /// ps: order parameter as declared, no unit, any finite number.
    pub phi_static: f64,
    /// pd: order parameter as observed, no unit, any finite number.
    pub phi_dynamic: f64,
    /// T: scale of the noise, no unit, >= 0.
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// X: gain of the linear response, no unit, >= 0.
    #[schemars(range(min = 0))]
    pub susceptibility: f64,
}

/// A signal that is no number the law can use.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {value}, expected {expected}")]
pub struct SignalError {
    /// The field as it is called on the wire.
    pub field: &'static str,
    /// What it held.
    pub value: f64,
    /// What would have been accepted, for people.
    pub expected: &'static str,
}

impl Signals {
    /// What a source reports that answers but saw nothing: no failures, no latency, no gap, no
    /// noise.
    ///
    /// T = 0 claims no noise and X = 1 neither damps nor speeds the ramp, so nothing here argues
    /// for or against a move. The offered rate is 0 and that is a claim too ("nothing is waiting"):
    /// overwrite it with what the gate counted.
    #[must_use]
    pub fn calm(throttle: Level) -> Signals {
        Signals {
            throttle_pct: throttle.fraction(),
            error_rate: 0.0,
            latency_p99_ms: 0.0,
            requests_per_minute: 0.0,
            phi_static: 0.5,
            phi_dynamic: 0.5,
            temperature: 0.0,
            susceptibility: 1.0,
        }
    }

    /// Checks every field and names all that offend, so that a client mends its body once and not
    /// eight times.
    ///
    /// # Errors
    /// Every field that is not finite or lies outside its range, in the order of the struct.
    pub fn validate(&self) -> Result<(), Vec<SignalError>> {
        let checks = [
            fraction("throttle_pct", self.throttle_pct),
            fraction("error_rate", self.error_rate),
            not_negative("latency_p99_ms", self.latency_p99_ms),
            not_negative("requests_per_minute", self.requests_per_minute),
            finite("phi_static", self.phi_static),
            finite("phi_dynamic", self.phi_dynamic),
            not_negative("temperature", self.temperature),
            not_negative("susceptibility", self.susceptibility),
        ];
        let offending: Vec<SignalError> = checks.into_iter().flatten().collect();
        if offending.is_empty() {
            Ok(())
        } else {
            Err(offending)
        }
    }
}

/// The error of a field that is no fraction 0..=1.
pub(crate) fn fraction(field: &'static str, value: f64) -> Option<SignalError> {
    (!(0.0..=1.0).contains(&value)).then_some(SignalError {
        field,
        value,
        expected: "a number from 0 to 1",
    })
}

/// The error of a field that is no finite number >= 0.
pub(crate) fn not_negative(field: &'static str, value: f64) -> Option<SignalError> {
    (!(value.is_finite() && value >= 0.0)).then_some(SignalError {
        field,
        value,
        expected: "a finite number of at least 0",
    })
}

fn finite(field: &'static str, value: f64) -> Option<SignalError> {
    (!value.is_finite()).then_some(SignalError {
        field,
        value,
        expected: "a finite number",
    })
}
