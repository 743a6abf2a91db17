//! One throttle as a gate knows it: a state that is immutable once it is in the table, with the
//! counters that outlive every change of it. What is long is shared, so that a copy of a state is
//! cheap.
//!
//! Knows nothing of who changes it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use strum::VariantArray as _;

use crate::decide::callers::{Callers, Sample};
use crate::decide::refusal_rate::Counts;
use crate::decide::verdict::{Accumulator, Reason, Rule, Verdict};
use crate::domain::hold::{Epoch, Hold};
use crate::domain::level::Level;
use crate::domain::target::GateSpec;
use crate::domain::throttle::{AllowRule, ThrottleName};

use super::{LevelSetting, ThrottleSnapshot};

/// Verdicts of one throttle of this process: of callers without and with a key, refused and
/// admitted ones, by reason.
#[derive(Debug, Default)]
struct Counters([[[AtomicU64; Reason::VARIANTS.len()]; 2]; 2]);

impl Counters {
    fn sum(&self, admitted: bool) -> u64 {
        let both = self.0.iter().flat_map(|of| &of[usize::from(admitted)]);
        both.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// What the level decided of callers without, or with, a key: see `decide::refusal_rate`.
    fn decided(&self, keyed: bool) -> Counts {
        let listed = Reason::AllowList as usize;
        let of = |admitted: bool| {
            let counts = self.0[usize::from(keyed)][usize::from(admitted)]
                .iter()
                .enumerate();
            counts
                .filter(|(reason, _)| *reason != listed)
                .map(|(_, count)| count.load(Ordering::Relaxed))
                .sum::<u64>()
        };
        let admitted = of(true);
        Counts {
            offered: admitted + of(false),
            admitted,
        }
    }
}

/// Callers that have a name.
#[derive(Debug, Default)]
struct Named {
    callers: Callers,
    sample: Sample,
}

/// What outlives every change of a throttle.
#[derive(Debug, Default)]
struct Tally {
    accumulator: Accumulator,
    counters: Counters,
    /// When the state was last confirmed, by the monotonic clock, nanoseconds: a word that changes
    /// nothing else costs no table.
    confirmed_ns: AtomicU64,
}

/// How requests are read.
#[derive(Debug)]
struct Reading {
    spec: GateSpec,
    /// The rules of the allow-list that are applied.
    allow: Vec<AllowRule>,
    /// Of a throttle that declares where their name stands, or that an app has asked about by name.
    named: Arc<OnceLock<Named>>,
}

impl Reading {
    /// Room for callers with a name is taken at once where one is declared.
    fn of(spec: &GateSpec, named: Arc<OnceLock<Named>>) -> Arc<Self> {
        if spec.key_header.is_some() {
            named.get_or_init(Named::default);
        }
        Arc::new(Self {
            allow: spec.applied().cloned().collect(),
            spec: spec.clone(),
            named,
        })
    }
}

/// One throttle.
#[derive(Clone, Debug)]
pub(super) struct GateEntry {
    reading: Arc<Reading>,
    pub(super) level: Level,
    pub(super) holds: Vec<Arc<Hold>>,
    pub(super) rule: Rule,
    /// The number of the newest tightening of it, and of the newest one that was a hold.
    pub(super) tightened: u64,
    held: u64,
    reason: Reason,
    /// How often the rule has changed.
    changes: u64,
    tally: Arc<Tally>,
}

impl GateEntry {
    pub(super) fn new(spec: &GateSpec, setting: LevelSetting) -> Self {
        let mut entry = Self {
            reading: Reading::of(spec, Arc::default()),
            level: setting.level,
            holds: Vec::new(),
            rule: Rule {
                refuse: 0,
                killed: false,
                binding: setting.reason,
                generation: setting.generation,
            },
            tightened: 0,
            held: 0,
            reason: setting.reason,
            changes: 0,
            tally: Arc::default(),
        };
        entry.confirm(setting.at);
        entry.ruled();
        entry
    }

    /// When the state behind its verdicts was last confirmed, by the monotonic clock.
    pub(super) fn confirmed_at(&self) -> Duration {
        Duration::from_nanos(self.tally.confirmed_ns.load(Ordering::Relaxed))
    }

    /// Its state holds at this moment.
    pub(super) fn confirm(&self, at: Duration) {
        let at = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        self.tally.confirmed_ns.fetch_max(at, Ordering::Relaxed);
    }

    /// Whether a setting would change anything but the moment of its confirmation.
    pub(super) fn differs_from(&self, setting: &LevelSetting) -> bool {
        // Under a kill no level counts but a full stop.
        let stands =
            !self.holds.is_empty() || (self.level, self.reason) == (setting.level, setting.reason);
        !stands || self.rule.generation != setting.generation
    }

    pub(super) fn respecify(&mut self, spec: &GateSpec) {
        // Without the header nobody has a name any more, until an app gives one.
        let is_gone = self.spec().key_header.is_some() && spec.key_header.is_none();
        let named = if is_gone {
            Arc::default()
        } else {
            Arc::clone(&self.reading.named)
        };
        self.reading = Reading::of(spec, named);
    }

    pub(super) fn spec(&self) -> &GateSpec {
        &self.reading.spec
    }

    pub(super) fn accumulator(&self) -> &Accumulator {
        &self.tally.accumulator
    }

    /// Adds a hold; answers whether it is new, and then the tightening of this number.
    pub(super) fn hold(&mut self, hold: &Arc<Hold>, at: Duration, number: u64) -> bool {
        self.confirm(at);
        let is_new = !self.is_held_by(&hold.epoch);
        if is_new {
            self.holds.push(Arc::clone(hold));
            (self.tightened, self.held) = (number, number);
        }
        self.ruled();
        is_new
    }

    /// The number of its newest hold among the gate's tightenings; 0 if there was none.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    pub(super) fn is_held_by(&self, epoch: &Epoch) -> bool {
        self.holds.iter().any(|hold| hold.epoch == *epoch)
    }

    /// Lets go of the holds that are meant.
    pub(super) fn release(&mut self, meant: impl Fn(&Epoch) -> bool) {
        self.holds.retain(|hold| !meant(&hold.epoch));
        self.ruled();
    }

    pub(super) fn set(&mut self, setting: LevelSetting) {
        self.level = setting.level;
        self.reason = setting.reason;
        self.confirm(setting.at);
        self.rule.generation = setting.generation;
        self.ruled();
    }

    /// The level where it is safer; that it was asked for counts also where it changes nothing.
    pub(super) fn tighten(&mut self, setting: LevelSetting, number: u64) {
        if self.level < setting.level {
            self.set(setting);
        }
        self.tightened = number;
    }

    /// Brings the rule in line with level and holds. A kill leaves a full stop behind, so that its
    /// end opens nothing.
    fn ruled(&mut self) {
        let before = self.rule;
        self.rule.killed = !self.holds.is_empty();
        if self.rule.killed {
            self.level = Level::STOP;
            self.reason = Reason::Target;
        }
        self.rule.refuse = self.level.refusal_q32();
        self.changes +=
            u64::from((before.refuse, before.killed) != (self.rule.refuse, self.rule.killed));
        self.rule.binding = if self.reason == Reason::None {
            Reason::Target
        } else {
            self.reason
        };
    }

    pub(super) fn allows(&self, method: &str, path: &str) -> bool {
        self.reading
            .allow
            .iter()
            .any(|rule| rule.matches(method, path))
    }

    /// Counts one verdict, on a caller at this point if it has a name; answers how many like it
    /// there were before.
    pub(super) fn count(&self, verdict: Verdict, point: Option<u32>, hour: i64) -> u64 {
        let of =
            &self.tally.counters.0[usize::from(point.is_some())][usize::from(verdict.admitted)];
        let number = of[verdict.reason as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(point) = point.filter(|_| verdict.reason != Reason::AllowList) {
            let named = self.reading.named.get_or_init(Named::default);
            named.callers.saw(hour, point);
            named
                .sample
                .keep(number, point, self.changes, verdict.admitted);
        }
        number
    }

    /// Callers with a name that were seen in this hour, about; none where none is declared or was
    /// given.
    pub(super) fn callers(&self, hour: i64) -> Option<u64> {
        self.reading
            .named
            .get()
            .map(|named| named.callers.seen(hour))
    }

    /// Whether a caller with a name was told something else than the level in force gives it.
    fn contradicts(&self) -> bool {
        let in_force = if self.holds.is_empty() {
            self.level
        } else {
            Level::STOP
        };
        self.reading
            .named
            .get()
            .is_some_and(|named| named.sample.contradicts(in_force, self.changes))
    }

    /// Verdicts given so far: whether admitted, why, how many.
    pub(super) fn verdicts(&self) -> Vec<(bool, Reason, u64)> {
        let of = |admitted: bool| {
            let [plain, keyed] = &self.tally.counters.0;
            let counts = plain[usize::from(admitted)]
                .iter()
                .zip(&keyed[usize::from(admitted)]);
            let counts = counts.map(|(a, b)| a.load(Ordering::Relaxed) + b.load(Ordering::Relaxed));
            Reason::VARIANTS
                .iter()
                .zip(counts)
                .map(move |(reason, count)| (admitted, *reason, count))
        };
        of(true)
            .chain(of(false))
            .filter(|(.., count)| *count > 0)
            .collect()
    }

    pub(super) fn standing(&self, name: ThrottleName) -> ThrottleSnapshot {
        let admitted = self.tally.counters.sum(true);
        ThrottleSnapshot {
            name,
            level: self.level,
            holds: self.holds.iter().map(|hold| hold.epoch.clone()).collect(),
            generation: self.rule.generation,
            confirmed_at: self.confirmed_at(),
            offered: admitted + self.tally.counters.sum(false),
            admitted,
            decided: self.tally.counters.decided(false),
            named: self
                .reading
                .named
                .get()
                .is_some()
                .then(|| self.tally.counters.decided(true)),
            contradicts: self.contradicts(),
            changes: self.changes,
            held: self.held,
        }
    }
}
