//! The one place that reads a clock.

use jiff::Timestamp;

use crate::ports::Clock;

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place: everything else takes a Clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
