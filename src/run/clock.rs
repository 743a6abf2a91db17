//! The one place that reads a clock.

use std::sync::Arc;

use jiff::Timestamp;

use crate::http::Elapsed;
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

/// Time since now, by a clock that nobody sets: what is counted by the minute must not stop when the wall clock is put back.
#[allow(clippy::disallowed_methods, reason = "the one place: everything else takes this")]
pub(super) fn monotonic() -> Elapsed {
    let start = std::time::Instant::now();
    Arc::new(move || start.elapsed())
}
