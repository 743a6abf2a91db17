//! What a plan is made from: all that was declared, decided and found, and what is known from
//! before.
//!
//! Nothing here follows from anything else here.

use std::collections::{BTreeMap, BTreeSet};

use super::damping::{Damping, SitePatience};
use super::step::NextLevel;
use crate::domain::drift::Drift;
use crate::domain::level::Level;
use crate::domain::moment::Moment;
use crate::domain::target::{ReadBack, TargetId, TargetMemory, TargetSpec};
use crate::domain::throttle::Declared;

/// What was read of a target, or why it could not be.
pub type TargetRead = Result<ReadBack, String>;

/// What a plan is made from.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The declaration.
    pub throttle: &'a Declared,
    /// The most restrictive of specification and holds.
    pub asked: Level,
    /// Whether a kill hold is in force.
    pub killed: bool,
    /// The level in force now.
    pub current: Level,
    /// The level the law wants.
    pub next: NextLevel,
    /// What the targets were found to be, in the order declared.
    pub reads: &'a [(TargetSpec, TargetRead)],
    /// What is remembered of what was done to them.
    pub memory: &'a BTreeMap<TargetId, TargetMemory>,
    /// What is known of differences.
    pub drifts: KnownDrifts<'a>,
    /// What other sites were told and have not been seen to obey.
    pub patience: &'a BTreeMap<TargetId, SitePatience>,
    /// Those that have not answered a step of an earlier plan yet: one at a time.
    pub under_way: &'a BTreeSet<TargetId>,
    /// When they were read.
    pub now: Moment,
}

/// Differences that passes before this one found.
#[derive(Clone, Copy, Debug)]
pub struct KnownDrifts<'a> {
    /// Those that were there in the last pass.
    pub open: &'a BTreeMap<TargetId, Drift>,
    /// When each target was corrected.
    pub damping: &'a BTreeMap<TargetId, Damping>,
}
