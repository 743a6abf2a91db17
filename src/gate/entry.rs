//! One throttle as a gate knows it: an immutable state, with the counters that outlive every change of it.
//!
//! Knows nothing of who changes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::decide::verdict::{Accumulator, Reason, Rule, Verdict};
use crate::domain::hold::{Epoch, Hold};
use crate::domain::level::Level;
use crate::domain::throttle::{GateSpec, ThrottleName};

use super::{Setting, Standing};

/// Verdicts of one throttle of this process: refused and admitted ones, by reason.
#[derive(Debug, Default)]
struct Counters([[AtomicU64; Reason::ALL.len()]; 2]);

impl Counters {
    fn sum(&self, admitted: bool) -> u64 {
        self.0[usize::from(admitted)].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
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

    /// Counts one verdict; answers how many like it there were before.
    pub(super) fn count(&self, verdict: Verdict) -> u64 {
        self.counters.0[usize::from(verdict.admitted)][verdict.reason as usize].fetch_add(1, Ordering::Relaxed)
    }

    /// Verdicts given so far: whether admitted, why, how many.
    pub(super) fn verdicts(&self) -> Vec<(bool, Reason, u64)> {
        let of = |admitted: bool| {
            let counts = Reason::ALL.into_iter().zip(&self.counters.0[usize::from(admitted)]);
            counts.map(move |(reason, count)| (admitted, reason, count.load(Ordering::Relaxed)))
        };
        of(true).chain(of(false)).filter(|(.., count)| *count > 0).collect()
    }

    pub(super) fn standing(&self, name: ThrottleName) -> Standing {
        let admitted = self.counters.sum(true);
        Standing {
            name,
            level: self.level,
            holds: self.holds.iter().map(|hold| hold.epoch.clone()).collect(),
            generation: self.rule.generation,
            confirmed_at: self.confirmed_at,
            offered: admitted + self.counters.sum(false),
            admitted,
        }
    }
}
