//! From declarations to one level: the most restrictive wins.
//!
//! Knows holds and levels, not where they came from.

use crate::domain::hold::{Hold, HoldEffect};
use crate::domain::level::Level;
use crate::domain::throttle::Mode;

/// What the specification and all holds ask for together.
#[derive(Clone, Debug, PartialEq)]
pub struct Restriction {
    /// The most restrictive level.
    pub level: Level,
    /// Whether at least one hold is a kill.
    pub killed: bool,
    /// Who won, in words for the status.
    pub source: String,
}

/// The most restrictive of a specification's level and all holds; while a throttle only observes,
/// kills alone count.
pub fn most_restrictive(spec: Level, mode: Mode, holds: &[Hold]) -> Restriction {
    let spec = if mode == Mode::Observe {
        Level::OPEN
    } else {
        spec
    };
    let mut asked = Restriction {
        level: spec,
        killed: false,
        source: "spec".to_owned(),
    };
    for hold in holds
        .iter()
        .filter(|hold| hold.is_kill() || mode == Mode::Enforce)
    {
        let level = match hold.bite {
            HoldEffect::Kill => Level::STOP,
            HoldEffect::AtLeast(level) => level,
        };
        let wins = level > asked.level || (hold.is_kill() && !asked.killed);
        if wins {
            asked = Restriction {
                level,
                killed: asked.killed || hold.is_kill(),
                source: hold.source.to_string(),
            };
        }
    }
    asked
}
