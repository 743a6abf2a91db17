//! A plan: everything one pass of the loop is about to do, as a value that can be printed and
//! checked.
//!
//! Execution has nothing left to decide; deciding is `decide`'s, checking `decide/check.rs`'s.

use std::time::Duration;

use serde::Serialize;

use super::drift::{Drift, Side, Who};
use super::hold::Epoch;
use super::level::Level;
use super::remote::RemoteReadBack;
use super::throttle::{RemoteSpec, ScaleSpec, TargetKind, ThrottleName};

/// What a target was found to be.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadBack {
    /// The gates of a throttle.
    Gate(GateReadBack),
    /// A workload.
    Scale(ScaleReadBack),
    /// A throttle of another site.
    Remote(RemoteReadBack),
    /// The object a target names is not there.
    Absent,
}

/// What the gates of one throttle said of themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GateReadBack {
    /// How many gates there are.
    pub gates: i32,
    /// How many of them obey exactly the holds in force.
    pub obeying: i32,
    /// Age of the oldest word from one of them, seconds.
    pub oldest_age_s: i64,
    /// Requests offered a minute, over all gates.
    pub offered_rpm: f64,
    /// Since when that was measured, by the monotonic clock; none while no window is whole.
    pub measured_from: Option<Duration>,
    /// The level that was found in force, a kill's full stop included; none where they do not tell.
    pub level: Option<Level>,
    /// Whether a kill began since the pass before this one did, be it over or not.
    pub held: bool,
    /// Share they were measured to refuse, fraction; none while too little was asked or they do not
    /// tell.
    pub refused: Option<f64>,
    /// Whether that has differed from the level in force for three ticks; of a throttle with a key:
    /// whether a caller was told something else than its level gives.
    pub off: bool,
    /// Callers seen in this hour, about; only where the throttle declares a key, whose level is a
    /// share of them.
    pub callers: Option<u64>,
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

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Put the gates of a throttle to a level; also said when nothing changes, so that gates know
    /// it is fresh.
    SetGate {
        /// The level.
        level: Level,
        /// What decided it: a `Reason` word.
        reason: &'static str,
        /// Generation of the declaration it follows from.
        generation: i64,
    },
    /// Put a workload to a number of replicas.
    Scale {
        /// Which.
        target: ScaleSpec,
        /// From.
        from: i64,
        /// To.
        to: i64,
        /// What its annotation shall remember afterwards; `None` removes it.
        remember: Option<i64>,
        /// Version of the object this was decided on; a newer one refuses the write.
        resource_version: String,
    },
    /// Order something of another site.
    Remote {
        /// Which.
        target: RemoteSpec,
        /// What.
        order: RemoteOrder,
    },
}

/// What another site is told to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RemoteOrder {
    /// Stop.
    #[serde(rename_all = "camelCase")]
    Kill {
        /// The kills here that ask for it.
        epochs: Vec<Epoch>,
        /// Why, as whoever killed here said.
        reason: String,
    },
    /// End these kills, which are ours.
    #[serde(rename_all = "camelCase")]
    Revive {
        /// Their ids there.
        epochs: Vec<Epoch>,
    },
    /// Declare a level.
    #[serde(rename_all = "camelCase")]
    Level {
        /// What it has declared.
        from: Level,
        /// What it shall declare.
        to: Level,
        /// The level in force there, as its `/control` wants to be told.
        effective: Level,
    },
}

/// What another site is told, as far as it is told the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// To stop.
    Stop,
    /// To end a stop of ours.
    End,
    /// To declare this level.
    Level(Level),
}

impl RemoteOrder {
    /// What it is, apart from its words.
    pub fn kind(&self) -> OrderKind {
        match self {
            Self::Kill { .. } => OrderKind::Stop,
            Self::Revive { .. } => OrderKind::End,
            Self::Level { to, .. } => OrderKind::Level(*to),
        }
    }
}

impl Action {
    /// The kind of target that does it.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::SetGate { .. } => TargetKind::Gate,
            Self::Scale { .. } => TargetKind::Scale,
            Self::Remote { .. } => TargetKind::Remote,
        }
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What.
    pub action: Action,
    /// Which way it moves the system: riskier steps need proof, safer ones nothing.
    pub side: Side,
    /// The drift it corrects, where it does.
    #[serde(skip)]
    pub corrects: Option<Drift>,
}

/// Everything one pass is about to do for one throttle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The throttle.
    pub throttle: ThrottleName,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Drift that is only reported.
    #[serde(skip)]
    pub reported: Vec<Drift>,
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It was done.
    Yes,
    /// It was tried and failed.
    Failed(String),
    /// It was acknowledged, and something else holds.
    Held(String),
    /// It was not tried, since it opens: why not.
    Skipped(&'static str),
    /// It opens, and this came before it, or while it was under way.
    Overtaken(&'static str),
    /// The plan's checker refused it, or one before it, and it must not be tried: why.
    Refused(String),
}

impl StepOutcome {
    /// Whether it was tried, and to its end.
    pub fn was_tried(&self) -> bool {
        matches!(self, Self::Yes | Self::Failed(_) | Self::Held(_))
    }

    /// Why it is not as planned, if that is for somebody to know.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Failed(why) | Self::Held(why) | Self::Refused(why) => Some(why),
            Self::Overtaken(why) => Some(why),
            Self::Yes | Self::Skipped(_) => None,
        }
    }
}
