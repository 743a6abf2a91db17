//! What the gates of one throttle were offered, as far as it matters for opening it: the last hour,
//! and a stop's own.
//!
//! Knows no clock: that five minutes have passed is told. What was not measured is unknown, and
//! stays so: unknown is not nothing.

use serde::{Deserialize, Serialize};

use super::level::Level;

/// Maxima that make an hour, the one under way included: whatever is younger than an hour is in one
/// of them.
pub const SLOTS: usize = 13;
/// Length of one, seconds.
pub const SLOT_SECONDS: u64 = 300;

/// Growth that is worth writing down: a rate that has grown by less reads the same in the law.
const GROWTH: f64 = 1.1;

/// Offered rates of one throttle, requests a minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offered {
    /// Highest rate of each five minutes, oldest first; none where nobody measured.
    hour: Vec<Option<f64>>,
    /// The stop that is not over yet: a hold or a declaration raised the level, and the declaration
    /// is not reached again.
    stop: Option<Stop>,
}

/// What was offered around a stop. It holds until the declaration is reached, however long that
/// takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Stop {
    /// Highest rate of the hour before it; none if that was not measured whole.
    floor: Option<f64>,
    /// Highest rate since.
    since: f64,
}

impl Offered {
    /// Of a throttle that nobody can have asked for yet.
    #[must_use]
    pub fn new_throttle() -> Self {
        Self {
            hour: vec![Some(0.0); SLOTS],
            stop: None,
        }
    }

    /// Of a throttle whose past nobody knows.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            hour: vec![None; SLOTS],
            stop: None,
        }
    }

    /// So many times five minutes have passed.
    pub fn turn(&mut self, slots: usize) {
        self.hour
            .extend(std::iter::repeat_n(Some(0.0), slots.min(SLOTS)));
        let too_many = self.hour.len().saturating_sub(SLOTS);
        self.hour.drain(..too_many);
    }

    /// So much was offered lately. What is no number counts as a crowd.
    pub fn note(&mut self, rpm: f64) {
        let rpm = if rpm.is_finite() {
            rpm.max(0.0)
        } else {
            f64::MAX
        };
        if let Some(newest) = self.hour.last_mut() {
            *newest = newest.map(|most| most.max(rpm));
        }
        if let Some(stop) = &mut self.stop {
            stop.since = stop.since.max(rpm);
        }
    }

    /// The highest rate that may be waiting now: of the hour before the stop and since it, or,
    /// without one, of the last hour. None if that was not measured whole.
    #[must_use]
    pub fn peak(&self) -> Option<f64> {
        match self.stop {
            Some(stop) => known(stop.floor)
                .zip(known(Some(stop.since)))
                .map(|(floor, since)| floor.max(since)),
            None => self.hour_most(),
        }
    }

    /// What becomes of it when the level moves: a hold or a declaration that raised it begins a
    /// stop, the declaration that is reached ends one. Automation that closes is neither.
    #[must_use]
    pub fn moved(&self, before: Level, after: Level, asked: Level) -> Self {
        let mut next = self.clone();
        if after > before && after <= asked {
            let earlier = self.stop.map_or(Some(0.0), |_| self.peak());
            let floor = self
                .hour_most()
                .zip(earlier)
                .map(|(hour, earlier)| hour.max(earlier));
            next.stop = Some(Stop { floor, since: 0.0 });
        } else if after < before && after <= asked {
            next.stop = None;
        }
        next
    }

    /// Whether a stop began between these two.
    #[must_use]
    pub fn stops_anew(before: Level, after: Level, asked: Level) -> bool {
        after > before && after <= asked
    }

    /// Whether it says more than what was written down: more was offered, a stop began or ended, or
    /// what was known is not.
    #[must_use]
    pub fn says_more_than(&self, kept: &Self) -> bool {
        let more = |now: Option<f64>, then: Option<f64>| match (now, then) {
            (Some(now), Some(then)) => now > then * GROWTH + 1.0,
            (now, then) => now.is_some() != then.is_some(),
        };
        let stops = match (self.stop, kept.stop) {
            (Some(now), Some(then)) => {
                more(now.floor, then.floor) || more(Some(now.since), Some(then.since))
            }
            (now, then) => now.is_some() != then.is_some(),
        };
        let newest = |of: &Self| of.hour.last().copied().flatten();
        stops || more(self.hour_most(), kept.hour_most()) || more(newest(self), newest(kept))
    }

    /// The most that either says, slot by slot: unknown where one of them does not know.
    #[must_use]
    pub fn safer(&self, other: &Self) -> Self {
        let most = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| f64::max(a, b));
        let of = |from: &Self, back: usize| {
            let place = from.hour.len().checked_sub(back + 1);
            place.and_then(|place| from.hour.get(place).copied().flatten())
        };
        let stop = match (self.stop, other.stop) {
            (Some(a), Some(b)) => Some(Stop {
                floor: most(a.floor, b.floor),
                since: f64::max(a.since, b.since),
            }),
            (one, other) => one.or(other),
        };
        Self {
            hour: (0..SLOTS)
                .rev()
                .map(|back| most(of(self, back), of(other, back)))
                .collect(),
            stop,
        }
    }

    fn hour_most(&self) -> Option<f64> {
        let whole = self.hour.len() >= SLOTS;
        self.hour.iter().fold(whole.then_some(0.0), |most, slot| {
            Some(f64::max(most?, known(*slot)?))
        })
    }
}

/// A rate that can be one: what was stored may be anything.
fn known(rpm: Option<f64>) -> Option<f64> {
    rpm.filter(|rpm| rpm.is_finite() && *rpm >= 0.0)
}
