//! What one pass of the loop found and did for one throttle: the raw material of status and
//! metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::level::Level;
use super::offered::Offered;
use super::plan::ReadBack;
use super::remote::RemoteSent;
use super::throttle::Declared;

/// What one target was found to be.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetReport {
    /// Target id within the throttle.
    pub target: String,
    /// The read-back, or why there is none.
    pub read: Result<ReadBack, String>,
    /// Whether it is what it should be.
    pub agrees: bool,
    /// Why it did not do what it was told last, if it did not.
    pub refusal: Option<String>,
}

/// One pass for one throttle.
#[derive(Clone, Debug, PartialEq)]
pub struct PassReport {
    /// What the pass was based on.
    pub throttle: Arc<Declared>,
    /// When it ended.
    pub at: Timestamp,
    /// The most restrictive of the specification and all holds.
    pub declared: Level,
    /// The level in force.
    pub effective: Level,
    /// What was offered.
    pub offered: Offered,
    /// What decided the level: a `Reason` word.
    pub binding: &'static str,
    /// Who declared the most, in words.
    pub source: String,
    /// Whether the automatic level stands above the declared one.
    pub shedding: bool,
    /// Whether a declared source of signals is silent.
    pub stale: bool,
    /// Whether a correction waits because there were many.
    pub damped: bool,
    /// The targets, in the order declared.
    pub observed: Vec<TargetReport>,
    /// What is remembered of targets, by target id.
    pub remembered: BTreeMap<String, i64>,
    /// What was last asked of targets, by target id.
    pub acknowledged: BTreeMap<String, i64>,
    /// What other sites last acknowledged, by target id.
    pub sent: BTreeMap<String, RemoteSent>,
    /// Drifts that are still open.
    pub drifted: Vec<String>,
    /// What kept the pass from its end, if anything did.
    pub trouble: Option<String>,
}
