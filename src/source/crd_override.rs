//! The emergency kinds, `EchoOverride` and `ClusterEchoOverride`, and what they ask for.
//!
//! Immutable and owned by people, in no Git repository: nothing that heals itself can undo a kill.

#![allow(
    unreachable_pub,
    reason = "KubeSchema repeats each type inside a function, where pub reaches nobody"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::domain::hold::HoldEffect;
use crate::domain::level::Level;

/// The word that every kill must bear, so that none is an accident.
pub const CONFIRMATION: &str = "CONFIRM_KILL";

/// What the names of overrides begin with that `POST /kill` makes; the hold's id follows.
pub const REST_PREFIX: &str = "echo-";

/// A kill in an override: operator and reason stand in its spec.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[x_kube(validation = ("self.confirmation == 'CONFIRM_KILL'", "confirmation must be CONFIRM_KILL"))]
pub struct OverrideKill {
    /// CONFIRM_KILL, so that a kill is never an accident.
    #[schemars(length(max = 64))]
    pub confirmation: String,
}

/// Which throttles an override means, by their labels; an empty one means all.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels that must all be equal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub match_labels: BTreeMap<String, String>,
}

impl Selector {
    /// Whether it means something with these labels.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
    }
}

/// An emergency for throttles of one namespace, owned by people: made with kubectl create, ended with kubectl delete.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[kube(
    group = "echo-phoenix.dev",
    version = "v1alpha1",
    kind = "EchoOverride",
    doc = "An emergency for throttles of one namespace, owned by people: immutable, ended by deleting it",
    plural = "echooverrides",
    shortname = "eo",
    category = "echo-phoenix",
    namespaced,
    validation = ("self.spec == oldSelf.spec", "an override is immutable: delete it and create another one"),
    printcolumn = r#"{"name":"Throttle","type":"string","jsonPath":".spec.throttleRef"}"#,
    printcolumn = r#"{"name":"Kill","type":"string","jsonPath":".spec.kill.confirmation"}"#,
    printcolumn = r#"{"name":"Percent","type":"integer","jsonPath":".spec.throttlePercent"}"#,
    printcolumn = r#"{"name":"Operator","type":"string","jsonPath":".spec.operator"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.throttleRef) != has(self.selector)", "exactly one of throttleRef and selector must be set; selector: {} means all"),
    validation = ("has(self.kill) != has(self.throttlePercent)", "exactly one of kill and throttlePercent must be set")
)]
pub struct EchoOverrideSpec {
    /// The one throttle it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub throttle_ref: Option<String>,
    /// The throttles it means, by label; {} means all of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// A full stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill: Option<OverrideKill>,
    /// At least this share of work is refused, percent; it can only tighten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub throttle_percent: Option<i32>,
    /// Who orders it.
    #[schemars(length(min = 1, max = 256))]
    pub operator: String,
    /// Why, in a person's words.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
}

/// An emergency for throttles of all namespaces, owned by people.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[kube(
    group = "echo-phoenix.dev",
    version = "v1alpha1",
    kind = "ClusterEchoOverride",
    doc = "An emergency for throttles of all namespaces, owned by people: immutable, ended by deleting it",
    plural = "clusterechooverrides",
    shortname = "ceo",
    category = "echo-phoenix",
    validation = ("self.spec == oldSelf.spec", "an override is immutable: delete it and create another one"),
    printcolumn = r#"{"name":"Kill","type":"string","jsonPath":".spec.kill.confirmation"}"#,
    printcolumn = r#"{"name":"Percent","type":"integer","jsonPath":".spec.throttlePercent"}"#,
    printcolumn = r#"{"name":"Operator","type":"string","jsonPath":".spec.operator"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.kill) != has(self.throttlePercent)", "exactly one of kill and throttlePercent must be set"))]
pub struct ClusterEchoOverrideSpec {
    /// The throttles it means, by label; {} means all.
    pub selector: Selector,
    /// A full stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill: Option<OverrideKill>,
    /// At least this share of work is refused, percent; it can only tighten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub throttle_percent: Option<i32>,
    /// Who orders it.
    #[schemars(length(min = 1, max = 256))]
    pub operator: String,
    /// Why, in a person's words.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
}

/// What an override asks for; `None` for one that got past the API server's rules and asks for
/// nothing clear.
pub fn hold_effect(kill: Option<&OverrideKill>, percent: Option<i32>) -> Option<HoldEffect> {
    match (kill, percent) {
        (Some(kill), None) if kill.confirmation == CONFIRMATION => Some(HoldEffect::Kill),
        (None, Some(percent)) => Level::from_percent(percent).ok().map(HoldEffect::AtLeast),
        _ => None,
    }
}
