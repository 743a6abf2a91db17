//! The one number everything turns on: the share of work refused. A `Level` that exists is finite
//! and inside 0..=1, so nobody behind this door checks again.
//!
//! Must not know why a level was chosen, who declared it, or how a gate applies it.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Float noise forgiven when rounding up, as a fraction (1e-3 millionths): 0.57 is 570000
/// millionths, not 570001.
const TOLERANCE: f64 = 1e-9;

/// 2^32, the fixed-point one of the gate (gate.md, "From u to a verdict").
const Q32_ONE: f64 = 4_294_967_296.0;

/// Share of work refused: a fraction, 0 (full operation) to 1 (full stop), always finite, never
/// -0.0.
///
/// On the wire it is a bare number; deserializing checks the range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Level(f64);

/// A number that is no level.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{value} is out of range, expected {range}")]
pub struct OutOfRange {
    /// What was given, in the unit of `range`.
    pub value: f64,
    /// What would have been accepted, for people.
    pub range: &'static str,
}

impl Level {
    /// Full operation: nothing is refused.
    pub const OPEN: Level = Level(0.0);

    /// Full stop: everything is refused.
    pub const STOP: Level = Level(1.0);

    /// A level from a fraction.
    ///
    /// # Errors
    /// Anything that is not a finite number from 0 to 1.
    pub fn new(fraction: f64) -> Result<Level, OutOfRange> {
        if (0.0..=1.0).contains(&fraction) {
            Ok(Level::saturating(fraction))
        } else {
            Err(OutOfRange {
                value: fraction,
                range: "a fraction from 0 to 1",
            })
        }
    }

    /// A level from whole percent, 0..=100.
    ///
    /// # Errors
    /// Anything outside 0..=100.
    pub fn from_percent(percent: i32) -> Result<Level, OutOfRange> {
        if (0..=100).contains(&percent) {
            Ok(Level(f64::from(percent) / 100.0))
        } else {
            Err(OutOfRange {
                value: f64::from(percent),
                range: "a percentage from 0 to 100",
            })
        }
    }

    /// A level from whole millionths, 0..=1000000 (the unit in which objects and records store it).
    ///
    /// # Errors
    /// Anything outside 0..=1000000.
    pub fn from_millionths(millionths: i32) -> Result<Level, OutOfRange> {
        if (0..=1_000_000).contains(&millionths) {
            Ok(Level(f64::from(millionths) / 1e6))
        } else {
            Err(OutOfRange {
                value: f64::from(millionths),
                range: "millionths from 0 to 1000000",
            })
        }
    }

    /// The nearest level to a computed number; what is not a number is a full stop, because a brake
    /// fails closed.
    pub(crate) fn saturating(fraction: f64) -> Level {
        if fraction.is_nan() || fraction >= 1.0 {
            Level::STOP
        } else if fraction > 0.0 {
            Level(fraction)
        } else {
            // Also where -0.0 ends, so that equality, order and text agree.
            Level::OPEN
        }
    }

    /// The share refused, a fraction 0..=1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        self.0
    }

    /// The share refused in whole millionths, 0..=1000000, rounded to the safe side: up, but for
    /// float noise.
    #[must_use]
    pub fn millionths(self) -> i32 {
        self.ceil_in(1_000_000)
    }

    /// The share refused in whole percent, 0..=100, rounded to the safe side: up, but for float
    /// noise.
    #[must_use]
    pub fn percent_ceil(self) -> i32 {
        self.ceil_in(100)
    }

    /// The share refused as people read it, `12.5 %`: to a tenth, and neither end unless it is that
    /// end.
    #[must_use]
    pub fn percent_words(self) -> String {
        let tenths = (self.0 * 1000.0).round();
        let between = self.0 > 0.0 && self.0 < 1.0;
        format!(
            "{} %",
            if between {
                tenths.clamp(1.0, 999.0)
            } else {
                tenths
            } / 10.0
        )
    }

    /// The share refused as the gate's fixed point, round(u * 2^32): 0 admits everything, 2^32
    /// refuses everything.
    ///
    /// A level nearer than 2^-33 to either end is that end, which is less than one request in eight
    /// thousand million.
    #[must_use]
    pub fn refusal_q32(self) -> u64 {
        // 0..=2^32 by the type's own range: no bit is lost.
        (self.0 * Q32_ONE).round() as u64
    }

    /// The one of two levels that refuses more.
    #[must_use]
    pub fn safer(self, other: Level) -> Level {
        self.max(other)
    }

    fn ceil_in(self, parts: i32) -> i32 {
        // The tolerance can only push below zero by less than one part, which ceil brings back to
        // zero.
        ((self.0 - TOLERANCE) * f64::from(parts)).ceil() as i32
    }
}

impl Eq for Level {}

impl Ord for Level {
    fn cmp(&self, other: &Level) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Level) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TryFrom<f64> for Level {
    type Error = OutOfRange;

    fn try_from(fraction: f64) -> Result<Level, OutOfRange> {
        Level::new(fraction)
    }
}

impl From<Level> for f64 {
    fn from(level: Level) -> f64 {
        level.0
    }
}

/// What is not known is refused.
impl Default for Level {
    fn default() -> Self {
        Self::STOP
    }
}

/// The fraction, as audit entries and logs show it.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A share as whole percent, to the nearest that is no end it does not reach.
#[allow(clippy::cast_possible_truncation, reason = "a share of 0..=1")]
pub fn nearest_percent(share: f64) -> i32 {
    let nearest = (share * 100.0).round() as i32;
    if share > 0.0 && share < 1.0 {
        nearest.clamp(1, 99)
    } else {
        nearest
    }
}
