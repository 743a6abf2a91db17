//! Who tells the ledger of a command at this moment: one at a time of each.
//!
//! Knows commands by their ids alone, and tells nobody itself.

use std::collections::btree_map::{BTreeMap, Entry};

use super::Latch;
use crate::sync::MutexGuard;

/// Who tells the ledger of a command.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Teller {
    /// Its own caller, who is not answered yet.
    Caller,
    /// Whoever tells it again.
    Settler,
}

/// A command that somebody is telling the ledger, for as long as they do. Nobody else tells it
/// meanwhile: who did so behind a newer command would declare it anew in memory, and the ledger
/// would not.
pub(super) struct InFlightCommand<'a>(&'a Latch, String);

impl<'a> InFlightCommand<'a> {
    /// By its own caller: nobody else knows of it yet.
    pub(super) fn of(latch: &'a Latch, once: String) -> Self {
        latch.under_way().insert(once.clone(), Teller::Caller);
        Self(latch, once)
    }

    /// Again, once nobody else does.
    pub(super) async fn again(latch: &'a Latch, once: &str) -> Self {
        loop {
            let arrived = latch.arrived.notified();
            if let Entry::Vacant(place) = latch.under_way().entry(once.to_owned()) {
                place.insert(Teller::Settler);
                return Self(latch, once.to_owned());
            }
            arrived.await;
        }
    }
}

impl Drop for InFlightCommand<'_> {
    fn drop(&mut self) {
        self.0.under_way().remove(&self.1);
        self.0.arrived.notify_waiters();
    }
}

impl Latch {
    pub(super) fn under_way(&self) -> MutexGuard<'_, BTreeMap<String, Teller>> {
        self.under_way.lock()
    }
}
