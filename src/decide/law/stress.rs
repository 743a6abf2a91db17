//! From signals to one number between calm and alarm, and the name of the signal behind it
//! (control-law.md, "Law").
//!
//! Must not know the level in force, what is declared, or what follows from the stress.

use super::{Binding, Law};
use crate::domain::observation::Signals;

/// S and the signal it comes from.
pub(super) struct Stress {
    /// S: the greatest of the signals' stresses, 0..=1.
    pub(super) worst: f64,
    /// The signal it belongs to; `Binding::None` without any stress. Equal ones: errors, then
    /// latency, then order.
    pub(super) signal: Binding,
}

impl Law {
    /// sig: the spread a healthy system shows anyway, Var(phi) = X*T/N (fluctuation and response,
    /// k_B = 1).
    pub(super) fn noise(&self, signals: &Signals) -> f64 {
        // X*T may overflow to infinity, which reads as "all noise" below and is no error.
        let spread = signals.susceptibility * signals.temperature;
        (spread / (self.noise_samples + signals.requests_per_minute)).sqrt()
    }

    /// S: the worst signal wins; an average would let two calm signals hide a burning one.
    pub(super) fn stress(&self, signals: &Signals, noise: f64) -> Stress {
        let weight = self.evidence(signals.requests_per_minute);
        let errors = weight * rise(signals.error_rate, self.error_low, self.error_high);
        let latency = weight
            * rise(
                signals.latency_p99_ms,
                self.latency_low_ms,
                self.latency_high_ms,
            );
        let mut stress = Stress {
            worst: 0.0,
            signal: Binding::None,
        };
        for (value, signal) in [
            (errors, Binding::Errors),
            (latency, Binding::Latency),
            (self.order(signals, noise), Binding::Order),
        ] {
            if value > stress.worst {
                stress = Stress {
                    worst: value,
                    signal,
                };
            }
        }
        stress
    }

    /// What errors and latency come to where so much is offered that all of them count.
    pub(super) fn at_most(&self, signals: &Signals) -> f64 {
        let errors = rise(signals.error_rate, self.error_low, self.error_high);
        errors.max(rise(
            signals.latency_p99_ms,
            self.latency_low_ms,
            self.latency_high_ms,
        ))
    }

    /// w: few requests are weak evidence, but never none, or a trickle of pure failures would look
    /// calm.
    fn evidence(&self, rpm: f64) -> f64 {
        (rpm + self.evidence_floor * self.evidence_rpm) / (rpm + self.evidence_rpm)
    }

    /// s_p: the response to expect from the gap that is left above the noise.
    fn order(&self, signals: &Signals, noise: f64) -> f64 {
        let gap = (signals.phi_static - signals.phi_dynamic).abs().min(1.0);
        let above = (gap - self.noise_widths * noise).max(0.0);
        rise(signals.susceptibility * above, 0.0, self.order_range)
    }
}

/// sat((x - low)/(high - low)), written so that thresholds that coincide are a step and never a
/// division by zero.
pub(super) fn rise(x: f64, low: f64, high: f64) -> f64 {
    if x <= low {
        0.0
    } else if x >= high {
        1.0
    } else {
        (x - low) / (high - low)
    }
}
