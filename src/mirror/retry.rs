//! When to ask Airtable again: pure, so that it can be read as a table and tested as one.
//!
//! Knows no clock and no randomness; both are arguments.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::airtable::Category;

/// How long to wait before the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// For so long.
    For(Duration),
    /// Until a date comes.
    Until {
        /// The moment, by the wall clock.
        moment: Timestamp,
        /// How far off it is now: should the wall clock be put back, the wait is no longer for it.
        at_most: Duration,
    },
}

/// The lengths of pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// After a first fault that may pass; doubled with every further one.
    pub first: Duration,
    /// Longest pause after a fault that may pass.
    pub cap: Duration,
    /// Airtable's lockout after too many requests in a second.
    pub lockout: Duration,
    /// While only a person can help: short enough that their repair shows, long enough to cost few
    /// of the month's calls.
    pub refused: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            lockout: Duration::from_secs(30),
            refused: Duration::from_secs(300),
        }
    }
}

impl RetryPolicy {
    /// The pause after the `attempt`-th failure in a row (from 1). `jitter` is from 0 to 1 and
    /// spreads the instances that a fault has brought into step.
    pub fn pause(&self, category: Category, attempt: u32, now: Timestamp, jitter: f64) -> Pause {
        match category {
            Category::RateLimited => Pause::For(self.lockout),
            Category::QuotaExhausted => {
                let moment = month_turns(now);
                Pause::Until {
                    moment,
                    at_most: moment.duration_since(now).unsigned_abs(),
                }
            }
            Category::NotAllowed | Category::NotFound => Pause::For(self.refused),
            Category::Unreachable
            | Category::TimedOut
            | Category::Unavailable
            | Category::Unreadable
            | Category::Rejected
            | Category::AmbiguousMatch => Pause::For(self.backoff(attempt, jitter)),
        }
    }

    fn backoff(&self, attempt: u32, jitter: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1).min(16));
        let whole = self.first.saturating_mul(doubled).min(self.cap);
        whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// When the calls of a new month are there: the first of the next, midnight UTC. Airtable does not
/// say in which zone its month turns; so in the first two days it is asked hourly rather than given
/// up for another month.
fn month_turns(now: Timestamp) -> Timestamp {
    let hour = SignedDuration::from_hours(1);
    let soon = now.saturating_add(hour).unwrap_or(now);
    let here = now.to_zoned(TimeZone::UTC);
    if here.day() <= 2 {
        return soon;
    }
    let next = here
        .first_of_month()
        .and_then(|first| first.start_of_day())
        .and_then(|first| first.checked_add(1.month()));
    next.map_or(soon, |next| next.timestamp())
}
