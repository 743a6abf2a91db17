//! The control law: one evaluation, from what was observed and declared to the next level
//! (control-law.md).
//!
//! Must not know clocks, history, the kill latch's storage or who runs it: time reaches it as
//! [`Credit`], the past as `waiting_rpm`, the latch as a flag.

mod credit;
mod stress;

pub use credit::{Credit, TICK_SECONDS, credit_after};

use strum::IntoStaticStr;

use crate::domain::level::Level;
use crate::domain::observation::{self, SignalError, Signals};
use crate::domain::throttle::SignalSpec;
use stress::{Stress, rise};

/// X' = clamp(X, 1, 10): a system that hardly responds gets no faster ramp, one that responds
/// wildly still opens.
const GAIN_RANGE: (f64, f64) = (1.0, 10.0);

/// Part of the ramp that is kept however near the stress is to the open threshold, so that opening
/// always ends.
const LEAST_STEP: f64 = 0.1;

/// The parameters of the law. Symbols and defaults are those of control-law.md; thresholds may
/// differ per throttle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Law {
    /// e_lo: failed share at which errors begin to count, a fraction 0..=1, default 0.01.
    pub error_low: f64,
    /// e_hi: failed share at which errors count fully, a fraction above `error_low`, default 0.10.
    pub error_high: f64,
    /// l_lo: latency at which it begins to count, milliseconds, default 250.
    pub latency_low_ms: f64,
    /// l_hi: latency at which it counts fully, milliseconds above `latency_low_ms`, default 1000.
    pub latency_high_ms: f64,
    /// r0: offered rate at which evidence is about half grown, requests per minute > 0, default 60.
    pub evidence_rpm: f64,
    /// w0: weight of evidence from no requests at all, a fraction 0..=1, default 0.25.
    pub evidence_floor: f64,
    /// N0: samples the noise estimate assumes before any request came, > 0, default 400.
    pub noise_samples: f64,
    /// z: how many standard deviations of the order parameter pass as noise, >= 0, default 1.
    pub noise_widths: f64,
    /// R: expected response to the gap that counts as full stress, > 0, default 0.5.
    pub order_range: f64,
    /// S_c: stress above which automation closes, a fraction below 1, default 0.30.
    pub close_above: f64,
    /// h0: least width of the band in which the level is held, in units of stress, default 0.10.
    pub hold_least: f64,
    /// k_h: how much wider the band gets per unit of noise, >= 0, default 1.
    pub hold_per_noise: f64,
    /// h_max: greatest width of that band, in units of stress, below `close_above`, default 0.25.
    pub hold_most: f64,
    /// U_max: the furthest automation alone closes, a fraction below 1 so that a probe stays alive,
    /// default 0.90.
    pub automatic_most: f64,
    /// rho: share of the dial a calm system opens per second, a fraction, default 0.02.
    pub ramp_per_second: f64,
    /// B: load that may be released in one step whatever the ramp says, requests per minute,
    /// default 60.
    pub burst_rpm: f64,
}

impl Law {
    /// This law with a throttle's own thresholds.
    #[must_use]
    pub fn of(&self, signals: &SignalSpec) -> Law {
        let (error_low, error_high) = signals.errors.unwrap_or((self.error_low, self.error_high));
        let (latency_low_ms, latency_high_ms) = signals
            .latency_ms
            .unwrap_or((self.latency_low_ms, self.latency_high_ms));
        Law {
            error_low,
            error_high,
            latency_low_ms,
            latency_high_ms,
            ..*self
        }
    }
}

impl Default for Law {
    fn default() -> Law {
        Law {
            error_low: 0.01,
            error_high: 0.10,
            latency_low_ms: 250.0,
            latency_high_ms: 1000.0,
            evidence_rpm: 60.0,
            evidence_floor: 0.25,
            noise_samples: 400.0,
            noise_widths: 1.0,
            order_range: 0.5,
            close_above: 0.30,
            hold_least: 0.10,
            hold_per_noise: 1.0,
            hold_most: 0.25,
            automatic_most: 0.90,
            ramp_per_second: 0.02,
            burst_rpm: 60.0,
        }
    }
}

/// All the law may look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// What was observed, the level in force included.
    pub signals: Signals,
    /// g: the declared throttle; nothing opens past it.
    pub target: Level,
    /// Whether the kill latch is set.
    pub killed: bool,
    /// c: share of an opening step that may be used now, 0..=1 (see [`Credit`]).
    pub credit: f64,
    /// The highest of r_floor and r_stop: offered rates of the hour before the stop and since it,
    /// requests per minute, 0 for a new throttle. None if they are unknown: then only the ramp
    /// opens.
    pub waiting_rpm: Option<f64>,
}

/// What determined a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Binding {
    /// Nothing: full operation, or an opening that is under way at its own pace.
    None,
    /// The declaration: the declared throttle, or the kill latch.
    Target,
    /// Failed requests made automation close, or kept the level from opening.
    Errors,
    /// Latency did.
    Latency,
    /// The gap between the declared and the observed order parameter did.
    Order,
}

impl Binding {
    /// The name used in audit entries, status and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The law's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// u': the level to put in force.
    pub level: Level,
    /// What determined it. The declaration wins ties; a signal is named only while it closes or
    /// holds.
    pub binding: Binding,
    /// S: the worst signal, 0..=1.
    pub stress: f64,
    /// a: how far the signals alone would close.
    pub automatic: Level,
    /// c * D: how far this evaluation could have opened, a fraction 0..=1; 0 while held or killed.
    pub open_step: f64,
}

impl Law {
    /// The next level. Same input, same answer.
    ///
    /// # Errors
    /// Every input that is not finite or out of range, killed or not: a body that cannot be read
    /// moves nothing.
    pub fn evaluate(&self, input: &Input) -> Result<Evaluation, Vec<SignalError>> {
        validate(input)?;
        let current = input.signals.throttle_pct;
        let noise = self.noise(&input.signals);
        let stress = self.stress(&input.signals, noise);
        let open_below = self.open_below(noise);
        let automatic = self.automatic(current, stress.worst);
        let holds = input.killed || stress.worst > open_below;
        let open_step = if holds {
            0.0
        } else {
            input.credit * self.full_step(input, stress.worst, open_below)
        };
        let level = if input.killed {
            Level::STOP
        } else {
            Level::saturating(current - open_step)
                .safer(automatic)
                .safer(input.target)
        };
        Ok(Evaluation {
            level,
            binding: binding(input, level, &stress, holds),
            stress: stress.worst,
            automatic,
            open_step,
        })
    }

    /// Whether a system that looks like this may open at all. One that may not closes or is held
    /// where it is, whatever is declared.
    #[must_use]
    pub fn may_open(&self, signals: &Signals) -> bool {
        let noise = self.noise(signals);
        self.stress(signals, noise).worst <= self.open_below(noise)
    }

    /// Whether a system that looks like this, and may not open, closes and is held at least as much
    /// as one that looks like `other`, however much the gate says is offered beyond what each of
    /// them tells. Of those whose order parameters or noise differ that is not known.
    #[must_use]
    pub fn closes_as_much(&self, signals: &Signals, other: &Signals) -> bool {
        let rest = |s: &Signals| {
            [s.phi_static, s.phi_dynamic, s.temperature, s.susceptibility].map(f64::to_bits)
        };
        let own = |s: &Signals| self.stress(s, self.noise(s)).worst;
        // What is offered weighs both alike beyond what either tells; below it each stands on its
        // own.
        rest(signals) == rest(other)
            && self.at_most(signals) >= self.at_most(other)
            && own(signals) >= own(other)
    }

    /// How far a system that looks like this closes, a fraction 0..=1 of what automation may.
    #[must_use]
    pub fn closing(&self, signals: &Signals) -> f64 {
        rise(
            self.stress(signals, self.noise(signals)).worst,
            self.close_above,
            1.0,
        )
    }

    /// S_o: stress at or below which the level may open. A noisier system needs more calm.
    fn open_below(&self, noise: f64) -> f64 {
        let band = self.hold_least + self.hold_per_noise * noise;
        self.close_above - band.max(self.hold_least).min(self.hold_most)
    }

    /// a: how far the signals alone close, at most halving what is admitted now (multiplicative
    /// closing).
    fn automatic(&self, now: f64, stress: f64) -> Level {
        let wanted = self.automatic_most * rise(stress, self.close_above, 1.0);
        Level::saturating(wanted.min(f64::midpoint(1.0, now)))
    }

    /// D: how far a full credit opens, in units of load and not of the dial (additive opening).
    fn full_step(&self, input: &Input, stress: f64, open_below: f64) -> f64 {
        let (gain_least, gain_most) = GAIN_RANGE;
        let gain = input.signals.susceptibility.max(gain_least).min(gain_most);
        let ramp = self.ramp_per_second * TICK_SECONDS / gain;
        let burst = self.burst_rpm / gain;
        // B'/max(r_hat, B'), as the worked examples have it: only with B' on both sides does a step
        // of 1 come out when nothing is waiting. (With plain B below, the deployment guide's body
        // would need two ticks.)
        let released = input.waiting_rpm.map_or(0.0, |waiting| {
            let waiting = waiting.max(input.signals.requests_per_minute);
            if waiting <= burst {
                1.0
            } else {
                burst / waiting
            }
        });
        // Asked first, so that a band as wide as S_c (S_o = 0) still opens for a system without any
        // stress.
        let calm = if stress > 0.0 {
            1.0 - stress / open_below
        } else {
            1.0
        };
        (ramp.max(released) * calm).max(LEAST_STEP * ramp).min(1.0)
    }
}

/// Names what determined `level`: the declaration if the level stands on it, else the worst signal
/// while it holds.
fn binding(input: &Input, level: Level, stress: &Stress, holds: bool) -> Binding {
    if input.killed {
        // A kill is a declaration too; that it was a kill the gate knows from its own flag.
        Binding::Target
    } else if level == Level::OPEN {
        Binding::None
    } else if level == input.target {
        Binding::Target
    } else if holds {
        // Closing needs more stress than holding (S_c > S_o), so this is both cases.
        stress.signal
    } else {
        Binding::None
    }
}

fn validate(input: &Input) -> Result<(), Vec<SignalError>> {
    let mut offending = input.signals.validate().err().unwrap_or_default();
    offending.extend(observation::fraction("credit", input.credit));
    offending.extend(
        input
            .waiting_rpm
            .and_then(|rpm| observation::not_negative("waiting_rpm", rpm)),
    );
    if offending.is_empty() {
        Ok(())
    } else {
        Err(offending)
    }
}
