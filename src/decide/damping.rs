//! How often one difference is corrected: two writers that fight must not shake a workload (custom-resources.md, "Drift").
//!
//! Nothing is damped while killed; that is its caller's to know.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

/// How far back corrections count.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// Corrections in the window that come without a pause.
const FREE: usize = 5;
/// Longest pause, seconds; the first is two, and each next one twice the one before.
const LONGEST_S: i64 = 60;

/// The corrections of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damping(VecDeque<Timestamp>);

impl Damping {
    /// Whether a correction may be made now.
    #[must_use]
    pub fn allows(&self, now: Timestamp) -> bool {
        let counted = self.0.iter().filter(|at| now.duration_since(**at) < WINDOW).count();
        let Some(last) = self.0.back().filter(|_| counted >= FREE) else { return true };
        let doublings = u32::try_from(counted - FREE).unwrap_or(u32::MAX).min(10);
        let pause = (2_i64 << doublings).min(LONGEST_S);
        now.duration_since(*last) >= SignedDuration::from_secs(pause)
    }

    /// Takes a correction into account.
    pub fn corrected(&mut self, now: Timestamp) {
        self.0.push_back(now);
        while self.0.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            self.0.pop_front();
        }
    }
}

/// Longest pause between two stops that a site did not show, seconds. Short: it is a stop.
const LONGEST_STOP_S: i64 = 15;

/// Orders that one site got and that have not been read back since: each next one waits twice as long. The first never
/// waits, and whoever reads one back, or sees the site again after a silence, begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    sent: u32,
    last: Option<Timestamp>,
}

impl Patience {
    /// Whether an order may be sent now.
    #[must_use]
    pub fn allows(&self, stop: bool, now: Timestamp) -> bool {
        let Some(last) = self.last else { return true };
        let longest = if stop { LONGEST_STOP_S } else { LONGEST_S };
        let pause = (1_i64 << self.sent.saturating_sub(1).min(10)).min(longest);
        now.duration_since(last) >= SignedDuration::from_secs(pause)
    }

    /// Takes an order into account.
    pub fn sent(&mut self, now: Timestamp) {
        (self.sent, self.last) = (self.sent.saturating_add(1), Some(now));
    }
}
