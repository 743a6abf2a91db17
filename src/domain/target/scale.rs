//! A workload as a target: which one, what it was found to be, and what is remembered of it.
//!
//! Knows no Kubernetes.

use serde::{Deserialize, Serialize};

use crate::domain::drift::Who;

/// A workload whose replicas follow the throttle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScaleSpec {
    /// `apps/v1`, for example.
    pub api_version: String,
    /// `Deployment`, for example; anything that has a `scale` subresource.
    pub kind: String,
    /// Object name, in the throttle's namespace.
    pub name: String,
    /// Whether replicas follow the declared level, or a kill only.
    pub proportional: bool,
    /// Fewest replicas while not killed; only meaningful with `proportional`.
    pub min_replicas: i32,
}

/// A workload as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleReadBack {
    /// Replicas its specification asks for.
    pub replicas: i64,
    /// What its annotation remembers.
    pub remembered: Option<i64>,
    /// Version of the object this was read from.
    pub resource_version: String,
    /// Who last wrote the replicas.
    pub who: Option<Who>,
}

/// What is remembered of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScaleMemory {
    /// Replicas it had before it was changed. Ours, so it wins over annotations.
    pub remembered: Option<i64>,
    /// Replicas it was last asked to have: a difference from it is drift, not work in progress.
    pub acknowledged: Option<i64>,
}
