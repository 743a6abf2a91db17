//! What is still to be told of passes: the newest of each throttle, so many at a time, and one of a
//! throttle after the other.
//!
//! No pass waits for it: whoever is told may be as slow as an API server. Pure; telling is its
//! caller's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::domain::report::PassReport;
use crate::domain::throttle::ThrottleName;

/// Reports that are told at the same time.
const PLACES: usize = 32;

/// What is to be told, and what is being told.
#[derive(Default)]
pub(super) struct Reports {
    newest: BTreeMap<ThrottleName, PassReport>,
    order: VecDeque<ThrottleName>,
    under_way: BTreeSet<ThrottleName>,
}

impl Reports {
    /// A pass has ended: what was to be told of one before is not told any more.
    pub(super) fn offer(&mut self, report: PassReport) {
        let name = report.throttle.name.clone();
        if self.newest.insert(name.clone(), report).is_none() {
            self.order.push_back(name);
        }
    }

    /// The next one to tell, if there is one and a place for it.
    pub(super) fn begin(&mut self) -> Option<PassReport> {
        if self.under_way.len() >= PLACES {
            return None;
        }
        let is_free = |name: &ThrottleName| !self.under_way.contains(name);
        let at = self.order.iter().position(is_free)?;
        let name = self.order.remove(at)?;
        let report = self.newest.remove(&name)?;
        self.under_way.insert(name);
        Some(report)
    }

    /// One has been told.
    pub(super) fn end(&mut self, name: &ThrottleName) {
        self.under_way.remove(name);
    }
}
