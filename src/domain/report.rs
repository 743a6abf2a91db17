//! What one pass of the loop found and did for one throttle: the raw material of status and
//! metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::level::Level;
use super::offered::Offered;
use super::target::{RemoteReadBack, RemoteSent, TargetId, TargetMemory};
use super::throttle::Declared;

/// What is told of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetReport {
    /// Which of the throttle.
    pub target: TargetId,
    /// Whether it is what it should be.
    pub agrees: bool,
    /// Why it could not be read, if it could not.
    pub unread: Option<String>,
    /// Why it did not do what it was told last, if it did not.
    pub refusal: Option<String>,
    /// What is wrong with it as it was found, in words.
    pub wrong: Option<String>,
    /// What a status shows of it.
    pub row: StatusRow,
}

/// What a status shows of a target: shapes, which kinds may share.
#[derive(Clone, Debug, PartialEq)]
pub enum StatusRow {
    /// Nothing: it could not be read, or is not there.
    None,
    /// Gates, of which so many obey.
    Gates {
        /// How many there are.
        count: i32,
        /// How many obey.
        obeying: i32,
        /// Share they were measured to refuse, fraction.
        refused: Option<f64>,
        /// Callers seen in this hour, about.
        callers: Option<u64>,
    },
    /// A number, as it was read.
    Number(i64),
    /// A throttle of another site.
    Site {
        /// What it last acknowledged.
        acknowledged: Option<RemoteSent>,
        /// What it was found to be.
        observed: Option<RemoteReadBack>,
    },
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
    /// What is remembered of what was done to targets.
    pub memory: BTreeMap<TargetId, TargetMemory>,
    /// Targets with drifts that are still open.
    pub drifted: Vec<TargetId>,
    /// What kept the pass from its end, if anything did.
    pub trouble: Option<String>,
}
