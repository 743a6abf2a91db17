//! What is declared of a throttle besides its level: how strictly, how fast, and what it acts on.

use serde::{Deserialize, Serialize};

use crate::domain::target::{GateSpec, TargetSpec};

/// Whether differences are corrected or only reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Correct every drift.
    #[default]
    Enforce,
    /// Report drift, change nothing; a kill still closes the gates.
    Observe,
}

/// What the control law goes by: whose measurements, and from where on they count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SignalSpec {
    /// The `source` of `POST /observe` that has to report; none: whoever reports is believed, and
    /// nobody is missed.
    pub source: Option<String>,
    /// Failed share of requests, fraction 0..=1: from where on it counts, and where it counts
    /// fully.
    pub errors: Option<(f64, f64)>,
    /// Latency, milliseconds: from where on it counts, and where it counts fully.
    pub latency_ms: Option<(f64, f64)>,
}

/// What is declared about one throttle besides its level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Whether differences are corrected.
    pub mode: Mode,
    /// Fastest opening when no source of evidence is declared, percent points a second.
    pub ramp_percent_per_second: f64,
    /// What it acts on, in the order declared.
    pub targets: Vec<TargetSpec>,
    /// What the control law goes by.
    #[serde(default)]
    pub signals: SignalSpec,
}

impl Spec {
    /// The same, where nothing is exempt and differences are corrected.
    #[must_use]
    pub fn without_exemptions(mut self) -> Self {
        self.mode = Mode::Enforce;
        for target in &mut self.targets {
            if let TargetSpec::Gate(gate) = target {
                gate.allow.clear();
            }
        }
        self
    }
}

impl Default for Spec {
    fn default() -> Self {
        let targets = vec![TargetSpec::Gate(GateSpec::default())];
        Self {
            mode: Mode::Enforce,
            ramp_percent_per_second: 2.0,
            targets,
            signals: SignalSpec::default(),
        }
    }
}
