//! The holds that have ended: whoever brings one of them late closes nothing with it.
//!
//! Knows the ids and nothing else of a hold.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::hold::Epoch;

/// Ids remembered: some 100 bytes each. Whoever brings a hold late began to before it ended,
/// seconds ago; the oldest of so many ended long before that.
const MOST: usize = 1 << 16;

/// The ids of holds that have ended, the oldest first.
#[derive(Default)]
pub struct EndedHolds {
    known: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl EndedHolds {
    /// This one has ended.
    pub fn add(&mut self, epoch: &Epoch) {
        let id: Arc<str> = epoch.0.as_str().into();
        if !self.known.insert(Arc::clone(&id)) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether it has.
    pub fn has(&self, epoch: &Epoch) -> bool {
        self.known.contains(epoch.0.as_str())
    }
}
