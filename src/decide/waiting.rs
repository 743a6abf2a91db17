//! How many may be waiting behind a throttle: what was measured since the stop and in the hour
//! before it.
//!
//! Unknown never means empty. Knows no clock and no gate: counts and moments are arguments.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::offered::Offered;

/// The window that a rate is measured over, a little short, so that a tick that is early by a hair
/// does not lose one.
pub const WINDOW: Duration = Duration::from_millis(4_900);
/// The first one of a process, where next to nobody came: what there is since its start.
pub const FIRST_WINDOW: Duration = Duration::from_secs(2);
/// How long a window is waited for. Gates that say nothing for longer leave it unknown, and the
/// ramp goes on.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Counts that are closer than this are one.
const GRAIN: Duration = Duration::from_millis(100);

/// What may be waiting, requests a minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Waiting {
    /// It is being measured: nothing opens until the window is whole.
    Unmeasured,
    /// Nobody knows: the ramp.
    Unknown,
    /// At most so much.
    AtMost(f64),
}

/// What gates were offered in the last window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Requests a minute.
    pub rpm: f64,
    /// When the window began, if it is whole; none before.
    pub from: Option<Duration>,
}

/// What may be waiting now. `stopped` is when the stop was, or the start of this process if that
/// was later; `measured` is none where no gate is.
#[must_use]
pub fn waiting(
    offered: &Offered,
    measured: Option<Measured>,
    stopped: Duration,
    now: Duration,
) -> Waiting {
    let Some(measured) = measured else {
        return Waiting::Unknown;
    };
    if measured.from.is_none_or(|from| from < stopped) {
        let given_up = now.saturating_sub(stopped) >= LONGEST_WAIT;
        return if given_up {
            Waiting::Unknown
        } else {
            Waiting::Unmeasured
        };
    }
    offered.peak().map_or(Waiting::Unknown, |peak| {
        Waiting::AtMost(peak.max(measured.rpm))
    })
}

/// Counts of one gate over the last window: at its begin, and after.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    counts: VecDeque<(Duration, u64)>,
    /// Whether the first count of all is still the oldest one.
    longer: bool,
}

impl Window {
    /// Takes one count.
    pub fn count(&mut self, at: Duration, offered: u64) {
        let close = |(before, _): &(Duration, u64)| at.saturating_sub(*before) < GRAIN;
        if self.counts.len() > 1 && self.counts.iter().rev().nth(1).is_some_and(close) {
            self.counts.pop_back();
        }
        self.counts.push_back((at, offered));
        while self
            .counts
            .get(1)
            .is_some_and(|(next, _)| at.saturating_sub(*next) >= WINDOW)
        {
            self.counts.pop_front();
            self.longer = true;
        }
    }

    /// What the window comes to, which ends with the last count.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of a window are far below 2^53"
    )]
    pub fn measured(&self) -> Measured {
        let Some(((from, first), (to, last))) = self.counts.front().zip(self.counts.back()) else {
            return Measured::default();
        };
        let length = to.saturating_sub(*from);
        let came = last.saturating_sub(*first);
        // Two requests within two seconds are no crowd yet, and may be the begin of one: five
        // seconds tell.
        let whole = length >= WINDOW || (!self.longer && length >= FIRST_WINDOW && came < 2);
        let rpm = came as f64 * 60.0 / length.max(WINDOW).as_secs_f64();
        Measured {
            rpm,
            from: whole.then_some(*from),
        }
    }
}
