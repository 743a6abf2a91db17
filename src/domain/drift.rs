//! A drift: what was found to differ from what had been asked for, by whom, and what was done about
//! it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::target::TargetId;
use super::throttle::ThrottleName;

/// Which way a difference points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Less gets through than was asked for.
    Safer,
    /// More gets through than was asked for.
    Riskier,
}

impl Side {
    /// The word users see.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Who wrote the differing value, as the API server recorded it: a manager names a program, not a
/// person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Field manager, `kubectl` for example.
    pub manager: String,
    /// `Update` or `Apply`.
    pub operation: String,
    /// `scale`, `status`, or empty.
    pub subresource: String,
    /// When, if the server recorded it (it does not for `/scale`).
    pub time: Option<Timestamp>,
}

/// What was done about a drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum DriftAction {
    /// Written back to what was asked for.
    Corrected,
    /// Only told, since the throttle observes.
    Reported,
    /// Tried and failed; the error says why.
    Failed,
}

impl DriftAction {
    /// The word users see.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One drift, from when it was first seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// ULID; the same for every version of this record.
    pub id: String,
    /// The throttle.
    pub throttle: ThrottleName,
    /// Which target of the throttle.
    pub target: TargetId,
    /// The field that differs, `spec.replicas` for example.
    pub field: String,
    /// What had been asked for.
    pub desired: String,
    /// What was found.
    pub actual: String,
    /// Which way it points.
    pub side: Side,
    /// Who, where known.
    pub who: Option<Who>,
    /// First sight.
    pub first_seen: Timestamp,
    /// Last sight.
    pub last_seen: Timestamp,
    /// How often it was seen.
    pub count: i64,
    /// What was done.
    pub action: DriftAction,
    /// Why it failed, where it did.
    pub error: Option<String>,
}
