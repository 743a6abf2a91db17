//! What the mirror tells of itself, for metrics and health. Written by the worker, read by anybody.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use strum::VariantArray as _;

use super::airtable::Category;

/// Numbers that are read while the worker goes on.
#[derive(Debug)]
pub struct MirrorCounters {
    delivered: AtomicU64,
    failed: [AtomicU64; Category::VARIANTS.len()],
    parked: AtomicU64,
    /// Milliseconds and one more, so that nought is none.
    oldest_pending_since: AtomicU64,
    quota_until: AtomicU64,
}

impl Default for MirrorCounters {
    fn default() -> Self {
        Self {
            delivered: AtomicU64::new(0),
            failed: array::from_fn(|_| AtomicU64::new(0)),
            parked: AtomicU64::new(0),
            oldest_pending_since: AtomicU64::new(0),
            quota_until: AtomicU64::new(0),
        }
    }
}

impl MirrorCounters {
    /// Rows that reached Airtable since the start.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Relaxed)
    }

    /// Requests that failed since the start, of one category.
    pub fn failed(&self, category: Category) -> u64 {
        self.failed[category as usize].load(Relaxed)
    }

    /// Requests that failed since the start.
    pub fn failed_total(&self) -> u64 {
        self.failed.iter().map(|n| n.load(Relaxed)).sum()
    }

    /// Rows set aside now because Airtable will not have them.
    pub fn parked(&self) -> u64 {
        self.parked.load(Relaxed)
    }

    /// Since when the oldest row waits that is not parked, by the monotonic clock; none when
    /// nothing waits.
    pub fn oldest_pending_since(&self) -> Option<Duration> {
        self.oldest_pending_since
            .load(Relaxed)
            .checked_sub(1)
            .map(Duration::from_millis)
    }

    /// Until when nothing is sent because the month's calls are used up, in seconds since 1970.
    pub fn quota_until(&self) -> Option<u64> {
        Some(self.quota_until.load(Relaxed)).filter(|until| *until > 0)
    }

    pub(super) fn add_delivered(&self, rows: usize) {
        self.delivered.fetch_add(rows as u64, Relaxed);
    }

    pub(super) fn add_failed(&self, category: Category) {
        self.failed[category as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn set_backlog(&self, parked: usize, oldest_pending_since: Option<Duration>) {
        self.parked.store(parked as u64, Relaxed);
        let since = oldest_pending_since.map_or(0, |since| {
            u64::try_from(since.as_millis())
                .unwrap_or(0)
                .saturating_add(1)
        });
        self.oldest_pending_since.store(since, Relaxed);
    }

    pub(super) fn set_quota_until(&self, until: Option<i64>) {
        self.quota_until.store(seconds(until), Relaxed);
    }
}

fn seconds(moment: Option<i64>) -> u64 {
    moment.and_then(|s| u64::try_from(s).ok()).unwrap_or(0)
}
