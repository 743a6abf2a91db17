//! The custom resource `EchoThrottle`, and how its specification becomes a declaration.
//!
//! The CRDs in `crds/` are generated from these types. Knows Kubernetes only for the derive; never
//! talks to a server.

#![allow(
    unreachable_pub,
    reason = "KubeSchema repeats each type inside a function, where pub reaches nobody"
)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::level::{Level, OutOfRange};
use crate::domain::target::{GateSpec, TargetSpec};
use crate::domain::throttle::{Mode, SignalSpec};

use super::crd_status::EchoThrottleStatus;
use super::crd_target::SpecTarget;

/// The desired state of one brake: how much work is refused, and on what that bites. Owned by Git.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[kube(
    group = "echo-phoenix.dev",
    version = "v1alpha1",
    kind = "EchoThrottle",
    doc = "The desired state of one brake: how much work is refused, and on what that bites",
    plural = "echothrottles",
    shortname = "et",
    category = "echo-phoenix",
    namespaced,
    status = "EchoThrottleStatus",
    printcolumn = r#"{"name":"Desired","type":"integer","description":"Declared share of work refused, percent","jsonPath":".spec.throttlePercent"}"#,
    printcolumn = r#"{"name":"Actual","type":"integer","description":"Share of work refused now, percent","jsonPath":".status.effective.throttlePercent"}"#,
    printcolumn = r#"{"name":"Killed","type":"string","jsonPath":".status.conditions[?(@.type=='Killed')].status"}"#,
    printcolumn = r#"{"name":"Drift","type":"string","jsonPath":".status.conditions[?(@.type=='Drifted')].status"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct EchoThrottleSpec {
    /// Share of work refused, percent: 0 = full operation, 100 = full stop.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub throttle_percent: i32,
    /// A full stop while present. All three fields are required, and confirmation must read CONFIRM_KILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill: Option<SpecKill>,
    /// Enforce corrects every drift; Observe reports it and changes nothing, but a kill still closes the gates.
    #[serde(default)]
    pub mode: SpecMode,
    /// How fast the throttle opens when nothing is measured.
    #[serde(default)]
    pub ramp: Ramp,
    /// What the control law goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signals: Option<SpecSignals>,
    /// What the throttle acts on; gates only, if empty.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub targets: Vec<SpecTarget>,
}

/// What the control law goes by.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.errorsPerThousand) || self.errorsPerThousand.full <= 1000", "errorsPerThousand: full must be at most 1000"))]
#[x_kube(validation = ("!has(self.source)", "source: nobody observes in a cluster yet; it works in the manifest of echo-phoenix serve"))]
pub struct SpecSignals {
    /// The `source` of POST /observe that has to report every 15 s. While it is silent nothing opens below 90 percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub source: Option<String>,
    /// Failed requests of a thousand: from `calm` on they count, at `full` they count fully. Default 10 and 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_per_thousand: Option<Band>,
    /// 99th percentile of latency, milliseconds: from `calm` on it counts, at `full` it counts fully. Default 250 and 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Band>,
}

/// Where a signal begins to count and where it counts fully.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.calm < self.full", "calm must be below full"))]
pub struct Band {
    /// Up to here nothing is wrong.
    #[schemars(range(min = 0, max = 3_600_000))]
    pub calm: i32,
    /// From here on all is wrong.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub full: i32,
}

impl Band {
    fn over(self, unit: f64) -> (f64, f64) {
        (f64::from(self.calm) / unit, f64::from(self.full) / unit)
    }
}

/// A kill that is part of a specification.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.confirmation == 'CONFIRM_KILL'", "confirmation must be CONFIRM_KILL"))]
pub struct SpecKill {
    /// Why, in a person's words.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Who orders it.
    #[schemars(length(min = 1, max = 256))]
    pub operator: String,
    /// CONFIRM_KILL, so that a kill is never an accident.
    #[schemars(length(max = 64))]
    pub confirmation: String,
}

/// Whether drift is corrected.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub enum SpecMode {
    /// Correct every drift.
    #[default]
    Enforce,
    /// Report drift and change nothing; a kill still closes the gates.
    Observe,
}

/// How fast a throttle opens when nothing is measured.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ramp {
    /// Percent points a second.
    #[serde(default = "default_ramp")]
    #[schemars(range(min = 1, max = 100))]
    pub max_percent_per_second: i32,
}

fn default_ramp() -> i32 {
    2
}

impl Default for Ramp {
    fn default() -> Self {
        Self {
            max_percent_per_second: default_ramp(),
        }
    }
}

impl EchoThrottleSpec {
    /// The declared level.
    ///
    /// # Errors
    /// If the percentage is not in 0..=100, which the API server refuses too.
    pub fn level(&self) -> Result<Level, OutOfRange> {
        Level::from_percent(self.throttle_percent)
    }

    /// What the throttle acts on; a gate always, since a throttle that bites on nothing is a
    /// mistake.
    pub fn domain_targets(&self) -> Vec<TargetSpec> {
        let mut targets: Vec<_> = self.targets.iter().filter_map(SpecTarget::domain).collect();
        if !targets
            .iter()
            .any(|target| matches!(target, TargetSpec::Gate(_)))
        {
            targets.insert(0, TargetSpec::Gate(GateSpec::default()));
        }
        targets
    }

    /// What the control law goes by.
    pub fn domain_signals(&self) -> SignalSpec {
        let signals = self.signals.clone().unwrap_or_default();
        SignalSpec {
            source: signals.source,
            errors: signals.errors_per_thousand.map(|band| band.over(1000.0)),
            latency_ms: signals.latency_ms.map(|band| band.over(1.0)),
        }
    }

    /// Whether drift is corrected.
    pub fn domain_mode(&self) -> Mode {
        match self.mode {
            SpecMode::Enforce => Mode::Enforce,
            SpecMode::Observe => Mode::Observe,
        }
    }
}
