//! The one place that reads a clock.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::http::Elapsed;
use crate::ports::Clock;

/// The moment from which [`SystemClock`] counts monotonic time: its first use.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place: everything else takes a Clock"
)]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place: everything else takes a Clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        START.elapsed()
    }
}

/// Time since now, by a clock that nobody sets: what is counted by the minute must not stop when
/// the wall clock is put back.
pub(super) fn monotonic() -> Elapsed {
    Arc::new(|| SystemClock.elapsed())
}
