//! What a throttle acts on, kind by kind: what is declared of it, its id, what it was found to be,
//! what is done to it and what is remembered of that.
//!
//! One variant a kind in each enum here, and whoever has to tell kinds apart matches all of them.
//! Deciding is `decide/targets.rs`'s, doing `targets.rs`'s.

mod gate;
mod remote;
mod scale;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::level::Level;

pub use gate::{GateReadBack, GateSpec, NO_USER, bears_user};
pub use remote::{OrderKind, RemoteOrder, RemoteReadBack, RemoteSent, RemoteSpec};
pub use scale::{ScaleMemory, ScaleReadBack, ScaleSpec};

/// The id of the gates of a throttle.
const GATE: &str = "gate";
/// What the ids of other sites begin with.
const REMOTE: &str = "remote/";

/// One thing a throttle acts on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetSpec {
    /// Verdicts, here and in every gate process.
    Gate(GateSpec),
    /// Replicas of a workload.
    Scale(ScaleSpec),
    /// A throttle of another site.
    Remote(RemoteSpec),
}

/// The kinds of target, as labels and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// See [`TargetSpec::Gate`].
    Gate,
    /// See [`TargetSpec::Scale`].
    Scale,
    /// See [`TargetSpec::Remote`].
    Remote,
}

/// What tells targets of one throttle apart: `gate`, `apps/v1/Deployment/checkout`,
/// `remote/https://echo.example.com/default`. Stable, and the same in every record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetId(Box<str>);

/// What is remembered of what was done to a target, where something is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TargetMemory {
    /// Of a workload.
    Scale(ScaleMemory),
    /// Of a throttle of another site.
    Remote(RemoteSent),
}

/// What of a target's memory outlives the process, in the status of a throttle in a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredNumbers {
    /// What it had before it was changed.
    pub remembered: Option<i64>,
    /// What it was last asked to have.
    pub acknowledged: Option<i64>,
}

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

impl TargetKind {
    /// Whether it is of this site: then the gates wait for it when they open, and it for nobody
    /// elsewhere.
    pub fn is_here(self) -> bool {
        match self {
            Self::Gate | Self::Scale => true,
            Self::Remote => false,
        }
    }
}

impl TargetSpec {
    /// The kind, for finding the code that acts on it.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Gate(_) => TargetKind::Gate,
            Self::Scale(_) => TargetKind::Scale,
            Self::Remote(_) => TargetKind::Remote,
        }
    }

    /// What tells it from the others of its throttle.
    pub fn id(&self) -> TargetId {
        match self {
            Self::Gate(_) => TargetId::gate(),
            Self::Scale(scale) => scale.id(),
            Self::Remote(remote) => remote.id(),
        }
    }
}

impl ScaleSpec {
    /// See [`TargetSpec::id`].
    pub fn id(&self) -> TargetId {
        TargetId::from(format!("{}/{}/{}", self.api_version, self.kind, self.name))
    }
}

impl RemoteSpec {
    /// See [`TargetSpec::id`].
    pub fn id(&self) -> TargetId {
        TargetId::from(format!("{REMOTE}{}/{}", self.url, self.throttle))
    }
}

impl TargetId {
    /// Of the gates of a throttle, which are one target.
    pub fn gate() -> Self {
        Self(GATE.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind of target that bears it.
    pub fn kind(&self) -> TargetKind {
        match self.as_str() {
            GATE => TargetKind::Gate,
            id if id.starts_with(REMOTE) => TargetKind::Remote,
            _ => TargetKind::Scale,
        }
    }
}

impl From<String> for TargetId {
    fn from(text: String) -> Self {
        Self(text.into_boxed_str())
    }
}

impl From<&str> for TargetId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TargetMemory {
    /// What of it outlives the process.
    pub fn stored(&self) -> StoredNumbers {
        match self {
            Self::Scale(ScaleMemory {
                remembered,
                acknowledged,
            }) => StoredNumbers {
                remembered: *remembered,
                acknowledged: *acknowledged,
            },
            Self::Remote(_) => StoredNumbers::default(),
        }
    }

    /// What is remembered of a target of which this was stored; nothing of a kind that stores
    /// nothing.
    pub fn restored(id: &TargetId, stored: StoredNumbers) -> Option<Self> {
        match id.kind() {
            TargetKind::Gate | TargetKind::Remote => None,
            TargetKind::Scale => Some(Self::Scale(ScaleMemory {
                remembered: stored.remembered,
                acknowledged: stored.acknowledged,
            })),
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

    /// The target that does it.
    pub fn target(&self) -> TargetId {
        match self {
            Self::SetGate { .. } => TargetId::gate(),
            Self::Scale { target, .. } => target.id(),
            Self::Remote { target, .. } => target.id(),
        }
    }

    /// Whether it lets more through, where gates are at the `current` level.
    pub fn opens(&self, current: Level) -> bool {
        match self {
            Self::SetGate { level, .. } => *level < current,
            Self::Scale { from, to, .. } => to > from,
            Self::Remote { order, .. } => match order {
                RemoteOrder::Kill { .. } => false,
                RemoteOrder::Revive { .. } => true,
                RemoteOrder::Level { from, to, .. } => to < from,
            },
        }
    }

    /// Whether it is the leader's to do, whichever way it goes: a stop is everybody's.
    pub fn is_leaders(&self) -> bool {
        match self {
            Self::SetGate { .. } => false,
            Self::Scale { .. } => true,
            Self::Remote { order, .. } => matches!(order, RemoteOrder::Level { .. }),
        }
    }

    /// Whether it asks for a negative number of replicas.
    pub fn is_negative(&self) -> bool {
        match self {
            Self::SetGate { .. } | Self::Remote { .. } => false,
            Self::Scale { to, .. } => *to < 0,
        }
    }
}
