//! The credit that makes an opening a matter of time and not of how often one asks (control-law.md,
//! "credit").
//!
//! Must not know a clock: how much time has passed is an argument, and a clock that ran backwards
//! earns nothing.

use super::Evaluation;
use crate::domain::level::Level;

/// Length of a tick in seconds, in which an empty credit fills; the law's opening step is per tick.
pub const TICK_SECONDS: f64 = 5.0;

/// c: the share of an opening step that may be used, 0..=1, as it stood when it was last written
/// down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Credit(f64);

impl Credit {
    /// A whole step: where a throttle starts.
    pub const FULL: Credit = Credit(1.0);

    /// Nothing left: after a move that used its whole step.
    pub const EMPTY: Credit = Credit(0.0);

    /// The credit `elapsed_seconds` after it was written down, 0..=1: linear, full after
    /// [`TICK_SECONDS`].
    ///
    /// Time that is negative, infinite or no number earns nothing.
    #[must_use]
    pub fn at(self, elapsed_seconds: f64) -> f64 {
        if elapsed_seconds.is_finite() && elapsed_seconds > 0.0 {
            (self.0 + elapsed_seconds / TICK_SECONDS).min(1.0)
        } else {
            self.0
        }
    }

    /// The credit to write down after so many seconds in which nothing was asked of it.
    #[must_use]
    pub fn grown(self, elapsed_seconds: f64) -> Credit {
        Credit(self.at(elapsed_seconds))
    }

    /// The credit to write down after `answer`, which was given `elapsed_seconds` later to the
    /// level `before`.
    #[must_use]
    pub fn after(self, elapsed_seconds: f64, before: Level, answer: &Evaluation) -> Credit {
        Credit(credit_after(self.at(elapsed_seconds), before, answer))
    }
}

/// What is left of `credit` (0..=1) once `answer` has moved the level from `before`.
///
/// A move spends the part of its step that it used; standing still or closing spends nothing. So
/// whatever the calls, the openings that one credit pays for add up to one step at most.
#[must_use]
pub fn credit_after(credit: f64, before: Level, answer: &Evaluation) -> f64 {
    let opened = before.fraction() - answer.level.fraction();
    if opened > 0.0 {
        // An opening needs a step, so nothing is divided by zero.
        (credit * (1.0 - opened / answer.open_step)).max(0.0)
    } else {
        credit
    }
}
