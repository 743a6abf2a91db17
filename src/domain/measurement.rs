//! A measurement with its time: what the control law is fed.

use std::time::Duration;

use super::observation::Signals;

/// How long what somebody measured is believed: three ticks of 5 s.
pub const LIFE: Duration = Duration::from_secs(15);

/// Measurements kept of one throttle: anybody with a key may make names of sources up.
pub const MOST: usize = 16;

/// Signals that somebody measured, and when we learned of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// What was measured.
    pub signals: Signals,
    /// When it reached us, by the monotonic clock.
    pub at: Duration,
    /// Who measured, as they name themselves; none for the body of `POST /control`.
    pub source: Option<String>,
}

impl Measurement {
    /// Whether it is believed still.
    #[must_use]
    pub fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) <= LIFE
    }
}
