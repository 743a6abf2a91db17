//! The targets of an `EchoThrottle`, and how each becomes one of a declaration and back.
//!
//! A kind of target is a key of [`SpecTarget`]. Knows Kubernetes only for the derive.

#![allow(
    unreachable_pub,
    reason = "KubeSchema repeats each type inside a function, where pub reaches nobody"
)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::domain::target::{GateSpec, ScaleSpec, TargetSpec, bears_user};
use crate::domain::throttle::AllowRule;

use super::crd_remote::RemoteTarget;

/// What is expected of an entry.
pub(super) const EXACTLY_ONE: &str = "expected exactly one of gate, scale and remote";

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

impl SpecTarget {
    /// What it is; nothing if no key is set, or its throttle's name is none, which every door
    /// checks.
    pub(super) fn domain(&self) -> Option<TargetSpec> {
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

    /// Whether exactly one key is set.
    pub(super) fn is_one(&self) -> bool {
        let keys = [
            self.gate.is_some(),
            self.scale.is_some(),
            self.remote.is_some(),
        ];
        keys.into_iter().filter(|is| *is).count() == 1
    }
}

/// One target as a manifest declares it.
impl From<&TargetSpec> for SpecTarget {
    fn from(declared: &TargetSpec) -> Self {
        match declared {
            TargetSpec::Gate(gate) => Self {
                gate: Some(gate_rows(gate)),
                ..Self::default()
            },
            TargetSpec::Scale(scale) => Self {
                scale: Some(scale_rows(scale)),
                ..Self::default()
            },
            TargetSpec::Remote(remote) => Self {
                remote: Some(RemoteTarget::from(remote)),
                ..Self::default()
            },
        }
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
