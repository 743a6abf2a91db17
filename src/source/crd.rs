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
use crate::domain::throttle::{AllowRule, GateSpec, Mode, ScaleSpec, SignalSpec, TargetSpec};

use super::crd_remote::RemoteTarget;
use super::crd_status::EchoThrottleStatus;

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

/// One thing a throttle acts on: exactly one key an entry.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("[has(self.gate), has(self.scale), has(self.remote)].exists_one(is, is)", "exactly one of gate, scale and remote must be set"),
    validation = ("!has(self.remote)", "remote: other sites are not obeyed from a cluster yet; it works in the manifest of echo-phoenix serve")
)]
pub struct SpecTarget {
    /// Verdicts for proxies and apps, in every gate process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateTarget>,
    /// Replicas of a workload in the same namespace: 0 on a kill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleTarget>,
    /// A throttle of another Echo Phoenix: it gets kills and the declared level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteTarget>,
}

/// How a throttle bites at gates.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateTarget {
    /// Where the caller's name stands, so that the same callers stay admitted; absent: callers are not told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<GateKey>,
    /// Routes that are never refused because they reduce risk, refunds for example. Each holds while killed too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub allow: Vec<Allow>,
    /// A URL behind the real proxy that asks for verdicts on `_self-test`: once a minute it has to be admitted, then refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// No user and no password: it is told in logs and answers.
    #[schemars(
        length(min = 8, max = 2048),
        regex(pattern = r"^https?://[^/?#@\\\s]+([/?#]\S*)?$")
    )]
    pub canary_url: Option<String>,
}

/// Where the caller's name stands.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateKey {
    /// A request header that the proxy sets or strips.
    #[schemars(length(min = 1, max = 128))]
    pub header: String,
}

/// One route that is never refused, while killed neither.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.method) || has(self.path)", "method or path must be set"),
    validation = ("!has(self.method) || self.method == self.method.upperAscii()", "method: methods are compared as clients send them, in upper case: GET"),
    validation = ("!has(self.path) || self.path.startsWith('/')", "path: must begin with /"),
    validation = ("!has(self.path) || !self.path.contains('*')", "path: patterns match nothing; /refunds covers what is below it"),
    validation = ("!has(self.path) || !(self.path.contains('//') || self.path.contains('..') || self.path.contains('/:') || (self.path + '/').contains('/./'))", "path: can match nothing: no patterns, no . or .. or empty segment"),
    validation = ("!(has(self.method) || has(self.path)) || (has(self.evenWhileKilled) && self.evenWhileKilled) == ((!has(self.path) || self.path == '/') && !(has(self.method) && self.method in ['OPTIONS', 'HEAD']))", "evenWhileKilled: true must confirm what lets everything through (path: /, or a method but OPTIONS and HEAD without a path), and stands nowhere else")
)]
pub struct Allow {
    /// HTTP method, upper case; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[A-Za-z][A-Za-z0-9_-]*$"))]
    pub method: Option<String>,
    /// Path, whole or a prefix that ends at a slash; any when absent. No patterns and no escapes: only plain paths match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^[/A-Za-z0-9._~!$&'*+,=:@-]*$")
    )]
    pub path: Option<String>,
    /// Confirms a rule that lets everything through: path /, or a method (but OPTIONS and HEAD) without a path.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub even_while_killed: bool,
}

impl From<&Allow> for AllowRule {
    fn from(allow: &Allow) -> Self {
        let Allow {
            method,
            path,
            even_while_killed,
        } = allow.clone();
        Self {
            method,
            path,
            even_while_killed,
        }
    }
}

/// A workload whose replicas follow the throttle.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTarget {
    /// API version of the workload, apps/v1 for example.
    #[schemars(length(min = 1, max = 128))]
    pub api_version: String,
    /// Kind of the workload; anything with a scale subresource that the operator's role allows.
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    /// Name of the workload, in the throttle's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Whether replicas also follow the declared level; for queue workers, whose replicas are the work.
    #[serde(default)]
    pub proportional: bool,
    /// Fewest replicas while not killed; only meaningful with proportional.
    #[serde(default = "default_min_replicas")]
    #[schemars(range(min = 0, max = 100_000))]
    pub min_replicas: i32,
}

fn default_min_replicas() -> i32 {
    1
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

impl SpecTarget {
    fn domain(&self) -> Option<TargetSpec> {
        if let Some(gate) = &self.gate {
            let allow = gate.allow.iter().map(AllowRule::from).collect();
            let key_header = gate.key.as_ref().map(|key| key.header.to_ascii_lowercase());
            return Some(TargetSpec::Gate(GateSpec {
                key_header,
                allow,
                canary_url: gate.canary_url.clone(),
            }));
        }
        if let Some(remote) = &self.remote {
            return remote.domain().map(TargetSpec::Remote);
        }
        self.scale.as_ref().map(|scale| {
            TargetSpec::Scale(ScaleSpec {
                api_version: scale.api_version.clone(),
                kind: scale.kind.clone(),
                name: scale.name.clone(),
                proportional: scale.proportional,
                min_replicas: scale.min_replicas,
            })
        })
    }
}
