//! One throttle as a gate knows it: an immutable state, with the counters that outlive every change of it.
//!
//! Knows nothing of who changes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::decide::verdict::{Accumulator, Reason, Rule};
use crate::domain::hold::{Epoch, Hold};
use crate::domain::level::Level;
use crate::domain::throttle::{GateSpec, ThrottleName};

use super::{Setting, Standing};

/// Requests seen by one throttle of this process.
#[derive(Debug, Default)]
struct Counters {
    offered: AtomicU64,
    admitted: AtomicU64,
}

/// One throttle.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) spec: GateSpec,
    pub(super) level: Level,
    pub(super) holds: Vec<Hold>,
    pub(super) rule: Rule,
    pub(super) confirmed_at: Timestamp,
    pub(super) accumulator: Arc<Accumulator>,
    reason: Reason,
    counters: Arc<Counters>,
}

impl Entry {
    pub(super) fn new(spec: GateSpec, setting: Setting) -> Self {
        Self {
            spec,
            level: setting.level,
            holds: Vec::new(),
            rule: Rule { refuse: 0, killed: false, binding: setting.reason, generation: setting.generation },
            confirmed_at: setting.at,
            accumulator: Arc::default(),
            reason: setting.reason,
            counters: Arc::default(),
        }
        .ruled()
    }

    pub(super) fn with_spec(&self, spec: GateSpec) -> Self {
        Self { spec, ..self.clone() }
    }

    pub(super) fn with_hold(&self, hold: Hold, at: Timestamp) -> Self {
        let mut next = Self { confirmed_at: at, ..self.clone() };
        if !next.holds.iter().any(|known| known.epoch == hold.epoch) {
            next.holds.push(hold);
        }
        next.ruled()
    }

    pub(super) fn without_hold(&self, epoch: &Epoch) -> Self {
        let mut next = self.clone();
        next.holds.retain(|known| known.epoch != *epoch);
        next.ruled()
    }

    pub(super) fn with_setting(&self, setting: Setting) -> Self {
        let mut next = self.clone();
        next.level = setting.level;
        next.reason = setting.reason;
        next.confirmed_at = setting.at;
        next.rule.generation = setting.generation;
        next.ruled()
    }

    /// Brings the rule in line with level and holds. A kill leaves a full stop behind, so that its end opens nothing.
    fn ruled(mut self) -> Self {
        self.rule.killed = !self.holds.is_empty();
        if self.rule.killed {
            self.level = Level::STOP;
            self.reason = Reason::Target;
        }
        self.rule.refuse = self.level.refusal_q32();
        self.rule.binding = if self.reason == Reason::None { Reason::Target } else { self.reason };
        self
    }

    pub(super) fn allows(&self, method: &str, path: &str) -> bool {
        self.spec.allow.iter().any(|rule| rule.matches(method, path))
    }

    /// Counts one request; answers how many were offered before it.
    pub(super) fn count(&self, admitted: bool) -> u64 {
        if admitted {
            self.counters.admitted.fetch_add(1, Ordering::Relaxed);
        }
        self.counters.offered.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn standing(&self, name: ThrottleName) -> Standing {
        Standing {
            name,
            level: self.level,
            holds: self.holds.iter().map(|hold| hold.epoch.clone()).collect(),
            generation: self.rule.generation,
            offered: self.counters.offered.load(Ordering::Relaxed),
            admitted: self.counters.admitted.load(Ordering::Relaxed),
        }
    }
}
