//! A measurement with its time: what the control law is fed.

use std::time::Duration;

use super::observation::Signals;

/// Signals that somebody measured, and when we learned of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// What was measured.
    pub signals: Signals,
    /// When it reached us, by the monotonic clock.
    pub at: Duration,
    /// Who measured, as they name themselves; none for the body of `POST /control`.
    pub source: Option<String>,
}
