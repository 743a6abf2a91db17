//! The measured bite: whether a gate refuses the share it should, from its own counts (gate.md,
//! "Measured bite").
//!
//! Only requests that the level decided count: no allow-listed route. Callers with a key are
//! measured too, and not judged by it, since which keys are busy is no fault of the gate's: see
//! `callers`. Knows neither the gate nor the time between two counts.

use crate::domain::level::Level;

/// Fewest requests of a window that prove anything: one more or less is then a point at most.
const FEWEST: u64 = 100;
/// Largest difference from the level, fraction.
const TOLERANCE: f64 = 0.02;
/// Windows in a row that must differ.
const WINDOWS: u32 = 3;

/// Requests that the level decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many there were.
    pub offered: u64,
    /// How many of them were admitted; the gate counts them before the former, so it may be a few
    /// more than that.
    pub admitted: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            admitted: self.admitted + other.admitted,
        }
    }

    /// What was counted since an earlier count.
    #[must_use]
    pub fn beyond(self, earlier: Self) -> Self {
        Self {
            offered: self.offered.saturating_sub(earlier.offered),
            admitted: self.admitted.saturating_sub(earlier.admitted),
        }
    }
}

/// What the last windows came to, while one rule was in force.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RefusalRate {
    /// Share refused in the last window that proved anything, fraction 0..=1.
    pub refused: Option<f64>,
    differing: u32,
}

impl RefusalRate {
    /// Takes one window into account, all of it under this level; a kill's is [`Level::STOP`].
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of a window are far below 2^53"
    )]
    pub fn next(self, in_force: Level, window: Counts) -> Self {
        if window.offered < FEWEST {
            return self;
        }
        let refused = 1.0 - window.admitted.min(window.offered) as f64 / window.offered as f64;
        let differs = (refused - in_force.fraction()).abs() > TOLERANCE;
        Self {
            refused: Some(refused),
            differing: if differs {
                self.differing.saturating_add(1)
            } else {
                0
            },
        }
    }

    /// Whether the gate has refused another share than it should for three windows.
    #[must_use]
    pub fn is_off(self) -> bool {
        self.differing >= WINDOWS
    }
}
