//! How often one difference is corrected: two writers that fight must not shake a workload
//! (custom-resources.md, "Drift").
//!
//! Nothing is damped while killed; that is its caller's to know. Every moment here is of the
//! monotonic clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::target::OrderKind;

/// How far back corrections count.
const WINDOW: Duration = Duration::from_secs(600);
/// Corrections in the window that come without a pause.
const FREE: usize = 5;
/// Longest pause, seconds; the first is two, and each next one twice the one before.
const LONGEST_S: u64 = 60;

/// The corrections of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damping(VecDeque<Duration>);

impl Damping {
    /// Whether a correction may be made now.
    #[must_use]
    pub fn allows(&self, now: Duration) -> bool {
        let counted = self
            .0
            .iter()
            .filter(|at| now.saturating_sub(**at) < WINDOW)
            .count();
        let Some(last) = self.0.back().filter(|_| counted >= FREE) else {
            return true;
        };
        let doublings = u32::try_from(counted - FREE).unwrap_or(u32::MAX).min(10);
        let pause = (2_u64 << doublings).min(LONGEST_S);
        now.saturating_sub(*last) >= Duration::from_secs(pause)
    }

    /// Takes a correction into account.
    pub fn corrected(&mut self, now: Duration) {
        self.0.push_back(now);
        while self
            .0
            .front()
            .is_some_and(|at| now.saturating_sub(*at) >= WINDOW)
        {
            self.0.pop_front();
        }
    }
}

/// Longest pause between two stops that a site did not show, seconds. Short: it is a stop.
const LONGEST_STOP_S: u64 = 15;

/// Orders that one site got and that have not been read back since: each next one waits twice as
/// long. The first never waits, and whoever reads one back, or sees the site again after a silence,
/// begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    sent: u32,
    last: Option<Duration>,
}

impl Patience {
    /// Whether an order may be sent now.
    #[must_use]
    pub fn allows(&self, stop: bool, now: Duration) -> bool {
        let Some(last) = self.last else { return true };
        let longest = if stop { LONGEST_STOP_S } else { LONGEST_S };
        let pause = (1_u64 << self.sent.saturating_sub(1).min(10)).min(longest);
        now.saturating_sub(last) >= Duration::from_secs(pause)
    }

    /// Takes an order into account.
    pub fn sent(&mut self, now: Duration) {
        (self.sent, self.last) = (self.sent.saturating_add(1), Some(now));
    }
}

/// The last order of one site that has not been seen to obey it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SitePatience {
    order: OrderKind,
    patience: Patience,
}

impl SitePatience {
    /// Of a site that is told this for the first time.
    #[must_use]
    pub fn of(order: OrderKind) -> Self {
        Self {
            order,
            patience: Patience::default(),
        }
    }

    /// Whether this may be told now: a new order never waits for an old one.
    #[must_use]
    pub fn allows(&self, order: OrderKind, now: Duration) -> bool {
        self.order != order || self.patience.allows(order == OrderKind::Stop, now)
    }

    /// Takes an order into account.
    pub fn sent(&mut self, order: OrderKind, now: Duration) {
        if self.order != order {
            *self = Self::of(order);
        }
        self.patience.sent(now);
    }
}
