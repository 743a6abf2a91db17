//! The status of a throttle, three truths: what was declared, what was sent, what was read back.
//!
//! Only types; written by the leader's `cluster/status.rs`, read by every gate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ended hold ids kept in a status. A gate that missed more of them than this stays shut until it
/// starts again.
pub const ENDED_LIMIT: usize = 128;

/// What the operator found and did. The leader alone writes it; gates open to it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EchoThrottleStatus {
    /// Generation of the spec that this was computed from.
    #[serde(default)]
    pub observed_generation: i64,
    /// What spec and overrides ask for together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<DeclaredStatus>,
    /// The level in force, which every gate opens to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveStatus>,
    /// What was last sent to gates and workloads; for other sites see remotes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub acknowledged: Vec<AcknowledgedStatus>,
    /// Other sites: what each last acknowledged, and what it was found to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub remotes: Vec<RemoteStatus>,
    /// What was read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedStatus>,
    /// Holds in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub holds: Vec<HoldStatus>,
    /// Ids of holds that have ended, newest last; they never bite again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub ended_holds: Vec<String>,
    /// What targets were before they were changed; restored exactly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub remembered: Vec<TargetNumber>,
    /// Ready, Enforced, Drifted, Killed and Shedding; Reconciling and Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<ConditionStatus>,
}

/// What spec and overrides ask for together.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredStatus {
    /// Share of work refused, percent, rounded up.
    pub throttle_percent: i32,
    /// The same, millionths (0..=1000000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level_millionths: Option<i32>,
    /// Who asks for the most: spec, or an override by name.
    pub source: String,
}

/// The level in force.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveStatus {
    /// Share of work refused, millionths (0..=1000000): what gates open to.
    pub level_millionths: i32,
    /// The same, percent, rounded up, for columns.
    pub throttle_percent: i32,
    /// What decided it: none, target, errors, latency, order or kill.
    pub reason: String,
}

/// What was last sent to one target.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcknowledgedStatus {
    /// Target: gate, or apps/v1/Deployment/checkout for example.
    pub target: String,
    /// Level, millionths (0..=1000000); gates alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level_millionths: Option<i32>,
    /// Generation of the declaration that the level follows from; gates alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Replicas; workloads alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
}

/// A number for one target.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetNumber {
    /// Target, apps/v1/Deployment/checkout for example.
    pub target: String,
    /// Replicas.
    pub replicas: i64,
}

/// A throttle of another site.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteStatus {
    /// Target, remote/https://echo.example.com/default for example.
    pub target: String,
    /// What it last acknowledged; absent: nothing since this process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<RemoteAcknowledged>,
    /// What it was found to be; absent: it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<RemoteObserved>,
}

/// What another site last acknowledged.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteAcknowledged {
    /// Share of work refused, percent, rounded up; absent: no level was asked for yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_percent: Option<i32>,
    /// Whether it was killed.
    pub killed: bool,
}

/// What a throttle of another site was found to be.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteObserved {
    /// Share of work refused that is declared there, percent, rounded up.
    pub declared_percent: i32,
    /// Share of work refused there now, percent, rounded up.
    pub effective_percent: i32,
    /// Whether it is killed, whoever did that.
    pub killed: bool,
    /// Its kills that were sent from here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub ours: Vec<String>,
    /// Who else keeps it killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<String>,
}

/// What was read back.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservedStatus {
    /// Gates that answer for this throttle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<GatesStatus>,
    /// Workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub targets: Vec<TargetNumber>,
    /// When this last changed (not when it was last looked at), RFC 3339.
    pub when: String,
}

/// Gates that answer for a throttle.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatesStatus {
    /// How many there are.
    pub count: i32,
    /// How many obey all holds and the level in force.
    pub obeying: i32,
    /// Whole percent of the requests they were measured to refuse, where they tell and enough was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_percent: Option<i32>,
    /// Callers seen in this hour, an estimate, where they tell. Only of a throttle with a key: its level is a share of callers,
    /// and the share of requests that this comes to is `refusedPercent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callers: Option<i64>,
}

/// A hold in force.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldStatus {
    /// Its id.
    pub epoch: String,
    /// Who keeps it: Spec, EchoOverride or ClusterEchoOverride.
    pub kind: String,
    /// Namespace of the override.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name of the override.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// UID of the override.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Percent it asks for; absent: a kill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_percent: Option<i32>,
    /// Who ordered it.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// When it was taken, RFC 3339.
    pub taken_at: String,
    /// UID that its namespace had then; a hold ends only while it is still the same one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace_uid: String,
    /// UID that its resource definition had then; likewise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub definition_uid: String,
    /// Orphaned when its override went away with its namespace or its CRD: then it stays until revived.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
}

/// One condition, as Kubernetes writes them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionStatus {
    /// Ready, Enforced, Drifted, Killed, Shedding, RulesIgnored, Reconciling or Stalled.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// Generation of the spec it was computed from.
    #[serde(default)]
    pub observed_generation: i64,
    /// When status last flipped, RFC 3339.
    pub last_transition_time: String,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
}
