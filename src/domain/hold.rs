//! Holds: a kill, or a temporary level, that is in force until it is ended by its id.
//!
//! Killed means: the set of kill holds is not empty. What closes and what opens is decided
//! elsewhere.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::level::Level;
use super::throttle::name::ThrottleName;

/// The id of a hold, opaque: an override's UID, a spec's UID and generation, or a ULID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub String);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a hold asks for while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HoldEffect {
    /// Full stop of everything that is not on an allow-list.
    Kill,
    /// At least this level; it can only tighten.
    AtLeast(Level),
}

impl HoldEffect {
    /// Whether it is safer than another one: a kill is than any level.
    #[must_use]
    pub fn exceeds(self, other: Self) -> bool {
        match (self, other) {
            (Self::AtLeast(level), Self::AtLeast(other)) => level > other,
            (Self::Kill, Self::AtLeast(_)) => true,
            (_, Self::Kill) => false,
        }
    }
}

/// Who keeps a hold, and so how it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// `POST /kill`; ends by `/revive`.
    Rest,
    /// Nobody's any more: it was found at a start, and no record tells that it ended. Ends by
    /// `/revive`.
    Unaccounted,
    /// The specification itself; ends by a newer one without it.
    Spec,
    /// The manifest file; ends by a newer version of it without the kill.
    Manifest,
    /// An override object of the cluster; ends when it is gone in an orderly way.
    #[serde(rename_all = "camelCase")]
    Override {
        /// Namespace; none for the cluster-wide kind.
        namespace: Option<String>,
        /// Object name.
        name: String,
        /// Object UID.
        uid: String,
        /// UID its namespace had when the hold was taken, once known.
        namespace_uid: Option<String>,
        /// UID its resource definition had when the hold was taken, once known.
        definition_uid: Option<String>,
    },
}

impl Source {
    /// Whether a declaration itself holds, so that only a newer declaration ends it, and no
    /// command.
    #[must_use]
    pub fn is_declared(&self) -> bool {
        matches!(self, Self::Spec | Self::Manifest)
    }

    /// Whether both are one object of a cluster.
    #[must_use]
    pub fn is_object_of(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Override {
                    namespace,
                    name,
                    uid,
                    ..
                },
                Self::Override {
                    namespace: other_namespace,
                    name: other_name,
                    uid: other_uid,
                    ..
                },
            ) => (namespace, name, uid) == (other_namespace, other_name, other_uid),
            _ => false,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rest => f.write_str("rest"),
            Self::Unaccounted => f.write_str("unaccounted"),
            Self::Spec => f.write_str("spec"),
            Self::Manifest => f.write_str("manifest"),
            Self::Override {
                namespace: Some(namespace),
                name,
                ..
            } => {
                write!(f, "EchoOverride {namespace}/{name}")
            }
            Self::Override {
                namespace: None,
                name,
                ..
            } => write!(f, "ClusterEchoOverride {name}"),
        }
    }
}

/// One hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// Its id. Ended ids never bite again.
    pub epoch: Epoch,
    /// What it asks for.
    pub bite: HoldEffect,
    /// Who keeps it.
    pub source: Source,
    /// Why it was taken, in a person's words.
    pub reason: String,
    /// Who took it, as they said.
    pub operator: String,
    /// When it was taken.
    pub taken_at: Timestamp,
}

impl Hold {
    /// Whether it is a full stop.
    pub fn is_kill(&self) -> bool {
        matches!(self.bite, HoldEffect::Kill)
    }
}

/// A hold as answers name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HeldBy {
    /// Its id, opaque.
    pub epoch: String,
    /// Who keeps it: `rest`, `spec`, `unaccounted` (nobody knows that it ended), or an override's kind and name.
    pub source: String,
    /// Who took it, as they said.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// When it was taken; absent where a declaration does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub since: Option<Timestamp>,
}

impl From<&Hold> for HeldBy {
    fn from(hold: &Hold) -> Self {
        Self {
            epoch: hold.epoch.0.clone(),
            source: hold.source.to_string(),
            operator: hold.operator.clone(),
            reason: hold.reason.clone(),
            since: Some(hold.taken_at),
        }
    }
}

/// A level that people held on top of what is declared, as the answer to what took its place names it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct HeldLevel {
    /// The level, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub level: f64,
    /// Whose it was.
    #[serde(flatten)]
    pub held: HeldBy,
}

impl HeldLevel {
    /// Of a hold, if it asks for a level.
    pub fn of(hold: &Hold) -> Option<Self> {
        let HoldEffect::AtLeast(level) = hold.bite else {
            return None;
        };
        Some(Self {
            level: level.fraction(),
            held: hold.into(),
        })
    }
}

/// Which throttles a hold or a command means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Every throttle there is, and every one still to come.
    All,
    /// One throttle.
    One(ThrottleName),
}

impl Scope {
    /// Whether it means this throttle.
    pub fn covers(&self, name: &ThrottleName) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == name,
        }
    }
}

/// A hold with the throttles it means, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScopedHold {
    /// The throttles it means.
    pub scope: Scope,
    /// The hold.
    pub hold: Hold,
}

/// Whether one of these holds asks for more, of a throttle that it means, than each of the others
/// there: in their place it closes, and they open in its.
pub fn ask_for_more<'a>(
    these: impl IntoIterator<Item = &'a ScopedHold>,
    others: &[&ScopedHold],
) -> bool {
    let outdone = |held: &ScopedHold| {
        let as_much = |other: &&ScopedHold| !held.hold.bite.exceeds(other.hold.bite);
        !others
            .iter()
            .any(|other| (other.scope == Scope::All || other.scope == held.scope) && as_much(other))
    };
    these.into_iter().any(outdone)
}
