//! Whether the wall clock may be believed enough to forget something by it: it has run beside the
//! monotonic one for long.
//!
//! Knows no clock; moments are arguments.

use std::time::Duration;

use crate::domain::moment::Moment;

/// How long both have to agree.
const LONG: Duration = Duration::from_secs(600);
/// How far they may drift apart from one look to the next and still agree: a clock that is slewed
/// is not set.
const SLACK: Duration = Duration::from_secs(2);

/// Since when the two clocks have run alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    since: Duration,
    last: Moment,
}

impl Agreement {
    /// Both clocks were looked at; `before` is what came of the look before, none for the first.
    #[must_use]
    pub fn seen(before: Option<Self>, now: Moment) -> Self {
        let fresh = Self {
            since: now.elapsed,
            last: now,
        };
        let Some(Self { since, last }) = before else {
            return fresh;
        };
        let passed = i128::try_from(now.elapsed.saturating_sub(last.elapsed).as_millis())
            .unwrap_or(i128::MAX);
        let told = now.wall.duration_since(last.wall).as_millis();
        let alike = told.abs_diff(passed) <= SLACK.as_millis();
        if alike {
            Self { since, last: now }
        } else {
            fresh
        }
    }

    /// Whether they have agreed for ten minutes.
    #[must_use]
    pub fn is_long(self, now: Moment) -> bool {
        now.elapsed.saturating_sub(self.since) >= LONG
    }
}
