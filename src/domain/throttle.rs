//! What a throttle is declared to be: its name, its level, its targets.
//!
//! Knows neither where a declaration came from nor what is done about it.

pub(super) mod allow;
pub(super) mod name;
mod spec;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use super::hold::Hold;
use super::level::Level;
use super::target::{GateSpec, TargetId, TargetMemory, TargetSpec};

pub use allow::{AllowFlaw, AllowRule, is_plain};
pub use name::{BadName, NAME_LIMIT, ThrottleName};
pub use spec::{Mode, SignalSpec, Spec};

/// A kill in a file, in its writer's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillWords {
    /// Why.
    pub reason: String,
    /// Who.
    pub operator: String,
}

/// A throttle as a manifest file declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct FromFile {
    /// Its name.
    pub name: ThrottleName,
    /// The level.
    pub level: Level,
    /// Everything else.
    pub spec: Spec,
    /// A kill, if the file has one.
    pub kill: Option<KillWords>,
}

/// Who owns what is declared of a throttle.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// `POST /control` sets the level.
    #[default]
    Rest,
    /// The manifest file; REST only tightens.
    Manifest,
    /// The specification of a resource in a cluster.
    Cluster,
}

impl Owner {
    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The owner of this word; unknown words mean a cluster's, whose level nobody here may lower.
    pub fn of_word(word: &str) -> Self {
        word.parse().unwrap_or(Self::Cluster)
    }
}

/// Everything that is declared about one throttle, wherever it was declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// Its name.
    pub name: ThrottleName,
    /// Who owns it.
    pub owner: Owner,
    /// Counts up with every change of the declaration.
    pub generation: i64,
    /// What the specification alone asks for; holds may ask for more.
    pub level: Level,
    /// The level in force when nothing newer is known (after a restart, or what was last reported).
    pub stored: Level,
    /// What was offered when nothing newer is known; none if nobody knows.
    pub offered: Option<super::offered::Offered>,
    /// Kills and temporary levels that are in force.
    pub holds: Vec<Hold>,
    /// Whether differences are corrected.
    pub mode: Mode,
    /// Fastest opening when no source of evidence is declared, percent points a second (0.1..=100).
    pub ramp_percent_per_second: f64,
    /// What it acts on, in the order declared.
    pub targets: Vec<TargetSpec>,
    /// What the control law goes by.
    pub signals: SignalSpec,
    /// What people said or measured lately, for the control law.
    pub evidence: Vec<super::measurement::Measurement>,
    /// What is remembered of what was done to targets.
    pub memory: BTreeMap<TargetId, TargetMemory>,
}

impl Declared {
    /// How its gate reads requests.
    pub fn gate(&self) -> GateSpec {
        let gate = self.targets.iter().find_map(|t| {
            if let TargetSpec::Gate(gate) = t {
                Some(gate.clone())
            } else {
                None
            }
        });
        gate.unwrap_or_default()
    }

    /// What it declares besides its level.
    pub fn spec(&self) -> Spec {
        let Self {
            mode,
            ramp_percent_per_second,
            targets,
            signals,
            ..
        } = self.clone();
        Spec {
            mode,
            ramp_percent_per_second,
            targets,
            signals,
        }
    }

    /// Takes over a specification.
    pub fn set_spec(&mut self, spec: Spec) {
        let Spec {
            mode,
            ramp_percent_per_second,
            targets,
            signals,
        } = spec;
        (self.mode, self.ramp_percent_per_second) = (mode, ramp_percent_per_second);
        (self.targets, self.signals) = (targets, signals);
    }

    /// A declaration with nothing but a name and a level, the rest at its defaults.
    pub fn bare(name: ThrottleName, level: Level) -> Self {
        Self {
            name,
            owner: Owner::default(),
            generation: 1,
            level,
            stored: level,
            offered: None,
            holds: Vec::new(),
            mode: Mode::Enforce,
            ramp_percent_per_second: 2.0,
            targets: vec![TargetSpec::Gate(GateSpec::default())],
            signals: SignalSpec::default(),
            evidence: Vec::new(),
            memory: BTreeMap::new(),
        }
    }
}
