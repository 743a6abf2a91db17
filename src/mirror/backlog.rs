//! What is owed, as far as it is in view: which rows go next, which are set aside, since when the
//! oldest waits.
//!
//! Pure bookkeeping over what the ledger answers; knows neither the ledger nor Airtable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ports::OutboxRow;

use super::airtable::RECORDS_PER_REQUEST;

/// Most rows set aside. Each costs one place in what is asked of the ledger; with more, one of them
/// is tried again.
const PARKED_LIMIT: usize = 1000;

type RowKey = (String, String);

/// The rows in view.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Rows Airtable will not have, with the version it refused. In memory: they stay owed, and a
    /// restart (with a repaired table, perhaps) tries them again.
    parked: BTreeMap<RowKey, i64>,
    /// Since when a row has been waiting by the monotonic clock, whatever its version: a row that
    /// changes every second is no fresher for it. What waited before this process started waits
    /// since then.
    waiting: BTreeMap<RowKey, Duration>,
}

fn key_of(row: &OutboxRow) -> RowKey {
    (row.table.clone(), row.key.clone())
}

impl Backlog {
    /// How many rows to ask for, so that those set aside hide nobody.
    pub(super) fn wanted(&self) -> usize {
        RECORDS_PER_REQUEST + self.parked.len()
    }

    /// Takes in what is owed now (up to [`Self::wanted`]) and answers what to send next: rows of
    /// one table.
    pub(super) fn next(&mut self, owed: Vec<OutboxRow>, now: Duration) -> Vec<OutboxRow> {
        let whole = owed.len() < self.wanted();
        let in_view: BTreeMap<RowKey, i64> =
            owed.iter().map(|row| (key_of(row), row.version)).collect();
        // A newer version may be acceptable; and what is owed no longer needs no place here.
        self.parked.retain(|key, refused| match in_view.get(key) {
            Some(version) => version == refused,
            None => !whole,
        });
        let mut sendable: Vec<OutboxRow> = owed
            .into_iter()
            .filter(|row| !self.parked.contains_key(&key_of(row)))
            .collect();
        let seen: BTreeSet<RowKey> = sendable.iter().map(key_of).collect();
        self.waiting.retain(|key, _| seen.contains(key));
        for key in seen {
            self.waiting.entry(key).or_insert(now);
        }
        if let Some(table) = sendable.first().map(|row| row.table.clone()) {
            sendable.retain(|row| row.table == table);
        }
        sendable.truncate(RECORDS_PER_REQUEST);
        sendable
    }

    /// These have arrived.
    pub(super) fn delivered(&mut self, rows: &[OutboxRow]) {
        for row in rows {
            self.waiting.remove(&key_of(row));
        }
    }

    /// Sets a row aside.
    pub(super) fn park(&mut self, row: &OutboxRow) {
        self.waiting.remove(&key_of(row));
        if self.parked.len() >= PARKED_LIMIT {
            self.parked.pop_first();
        }
        self.parked.insert(key_of(row), row.version);
    }

    /// How many are set aside.
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Since when the oldest row waits, by the monotonic clock.
    pub(super) fn oldest_since(&self) -> Option<Duration> {
        self.waiting.values().min().copied()
    }
}
