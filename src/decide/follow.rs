//! What a gate obeys when it only watches: it closes on what it sees itself, and opens only to what
//! the leader wrote.
//!
//! The one rule that lets any number of gates run without asking each other: one opens, all close.

use crate::domain::level::Level;

/// What a watching process sees of one throttle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Newest generation of the specification it has applied.
    pub generation: i64,
    /// The most restrictive of specification and holds it sees.
    pub asked: Level,
    /// Whether a kill hold is in force.
    pub killed: bool,
    /// The leader's level, with the generation it was computed from.
    pub effective: Option<(Level, i64)>,
}

/// The level a gate must have, given the one it has (`None`: it never had one).
///
/// Without a word from the leader that is at least as new as the specification, a gate keeps what
/// it has, and one that has nothing refuses everything.
pub fn follow(current: Option<Level>, seen: &Seen) -> Level {
    if seen.killed {
        return Level::STOP;
    }
    let base = match seen.effective {
        Some((level, generation)) if generation >= seen.generation => level,
        _ => current.unwrap_or(Level::STOP),
    };
    base.safer(seen.asked)
}
